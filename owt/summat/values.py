"""Steps that set, keep, convert or name the value, and steps on the call's kwargs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from owt.summat.errors import MissingKwarg, listed
from owt.summat.flow import Flow
from owt.summat.importing import lend
from owt.summat.step import Step


def const(step: Step, flow: Flow, x: Any) -> Flow:
    """Set the value to a constant. The kwargs end."""
    return flow.ending(x)


def identity(step: Step, flow: Flow) -> Flow:
    """Change nothing."""
    return flow


def clear(step: Step, flow: Flow) -> Flow:
    """Set the value to None. The kwargs end."""
    return flow.ending(None)


def cast(step: Step, flow: Flow, type: Callable[..., Any]) -> Flow:
    """Convert the value: `type(value)`."""
    lend(type, flow.names)
    return flow.giving(type(flow.needed(step)))


def input_(step: Step, flow: Flow) -> Flow:
    """Restore the call's kwargs (and input value)."""
    return flow.naming(flow.call_kwargs).giving(flow.call_value)


def kwargs(step: Step, flow: Flow, /, **defaults: Any) -> Flow:
    """Set defaults for kwargs; those of the call win, also after the kwargs have ended."""
    restored = {name: flow.call_kwargs.get(name, default) for name, default in defaults.items()}
    return flow.naming({**restored, **flow.kwargs}).giving(flow.value)


def kwarg(step: Step, flow: Flow, name: str) -> Flow:
    """Take one kwarg as the value. Raises `MissingKwarg` if there is none of that name."""
    if name in flow.kwargs:
        return flow.giving(flow.kwargs[name])
    if flow.ended:
        raise MissingKwarg(
            f"there is no kwarg {name!r} here: the kwargs ended at an earlier step;"
            f" .input() starts again from those of the call, which are {listed(flow.call_kwargs)}"
        )
    raise MissingKwarg(f"there is no kwarg {name!r}; those given are {listed(flow.kwargs)}")


def name(step: Step, flow: Flow, name: str) -> Flow:
    """Make the value a kwarg. There is then no value: the next `.f(fn)` gets kwargs."""
    return flow.naming({**flow.kwargs, name: flow.needed(step)})
