"""Steps that choose between branches, or run several. A branch is a function, a pipe or a step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Union

from owt.errors import add_note
from owt.summat.flow import Flow
from owt.summat.fold import run_step
from owt.summat.functions import f
from owt.summat.later import Work, settled
from owt.summat.step import MethodStep, Step, source

Branch = Union[Step, Callable[..., Any]]


def _run(branch: Branch, flow: Flow, place: str) -> Work[Flow]:
    step = branch if isinstance(branch, Step) else MethodStep(f, (branch,))
    try:
        return (yield from run_step(step, flow))
    except Exception as error:
        add_note(error, f"in {place}: {source(branch)}")
        raise


def cond(step: Step, flow: Flow, then: Branch, else_: Branch) -> Flow | Awaitable[Flow]:
    """Continue with `then` if the value is true and with `else_` otherwise: with a pipe or step as `.to`
    does, with a function as `.f` does."""
    if flow.needed(step):
        return settled(_run(then, flow, "the branch `then`"))
    return settled(_run(else_, flow, "the branch `else_`"))


def fork(step: Step, flow: Flow, /, *branches: Branch) -> Flow | Awaitable[Flow]:
    """Run functions and pipes on the same input, in order; the value is the tuple of results. The kwargs
    stay."""
    return settled(_all(flow, branches))


def _all(flow: Flow, branches: tuple[Branch, ...]) -> Work[Flow]:
    results = []
    for number, branch in enumerate(branches, 1):
        end = yield from _run(branch, flow, f"branch {number} of {len(branches)}")
        results.append(end.result())
    return flow.giving(tuple(results))
