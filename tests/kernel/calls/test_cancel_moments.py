"""owt.kernel.calls.runner: a cancel is effective at each moment at which it can arrive.

Python runs the handler of a signal when a Python function begins and when a C function has returned. These
are two events of `sys.setprofile`, so a test can cancel a run at the first of them, the second, and so on.
"""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from types import FrameType
from typing import Any

import pytest
from runner_bench import RunnerBench, call

from owt.kernel.calls import execution, failure, interrupts, runner
from owt.wire.chunk import Done

FILES = {module.__file__ for module in (execution, failure, interrupts, runner)}
# Their functions hold locks that a cancel waits for.
LOCKED = ("FrontendConnection.", "OutputSender.", "RunTable.")

BLOCKING = {
    "function": "def run(): state.block()",
    "exception": "class Slow(Exception):\n    def __str__(self): state.block()\ndef run(): raise Slow",
    "causes": (
        "class Slow(Exception):\n    def __str__(self): state.block()\n"
        "def run():\n    error = Slow()\n    error.__cause__ = Slow()\n    raise ValueError('x') from error"
    ),
    "coroutine": "async def run(): state.block()",
    "awaiting": (
        "import asyncio\nasync def run():\n    state.blocked()\n    await asyncio.sleep(10)\n"
        "    state.survive()"
    ),
    "generator": "def run():\n    yield 1\n    state.block()",
    "asynchronous generator": "async def run():\n    yield 1\n    state.block()",
    "awaited generator": (
        "async def run():\n    def items():\n        yield 1\n        state.block()\n    return items()"
    ),
    "value": "class Slow:\n    def _repr_html_(self): state.block()\ndef run(): return Slow()",
}
RETURNING = "def run(): return 1"
# It runs before the cancelled run, which then begins in a task.
BEFORE = "import asyncio\nasync def run(): await asyncio.sleep(0)"
# It runs after the cancelled run, in the same pass of the event loop.
NEXT = "import asyncio\nasync def run():\n    state.blocked()\n    await asyncio.sleep(0.0001)\n    return 42"


class Moments:
    """Cancels of a run at its first, second, ... moment, by profiling the main thread."""

    def __init__(self, bench: RunnerBench) -> None:
        self.survived: list[int] = []
        self.is_last = False
        self._bench = bench
        bench.names.update(
            block=self._block, blocked=self._blocked, survive=lambda: self.survived.append(self._moment)
        )

    def cancel(self, code: str, moment: int, *, is_alone: bool = True) -> int:
        """Run this code, cancel it at a moment or when it blocks, and return its status."""
        self._moment, self._left, self._id = moment, moment, f"run {moment}"
        calls = {} if is_alone else {f"before {moment}": call(BEFORE)}
        calls |= {self._id: call(code, accept="text/html"), f"next {moment}": call(NEXT)}
        sys.setprofile(self._profile)
        try:
            chunks = self._bench.run(**calls)
        finally:
            sys.setprofile(None)
        assert [chunk.status for chunk in chunks[f"next {moment}"] if isinstance(chunk, Done)] == [200]
        return next(chunk.status for chunk in chunks[self._id] if isinstance(chunk, Done))

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "c_return") or frame.f_code.co_filename not in FILES:
            return
        if frame.f_code.co_name == "<genexpr>":
            # The close of a generator is a "call", too, but Python runs no handlers there.
            return
        outer: FrameType | None = frame
        while outer is not None:
            if outer.f_code.co_qualname.startswith(LOCKED):
                return
            outer = outer.f_back
        self._left -= 1
        if self._left < 0:
            self._cancel()

    def _cancel(self) -> None:
        sys.setprofile(None)
        self._bench.control.do(self._bench.runner.cancel, self._id, "cancelled")

    def _blocked(self) -> None:
        if sys.getprofile() is not None:
            self.is_last = True
            self._cancel()

    def _block(self) -> None:
        self._blocked()
        threading.Event().wait(10)
        self.survived.append(self._moment)


# A cancel may come between the call of a coroutine function and its first step.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("name", BLOCKING)
def test_a_cancel_stops_a_run_at_any_moment(bench: RunnerBench, name: str) -> None:
    moments = Moments(bench)
    for moment in itertools.count():
        assert (moment, moments.cancel(BLOCKING[name], moment)) == (moment, 499)
        assert moments.survived == []
        if moments.is_last:
            break
    assert moment > 20
    # Otherwise the warnings would be of the test that happens to collect these coroutines.
    gc.collect()


@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "behind another"])
def test_a_cancel_at_any_moment_disturbs_no_other_run(bench: RunnerBench, is_alone: bool) -> None:
    moments = Moments(bench)
    for moment in itertools.count():
        assert moments.cancel(RETURNING, moment, is_alone=is_alone) in (200, 499)
        if moments.is_last:
            break
    assert moment > 20
