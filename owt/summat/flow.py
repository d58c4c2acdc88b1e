"""What passes from step to step: a value, the kwargs, and what the call began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType, ModuleType
from typing import Any, Final

from owt.errors import shortened
from owt.summat.errors import NoValue, WrongValue, listed

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _EMPTY


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING
"""There is no value. `None` is a value like any other."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What a step gets and gives. Immutable: a step makes a new one.

    `value` is what the steps so far have made, or `MISSING`. `kwargs` are those that are along at
    this point; `ended` says that there were kwargs until a step ended them. `given` and
    `given_value` are what the call began with. `names` are the modules of `.importing(...)`.
    """

    value: Any = MISSING
    kwargs: Mapping[str, Any] = field(default_factory=_nothing)
    ended: bool = False
    given: Mapping[str, Any] = field(default_factory=_nothing)
    given_value: Any = MISSING
    names: Mapping[str, ModuleType] = field(default_factory=_nothing)

    @classmethod
    def of(cls, value: Any, kwargs: Mapping[str, Any]) -> Flow:
        """The flow that a call begins with."""
        kwargs = MappingProxyType(dict(kwargs))
        return cls(value=value, kwargs=kwargs, given=kwargs, given_value=value)

    def giving(self, value: Any) -> Flow:
        """This value next, and the kwargs along."""
        return replace(self, value=value)

    def ending(self, value: Any) -> Flow:
        """This value next, and no kwargs any more."""
        return replace(self, value=value, kwargs=_EMPTY, ended=True)

    def naming(self, kwargs: Mapping[str, Any]) -> Flow:
        """These kwargs next, and no value."""
        return replace(self, value=MISSING, kwargs=MappingProxyType(dict(kwargs)), ended=False)

    def needed(self, step: object) -> Any:
        """The value. Raises `NoValue`, in the name of `step`, when there is none."""
        if self.value is MISSING:
            raise NoValue(
                f"{step} needs a value, and there are only kwargs ({listed(self.kwargs)});"
                " take one with .kwarg(name) first"
            )
        return self.value

    def wrong(self, step: object, wanted: str) -> WrongValue:
        """The error that says that `step` wanted something else than the value."""
        if self.value is MISSING:
            return NoValue(f"{step} needs {wanted}, and there is no value yet")
        return WrongValue(
            f"{step} needs {wanted}; it got {type(self.value).__name__}: {shortened(self.value)}"
        )

    def result(self) -> Any:
        """What a pipe that ends here gives: the value or, when there is none, the kwargs."""
        return dict(self.kwargs) if self.value is MISSING else self.value
