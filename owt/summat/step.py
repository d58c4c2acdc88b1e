"""A step: one piece of a pipe, and how it is shown."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Awaitable

from owt.errors import shortened
from owt.summat.flow import Flow


class Step(ABC):
    """One piece of a pipe. Subclass it for a step of your own and add it with `.to(...)`:

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

    A step is a value: it keeps nothing between runs, because a pipe may run many times at once. A
    frozen dataclass is the easiest way to give it a readable repr and equality.
    """

    __slots__ = ()

    @abstractmethod
    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        """What comes after this step: `flow.giving(value)` keeps the kwargs along,
        `flow.ending(value)` does not. May be `async def`. Errors get the step's place by
        themselves."""


class MethodStep(Step):
    """A step that the pipe method of the same name, in lower case, adds.

    A dataclass: fields without a default are shown as positional arguments, those with one by
    name where they differ from it; `metadata={"star": "*"}` or `"**"` marks a field that holds
    all the rest, for `**` as pairs.
    """

    __slots__ = ()

    def shown(self) -> str:
        """The call that adds this step."""
        arguments: list[str] = []
        for part in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, part.name)
            match part.metadata.get("star"):
                case "*":
                    arguments += [shown(each) for each in value]
                case "**":
                    arguments += [f"{name}={shown(each)}" for name, each in value]
                case _ if part.default is dataclasses.MISSING:
                    arguments.append(shown(value))
                case _ if not _same(value, part.default):
                    arguments.append(f"{part.name}={shown(value)}")
        return f"{type(self).__name__.lower()}({', '.join(arguments)})"

    def __str__(self) -> str:
        return self.shown()

    def __repr__(self) -> str:
        return f"pipe().{self.shown()}"


def shown_step(step: Step) -> str:
    """The call that adds `step` to a pipe."""
    return step.shown() if isinstance(step, MethodStep) else f"to({step!r})"


def shown(value: object) -> str:
    """`value` as an argument of a step: functions by name, pipes in full, the rest shortened."""
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
