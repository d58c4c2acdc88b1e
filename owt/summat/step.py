"""Base classes of steps, and their source text."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from inspect import signature
from typing import Any

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


@dataclasses.dataclass(frozen=True, repr=False)
class MethodStep(Step):
    """The step that a pipe's method adds: the function that runs it, and the arguments of the method.

    The function's parameters are this step, the flow, and those of the method. In the source text,
    parameters without a default are positional, and those with one are keywords if they differ from it.
    """

    function: Callable[..., Flow | Awaitable[Flow]]
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        return self.function(self, flow, *self.args, **dict(self.kwargs))

    def __str__(self) -> str:
        parameters = list(signature(self.function).parameters.values())[2:]
        arguments = []
        for index, value in enumerate(self.args):
            parameter = parameters[min(index, len(parameters) - 1)]
            if parameter.default is parameter.empty:
                arguments.append(source(value))
            elif not _same(value, parameter.default):
                arguments.append(f"{parameter.name}={source(value)}")
        arguments += [f"{name}={source(value)}" for name, value in self.kwargs]
        return f"{self.function.__name__.removesuffix('_')}({', '.join(arguments)})"

    def __repr__(self) -> str:
        return f"pipe().{self}"


def step_source(step: Step) -> str:
    """Return the call that adds `step` to a pipe."""
    return str(step) if isinstance(step, MethodStep) else f"to({step!r})"


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
