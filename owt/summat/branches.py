"""Steps that choose between branches, or run several. A branch is a function, a pipe or a step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from owt.summat.flow import Flow
from owt.summat.fold import run_step
from owt.summat.functions import F
from owt.summat.later import Work, settled
from owt.summat.step import MethodStep, Step, source

Branch: TypeAlias = Step | Callable[..., Any]


def _run(branch: Branch, flow: Flow, place: str) -> Work[Flow]:
    step = branch if isinstance(branch, Step) else F(branch)
    try:
        return (yield from run_step(step, flow))
    except Exception as error:
        error.add_note(f"in {place}: {source(branch)}")
        raise


@dataclass(frozen=True, slots=True, repr=False)
class Cond(MethodStep):
    then: Branch
    else_: Branch

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        if flow.needed(self):
            return settled(_run(self.then, flow, "the branch `then`"))
        return settled(_run(self.else_, flow, "the branch `else_`"))


@dataclass(frozen=True, slots=True, repr=False)
class Fork(MethodStep):
    branches: tuple[Branch, ...] = field(metadata={"star": "*"})

    def run(self, flow: Flow) -> Flow | Awaitable[Flow]:
        return settled(self._all(flow))

    def _all(self, flow: Flow) -> Work[Flow]:
        results = []
        for number, branch in enumerate(self.branches, 1):
            place = f"branch {number} of {len(self.branches)}"
            end = yield from _run(branch, flow, place)
            results.append(end.result())
        return flow.giving(tuple(results))
