"""owt.frontend.sessions.deadlines: how long a kernel may take, with a kernel that the tests play."""

import asyncio
from collections.abc import Callable

from owt.frontend.runs.runs import Run
from owt.frontend.sessions.deadlines import Deadlines
from owt.testing import async_test
from owt.testing.kernel import ScriptedKernel, new_call
from owt.wire.messages import StartDeadlinePassed

LONG = 60.0


class Stage:
    """One call on one kernel, and what becomes of it."""

    def __init__(self, *, kill_after: float = LONG, timeout: float | None = None) -> None:
        self.kernel = ScriptedKernel("k1", "owt", "s", lambda message: None, self._died)
        self.cancelled: list[tuple[str, str]] = []
        self.deadlines = Deadlines(
            kill_after, lambda: self.kernel, lambda run, reason: self.cancelled.append((run.id, reason))
        )
        self.run = Run("r1", new_call(timeout=timeout), 1 << 20)
        self.deadlines.given(self.run)

    def _died(self, kernel: object, reason: str) -> None:
        self.deadlines.ended(self.run)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            # Timers bring it about, and there is nothing else to wait for.
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@async_test
async def test_a_kernel_that_does_not_begin_a_call_in_time_is_asked() -> None:
    stage = Stage(timeout=0.0)
    await stage.until(lambda: stage.kernel.messages)
    assert stage.kernel.messages == [StartDeadlinePassed("r1", 0.0)]
    assert stage.cancelled == []
    assert stage.kernel.killed is None


@async_test
async def test_a_kernel_that_has_begun_is_told_to_end_the_call_in_time() -> None:
    stage = Stage(timeout=0.0)
    stage.deadlines.begun(stage.run)
    stage.deadlines.begun(stage.run)
    await stage.until(lambda: stage.cancelled)
    assert stage.cancelled == [("r1", "timeout")]
    assert stage.kernel.messages == []


@async_test
async def test_a_kernel_that_does_not_answer_is_killed_and_the_call_is_timed_out() -> None:
    stage = Stage(timeout=0.0, kill_after=0.0)
    await stage.until(lambda: stage.kernel.killed)
    assert stage.kernel.killed == "did not answer for 0 s and was killed"
    assert stage.run.cancel_reason == "timeout"


@async_test
async def test_a_call_behind_a_cell_is_asked_about_again_and_nobody_is_killed() -> None:
    stage = Stage(timeout=0.0)
    for times in (1, 2, 3):
        await stage.until(lambda times=times: len(stage.kernel.messages) == times)
        stage.deadlines.behind(stage.run)
    # When the cell has ended, the call has its whole time.
    stage.deadlines.begun(stage.run)
    await stage.until(lambda: stage.cancelled)
    assert stage.kernel.killed is None


@async_test
async def test_nothing_is_asked_of_a_call_without_a_timeout_or_one_that_has_ended() -> None:
    stage, ended = Stage(), Stage(timeout=0.0)
    ended.deadlines.ended(ended.run)
    other = Stage(timeout=0.0)
    await other.until(lambda: other.kernel.messages)
    assert stage.kernel.messages == ended.kernel.messages == []


@async_test
async def test_a_kernel_that_is_stopped_for_too_long_while_it_has_calls_is_killed() -> None:
    stage = Stage(kill_after=0.0)
    stage.kernel.is_stopped = True
    await stage.until(lambda: stage.kernel.killed)
    assert stage.kernel.killed == "was stopped (SIGSTOP) for 0 s while it had calls and was killed"


@async_test
async def test_a_kernel_that_goes_on_in_time_is_left_alone() -> None:
    stage = Stage(kill_after=0.2)
    stage.kernel.is_stopped = True
    looks = 0

    def stopped() -> bool:
        nonlocal looks
        looks += 1
        return looks % 2 == 1

    stage.kernel.stopped = stopped  # type: ignore[method-assign]
    await stage.until(lambda: looks == 10)
    assert stage.kernel.killed is None


@async_test
async def test_nobody_looks_at_a_kernel_without_calls() -> None:
    stage, idle = Stage(kill_after=0.0), Stage(kill_after=0.0)
    idle.deadlines.ended(idle.run)
    idle.kernel.is_stopped = stage.kernel.is_stopped = True
    await stage.until(lambda: stage.kernel.killed)
    assert idle.kernel.killed is None
    # The next call has it looked at again.
    idle.deadlines.given(Run("r2", new_call(), 1 << 20))
    await idle.until(lambda: idle.kernel.killed)
