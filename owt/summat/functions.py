"""Steps that call a function, and the rule for what it gets.

With a value, the function gets it as its one positional argument. Without one it gets the kwargs as
keyword arguments: those that its signature takes, all of them for `**kw` and for a function that
has no readable signature (some builtins). The signature decides; nothing is tried, so that no
function ever runs twice.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from owt.summat.errors import MissingArgument, listed
from owt.summat.flow import MISSING, Flow
from owt.summat.importing import lend
from owt.summat.later import then
from owt.summat.step import MethodStep, shown
from owt.summat.streams import streamed

Function = Callable[..., Any]


def checked(function: Function, step: str) -> Function:
    """`function`. Raises `TypeError` for what cannot be called, while the pipe is being written."""
    if not callable(function):
        raise TypeError(f"{step} takes a function or a pipe, not {shown(function)}")
    return function


def taken(function: Function, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `kwargs` that `function` takes by keyword.

    Raises `MissingArgument`, naming them, when arguments that it requires are not there.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return dict(kwargs)
    kinds = inspect.Parameter
    required = [
        each.name
        for each in parameters
        if each.default is kinds.empty and each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]
    positional = {each.name for each in parameters if each.kind is kinds.POSITIONAL_ONLY}
    missing = [name for name in required if name not in kwargs or name in positional]
    if missing:
        by_position = [name for name in missing if name in positional]
        hint = f"; {listed(by_position)} by position, so give it a value first" if by_position else ""
        raise MissingArgument(
            f"{shown(function)} needs {listed(missing)}{hint}; the kwargs are {listed(kwargs)}"
        )
    if any(each.kind is kinds.VAR_KEYWORD for each in parameters):
        return {name: value for name, value in kwargs.items() if name not in positional}
    names = {each.name for each in parameters if each.kind is not kinds.VAR_POSITIONAL} - positional
    return {name: value for name, value in kwargs.items() if name in names}


def applied(function: Function, flow: Flow) -> Any:
    """What `function` gives for the flow's value or kwargs; perhaps something to await."""
    lend(function, flow.names)
    if flow.value is not MISSING:
        return function(flow.value)
    return function(**taken(function, flow.kwargs))


@dataclass(frozen=True, slots=True, repr=False)
class F(MethodStep):
    """Apply a function; the kwargs end."""

    fn: Function

    def run(self, flow: Flow) -> Flow:
        return flow.ending(applied(self.fn, flow))


@dataclass(frozen=True, slots=True, repr=False)
class Exec(MethodStep):
    """Call a function for its effect; value and kwargs pass on."""

    fn: Function

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        return then(applied(self.fn, flow), lambda _: flow)


@dataclass(frozen=True, slots=True, repr=False)
class Stream(MethodStep):
    """Apply a function that gives an iterator; its items are the answer, one by one."""

    fn: Function

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        def begun(result: object) -> Flow:
            after = flow.ending(result)
            if isinstance(result, str | bytes | bytearray | memoryview | Mapping) or not isinstance(
                result, Iterable | AsyncIterable
            ):
                raise after.wrong(self, "a function that gives an iterator")
            return flow.ending(streamed(result))

        return then(applied(self.fn, flow), begun)


@dataclass(frozen=True, slots=True, repr=False)
class Through(MethodStep):
    """What `pipe(cls)` begins with: the call's kwargs pass through a class or function.

    A mapping that it gives becomes the kwargs, and there is no value. Anything else is the value;
    the fields of a dataclass or named tuple then are the kwargs too, converted and completed.
    """

    cls: Function

    def shown(self) -> str:
        return f"to({self!r})"

    def __repr__(self) -> str:
        return f"pipe({shown(self.cls)})"

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        def passed(made: Any) -> Flow:
            if isinstance(made, Mapping):
                return flow.naming(dict(made))
            if is_dataclass(made) and not isinstance(made, type):
                named = {part.name: getattr(made, part.name) for part in fields(made)}
                return flow.naming(named).giving(made)
            if isinstance(made, tuple) and hasattr(made, "_asdict"):
                return flow.naming(made._asdict()).giving(made)
            return flow.giving(made)

        return then(applied(self.cls, flow), passed)
