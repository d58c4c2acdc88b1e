"""The data that passes from step to step: a value, the kwargs, and the input of the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType, ModuleType
from typing import Any, Final

from owt.errors import shortened
from owt.summat.errors import NoValue, WrongValue, listed

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING
"""Marker for the absence of a value. `None` is a value like any other."""


@dataclass(frozen=True)
class Flow:
    """Input and output of a step. Immutable: a step makes a new one.

    `value` is the result of the steps so far, or `MISSING`. `kwargs` are the present ones; `ended` is True if
    a step ended them. `call_kwargs` and `call_value` are the input of the call. `names` are the modules of
    `.importing(...)`.
    """

    value: Any = MISSING
    kwargs: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    ended: bool = False
    call_kwargs: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    call_value: Any = MISSING
    names: Mapping[str, ModuleType] = field(default_factory=lambda: _EMPTY)

    @classmethod
    def of(cls, value: Any, kwargs: Mapping[str, Any]) -> Flow:
        """Return the flow that a call begins with."""
        kwargs = MappingProxyType(dict(kwargs))
        return cls(value=value, kwargs=kwargs, call_kwargs=kwargs, call_value=value)

    def giving(self, value: Any) -> Flow:
        """Return a flow with this value and the same kwargs."""
        return replace(self, value=value)

    def ending(self, value: Any) -> Flow:
        """Return a flow with this value and no kwargs."""
        return replace(self, value=value, kwargs=_EMPTY, ended=True)

    def naming(self, kwargs: Mapping[str, Any]) -> Flow:
        """Return a flow with these kwargs and no value."""
        return replace(self, value=MISSING, kwargs=MappingProxyType(dict(kwargs)), ended=False)

    def needed(self, step: object) -> Any:
        """Return the value. Raises `NoValue`, which names `step`, if there is none."""
        if self.value is MISSING:
            raise NoValue(
                f"{step} needs a value, and there are only kwargs ({listed(self.kwargs)});"
                " take one with .kwarg(name) first"
            )
        return self.value

    def wrong(self, step: object, expected: str) -> WrongValue:
        """Return the error for a value other than the one that `step` expected."""
        if self.value is MISSING:
            return NoValue(f"{step} needs {expected}, and there is no value yet")
        return WrongValue(
            f"{step} needs {expected}; it got {type(self.value).__name__}: {shortened(self.value)}"
        )

    def result(self) -> Any:
        """Return the result of a pipe that ends here: the value or, if there is none, the kwargs."""
        return dict(self.kwargs) if self.value is MISSING else self.value
