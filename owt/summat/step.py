"""Base classes of steps, and their source text."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Awaitable

from owt.errors import shortened
from owt.summat.flow import Flow


class Step(ABC):
    """One step of a pipe. Subclass it for a step of your own and add it with `.to(...)`:

    >>> from dataclasses import dataclass
    >>> from owt.summat import Flow, Step, pipe
    >>> @dataclass(frozen=True)
    ... class Repeat(Step):
    ...     times: int
    ...
    ...     def run(self, flow: Flow) -> Flow:
    ...         return flow.giving(flow.needed(self) * self.times)
    >>> shout = pipe().kwarg("text").to(Repeat(times=2))
    >>> shout
    pipe().kwarg('text').to(Repeat(times=2))
    >>> shout(text="ab")
    'abab'

    A step is a value without state, because a pipe may run many times at once. A frozen dataclass is
    the easiest way to give it a readable repr and equality.
    """

    __slots__ = ()

    @abstractmethod
    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        """Return the next flow: `flow.giving(value)` keeps the kwargs, `flow.ending(value)` ends them. May
        be `async def`. Errors get a note with the step's place automatically."""


class MethodStep(Step):
    """A step that the pipe method of the same name, in lower case, adds and documents.

    A dataclass: in its source text, fields without a default are positional arguments, and fields with
    one are keyword arguments if they differ from it. `metadata={"star": "*"}` or `"**"` marks a field
    of further arguments, for `**` as pairs.
    """

    __slots__ = ()

    def source(self) -> str:
        """Return the call that adds this step."""
        arguments: list[str] = []
        for part in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, part.name)
            match part.metadata.get("star"):
                case "*":
                    arguments += [source(item) for item in value]
                case "**":
                    arguments += [f"{name}={source(item)}" for name, item in value]
                case _ if part.default is dataclasses.MISSING:
                    arguments.append(source(value))
                case _ if not _same(value, part.default):
                    arguments.append(f"{part.name}={source(value)}")
        return f"{type(self).__name__.lower()}({', '.join(arguments)})"

    def __str__(self) -> str:
        return self.source()

    def __repr__(self) -> str:
        return f"pipe().{self.source()}"


def step_source(step: Step) -> str:
    """Return the call that adds `step` to a pipe."""
    return step.source() if isinstance(step, MethodStep) else f"to({step!r})"


def source(value: object) -> str:
    """Return `value` as an argument in a step's source: functions by name, pipes in full, the rest cut."""
    if isinstance(value, Step):
        return repr(value)
    if isinstance(value, type):
        return value.__qualname__
    name = getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        return name if name == "<lambda>" else f"<function {name}>"
    return shortened(value)


def _same(value: object, default: object) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))
