"""owt.frontend.sessions.deadlines, with a scripted kernel."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from loop_clock import LoopClock

from owt.frontend.kernels.exit import Exit
from owt.frontend.kernels.kernel import Kernel, RunMessage
from owt.frontend.runs.runs import CancelReason, Run
from owt.frontend.sessions.deadlines import Deadlines
from owt.testing import async_test
from owt.testing.kernel import ScriptedKernel, new_call
from owt.wire.messages import PING, Withdraw

LONG = 60.0


class Stage:
    """One call on one kernel, in the queue that cancels it."""

    def __init__(self, *, kill_after: float = LONG, timeout: float | None = None) -> None:
        self.kernel = ScriptedKernel("k1", "owt", "s", self)
        self.cancelled: list[tuple[str, str]] = []
        self.deadlines = Deadlines(kill_after)
        self.run = Run("r1", new_call(timeout=timeout), 1 << 20)
        self.run.enqueue(self)
        self.kernel.invoke(self.run.id, self.run.call)
        self.deadlines.sent(self.run, cast("Kernel", self.kernel), self.kernel.newest_sent)

    def cancel(self, run: Run, reason: CancelReason) -> None:
        self.cancelled.append((run.id, reason))

    def check(self) -> list[str]:
        return self.deadlines.check(cast("Kernel", self.kernel), self.kernel.invoked)

    def received(self, message: RunMessage) -> None:
        """Ignore output."""

    def kernel_died(self, kernel: Kernel, exit: Exit) -> None:
        self.deadlines.ended(self.run)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            # Timers change the condition, without an event to wait for.
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@async_test
async def test_a_kernel_that_does_not_begin_a_call_in_time_gets_a_message() -> None:
    stage = Stage(timeout=0.0)
    await stage.until(lambda: stage.kernel.messages)
    assert stage.kernel.messages == [Withdraw("r1")]
    assert stage.cancelled == []
    assert stage.kernel.killed is None


@async_test
async def test_the_timeout_runs_from_the_beginning_of_the_call() -> None:
    stage = Stage(timeout=0.0)
    stage.deadlines.begun(stage.run)
    stage.deadlines.begun(stage.run)
    await stage.until(lambda: stage.cancelled)
    assert stage.cancelled == [("r1", "timeout")]
    assert stage.kernel.messages == []


@async_test
async def test_a_kernel_that_does_not_answer_is_killed_and_the_call_times_out() -> None:
    stage = Stage(timeout=0.0, kill_after=0.0)
    await stage.until(lambda: stage.kernel.killed)
    assert stage.kernel.killed == "did not answer for 0 s and was killed"
    assert stage.run.cancel_reason == "timeout"


@async_test
async def test_a_call_behind_a_cell_keeps_its_whole_timeout() -> None:
    stage = Stage(timeout=0.0)
    for times in (1, 2, 3):
        await stage.until(lambda times=times: len(stage.kernel.messages) == times)
        stage.deadlines.queued("r1")
    stage.deadlines.begun(stage.run)
    await stage.until(lambda: stage.cancelled)
    assert stage.kernel.killed is None


@async_test
async def test_a_cancelled_call_that_begins_afterwards_still_has_to_stop() -> None:
    stage = Stage(timeout=LONG, kill_after=0.0)
    stage.run.cancel_reason = "cancelled"
    stage.deadlines.cancelled(stage.run)
    stage.deadlines.begun(stage.run)
    await stage.until(lambda: stage.kernel.killed)
    assert stage.kernel.killed == "did not stop within 0 s of being interrupted and was killed"


@async_test
async def test_calls_without_timeout_and_ended_calls_have_no_deadline() -> None:
    stage, ended = Stage(), Stage(timeout=0.0)
    ended.deadlines.ended(ended.run)
    other = Stage(timeout=0.0)
    await other.until(lambda: other.kernel.messages)
    assert stage.kernel.messages == ended.kernel.messages == []


@async_test
async def test_a_kernel_that_is_stopped_for_too_long_is_killed() -> None:
    stage = Stage(kill_after=0.0)
    stage.kernel.is_stopped = True
    stage.check()
    assert stage.kernel.killed == "was stopped (SIGSTOP) for 0 s while it had calls and was killed"


@async_test
async def test_a_kernel_that_continues_in_time_is_not_killed() -> None:
    stage, clock = Stage(kill_after=1.0), LoopClock()
    for stopped in (True, False, True, False, True):
        stage.kernel.is_stopped = stopped
        stage.check()
        await clock.advance(0.75)
    stage.check()
    assert stage.kernel.killed is None
    await clock.advance(0.25)
    stage.check()
    assert stage.kernel.killed is not None


@async_test
async def test_the_time_that_a_kernel_is_stopped_does_not_count_between_calls() -> None:
    stage, clock = Stage(kill_after=1.0), LoopClock()
    stage.kernel.is_stopped = True
    stage.check()
    stage.deadlines.ended(stage.run)
    await clock.advance(2.0)
    stage.deadlines.sent(stage.run, cast("Kernel", stage.kernel), stage.kernel.newest_sent)
    stage.check()
    assert stage.kernel.killed is None


@async_test
async def test_the_kernel_is_asked_once_about_a_call_that_does_not_begin() -> None:
    stage, clock = Stage(kill_after=4.0), LoopClock()
    stage.check()
    assert stage.kernel.messages == []
    for _ in range(3):
        await clock.advance(1.0)
        stage.check()
    assert stage.kernel.messages == [Withdraw("r1")]
    # It is behind a cell, and may still be blocked afterwards.
    stage.deadlines.queued("r1")
    stage.check()
    assert stage.kernel.messages == [Withdraw("r1")] * 2


@async_test
async def test_the_kernel_is_not_asked_about_a_call_that_has_begun() -> None:
    stage, clock = Stage(kill_after=4.0), LoopClock()
    stage.deadlines.begun(stage.run)
    await clock.advance(100.0)
    assert stage.check() == []
    assert stage.kernel.messages == []


@async_test
async def test_a_ping_follows_the_last_call_and_finds_a_blocked_kernel() -> None:
    stage, clock = Stage(kill_after=4.0), LoopClock()
    stage.deadlines.ended(stage.run)
    stage.check()
    stage.check()
    assert stage.kernel.pings == 1
    await clock.advance(1.0)
    stage.check()
    assert stage.kernel.messages == [Withdraw(PING)]
    stage.deadlines.withdrawn(PING, cast("Kernel", stage.kernel))
    await clock.advance(2.9)
    assert not stage.deadlines.is_kill_due()
    await clock.advance(0.1)
    assert stage.deadlines.is_kill_due()
    stage.deadlines.received_ping()
    stage.check()
    assert (stage.deadlines.blocked_since, stage.kernel.pings) == (None, 1)


@async_test
async def test_a_kernel_without_calls_since_its_last_ping_gets_none() -> None:
    stage = Stage()
    stage.deadlines.ended(stage.run)
    stage.check()
    stage.deadlines.received_ping()
    stage.check()
    assert stage.kernel.pings == 1


@async_test
async def test_no_ping_interrupts_a_cell() -> None:
    stage = Stage()
    stage.deadlines.ended(stage.run)
    stage.kernel.in_cell = True
    stage.check()
    assert stage.kernel.pings == 0


@pytest.mark.parametrize("unhandled", [0, 1])
@async_test
async def test_a_silent_kernel_that_has_not_read_its_call_is_reported(unhandled: int) -> None:
    stage, clock = Stage(kill_after=4.0), LoopClock()
    stage.kernel.unhandled = unhandled
    await clock.advance(1.0)
    stage.check()
    await clock.advance(3.9)
    assert stage.check() == []
    await clock.advance(0.1)
    assert stage.check() == (["r1"] if unhandled else [])


@pytest.mark.parametrize(("unhandled", "reported"), [(0, []), (1, []), (2, ["r2", "r1"])])
@async_test
async def test_calls_are_reported_unless_a_silent_kernel_has_received_one(
    unhandled: int, reported: list[str]
) -> None:
    stage, clock = Stage(kill_after=4.0), LoopClock()
    following = Run("r2", new_call(), 1 << 20)
    following.enqueue(stage)
    stage.kernel.invoke(following.id, following.call)
    stage.deadlines.sent(following, cast("Kernel", stage.kernel), stage.kernel.newest_sent)
    stage.kernel.unhandled = unhandled
    await clock.advance(1.0)
    stage.check()
    await clock.advance(4.0)
    assert stage.check() == reported


@async_test
async def test_a_call_behind_a_cell_that_lets_no_thread_answer_is_not_reported() -> None:
    stage, clock = Stage(kill_after=4.0), LoopClock()
    stage.kernel.unhandled = 1
    stage.kernel.in_cell = True
    await clock.advance(1.0)
    stage.check()
    await clock.advance(4.0)
    assert stage.check() == []


@async_test
async def test_a_call_that_begins_while_the_kernel_is_asked_about_it_is_not_reported() -> None:
    stage, clock = Stage(kill_after=4.0), LoopClock()
    stage.kernel.unhandled = 1
    await clock.advance(1.0)
    assert stage.check() == []
    assert stage.kernel.messages == [Withdraw("r1")]
    stage.deadlines.begun(stage.run)
    await clock.advance(4.0)
    assert stage.check() == []
