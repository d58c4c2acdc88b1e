"""Steps that call a function, and the rule for its arguments.

If there is a value, it is the function's one positional argument. Otherwise the function gets the
kwargs as keyword arguments: those in its signature, all of them for `**kw` and for a function
without a readable signature (some builtins). The signature decides, so that no function is called
twice to find out.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from owt.summat.errors import MissingArgument, listed
from owt.summat.flow import MISSING, Flow
from owt.summat.importing import lend
from owt.summat.later import then
from owt.summat.step import Step, source
from owt.summat.streams import has_items, streamed

Function = Callable[..., Any]


def checked(function: Function, step: str) -> Function:
    """Return `function`. Raises `TypeError` for an object that cannot be called, when the pipe is built."""
    if not callable(function):
        raise TypeError(f"{step} takes a function or a pipe, not {source(function)}")
    return function


def accepted_kwargs(function: Function, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `kwargs` that `function` takes by keyword.

    Raises `MissingArgument`, which names them, if required arguments are missing.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return dict(kwargs)
    kinds = inspect.Parameter
    required = [
        item.name
        for item in parameters
        if item.default is kinds.empty and item.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]
    positional = {item.name for item in parameters if item.kind is kinds.POSITIONAL_ONLY}
    missing = [name for name in required if name not in kwargs or name in positional]
    if missing:
        by_position = [name for name in missing if name in positional]
        hint = f"; {listed(by_position)} by position, so give it a value first" if by_position else ""
        raise MissingArgument(
            f"{source(function)} needs {listed(missing)}{hint}; the kwargs are {listed(kwargs)}"
        )
    if any(item.kind is kinds.VAR_KEYWORD for item in parameters):
        return {name: value for name, value in kwargs.items() if name not in positional}
    names = {item.name for item in parameters if item.kind is not kinds.VAR_POSITIONAL} - positional
    return {name: value for name, value in kwargs.items() if name in names}


def apply(function: Function, flow: Flow) -> Any:
    """Return the result of `function` for the flow's value or kwargs; it may be awaitable."""
    lend(function, flow.names)
    if flow.value is not MISSING:
        return function(flow.value)
    return function(**accepted_kwargs(function, flow.kwargs))


def f(step: Step, flow: Flow, fn: Function) -> Flow:
    """Apply `fn` to the value or, without one, to the kwargs in its signature. The kwargs end."""
    return flow.ending(apply(fn, flow))


def exec_(step: Step, flow: Flow, fn: Function) -> Flow | Awaitable[Flow]:
    """Call `fn` as `.f` does, for its effect; value and kwargs stay."""
    return then(apply(fn, flow), lambda _: flow)


def stream(step: Step, flow: Flow, fn: Function) -> Flow | Awaitable[Flow]:
    """Apply `fn`, as `.f` does, and stream the items of the iterator that it returns."""

    def streaming(result: object) -> Flow:
        if not has_items(result):
            raise flow.ending(result).wrong(step, "a function that gives an iterator")
        return flow.ending(streamed(result))

    return then(apply(fn, flow), streaming)


@dataclass(frozen=True, repr=False)
class Through(Step):
    """First step of `pipe(cls)`, which documents it."""

    cls: Function

    def __repr__(self) -> str:
        return f"pipe({source(self.cls)})"

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        def after(result: Any) -> Flow:
            if isinstance(result, Mapping):
                return flow.naming(dict(result))
            if is_dataclass(result) and not isinstance(result, type):
                named = {part.name: getattr(result, part.name) for part in fields(result)}
                return flow.naming(named).giving(result)
            if isinstance(result, tuple) and hasattr(result, "_asdict"):
                return flow.naming(result._asdict()).giving(result)
            return flow.giving(result)

        return then(apply(self.cls, flow), after)
