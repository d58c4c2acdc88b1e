"""owt.frontend.sessions.session: queue, deaths of kernels, limits."""

import asyncio
from contextlib import suppress

import pytest
from loop_clock import LoopClock

from owt.errors import Busy, KernelDied, KernelKilled, KernelNotReady
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.events import KernelEvent
from owt.frontend.sessions.failures import (
    cancelled_in_queue,
    kernel_lost,
    killed_with_kernel,
    start_failure,
)
from owt.frontend.sessions.session import (
    IDLE_DEATHS,
    MAX_AHEAD,
    MAX_KNOWN_CODES,
    SHORT,
    Session,
)
from owt.testing import async_test, settle
from owt.testing.kernel import HEAD, ScriptedKernels
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Done, Failed, Stderr
from owt.wire.messages import MIN_ATTACHMENT, Input

FACTS = RequestFacts("GET", "/", "", (), b"", "localhost")


class Stage:
    def __init__(self, queue=2, concurrency=1, kill_after=60.0, kill_abandoned=None):
        self.kernels = ScriptedKernels()
        self.idle = []
        self.dead = []
        self.stuck = []
        self.session = Session(
            "s",
            owner=self,
            kernels=self.kernels,
            limits=Limits(queue, kill_after, kill_abandoned),
            spec="owt",
            concurrency=concurrency,
        )
        self.number = 0

    def session_idle(self, session):
        self.idle.append(session)

    def session_stuck(self, session):
        self.stuck.append(session)

    def session_failed(self, session):
        self.dead.append(session)

    def submit(self):
        self.number += 1
        run = Run(f"r{self.number}", Call(FACTS, code="1"), 1 << 20)
        self.session.submit(run)
        return run


@async_test
async def test_calls_run_one_after_another():
    stage = Stage()
    first, second = stage.submit(), stage.submit()
    assert stage.session.state == "starting"
    kernel = await stage.kernels.wait_for_kernel(1)
    assert kernel.invoked == [first.id]
    assert stage.session.state == "busy"
    kernel.answer()
    assert first.ended
    assert kernel.invoked == [first.id, second.id]
    kernel.answer()
    assert stage.session.state == "idle"


@async_test
async def test_a_kernel_gets_its_next_call_before_a_reader_of_the_last_one_continues():
    stage = Stage()
    first, second = stage.submit(), stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    invoked = []
    first.follow().notify(lambda: invoked.extend(kernel.invoked))
    kernel.answer()
    # Without another step of the event loop.
    assert invoked == [first.id, second.id]


@async_test
async def test_the_queue_limit_counts_calls_beyond_the_concurrency():
    for queue, concurrency in ((0, 1), (2, 1), (2, 3)):
        for started in (False, True):
            stage = Stage(queue, concurrency)
            if started:
                stage.session.start()
                await stage.kernels.wait_for_kernel(1)
            for _ in range(queue + concurrency):
                stage.submit()
            with pytest.raises(Busy, match=f"--queue {queue}"):
                stage.submit()
            kernel = await stage.kernels.wait_for_kernel(1)
            assert len(kernel.invoked) == concurrency
            kernel.answer(kernel.invoked[0])
            stage.submit()


@async_test
async def test_a_death_fails_active_calls_and_queued_calls_go_on():
    stage = Stage(queue=9)
    first, second = stage.submit(), stage.submit()
    (await stage.kernels.wait_for_kernel(1)).die("fell over")
    assert first.failure.status == 502
    assert "fell over" in first.failure.detail
    kernel = await stage.kernels.wait_for_kernel(2)
    assert kernel.invoked == [second.id]
    assert stage.session.restarts == 1
    assert stage.session.last_death == "fell over"


@async_test
async def test_calls_that_a_dead_kernel_has_not_begun_run_in_the_next_in_their_order():
    stage = Stage(queue=9, concurrency=3)
    first, *others = [stage.submit() for _ in range(4)]
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.unhandled = 2
    kernel.die("fell over")
    assert first.failure.status == 502
    fresh = await stage.kernels.wait_for_kernel(2)
    assert fresh.invoked == [run.id for run in others]


@async_test
async def test_a_cancelled_call_that_a_dead_kernel_has_not_begun_ends():
    stage = Stage()
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.unhandled = 1
    run.cancel("cancelled")
    kernel.die("fell over")
    assert run.failure.status == 499


@async_test
async def test_the_end_of_a_session_ends_calls_that_its_kernel_has_not_begun():
    stage = Stage()
    run = stage.submit()
    (await stage.kernels.wait_for_kernel(1)).unhandled = 1
    await stage.session.close("it was deleted")
    assert run.failure.status == 502


@async_test
async def test_kernels_that_die_before_they_begin_a_call_are_replaced_up_to_a_limit():
    stage = Stage()
    run = stage.submit()
    for number in range(IDLE_DEATHS):
        kernel = await stage.kernels.wait_for_kernel(number + 1)
        kernel.unhandled = 1
        kernel.die()
    await settle()
    assert len(stage.kernels.all) == IDLE_DEATHS
    assert run.failure.status == 502


@async_test
async def test_deaths_during_calls_never_fail_queued_calls():
    stage = Stage(queue=99)
    runs = [stage.submit() for _ in range(20)]
    for number in range(20):
        kernel = await stage.kernels.wait_for_kernel(number + 1)
        assert kernel.invoked == [runs[number].id]
        kernel.die()
    assert [run.failure.status for run in runs] == [502] * 20
    assert not stage.dead


@async_test
async def test_kernels_that_die_while_idle_are_replaced_up_to_a_limit():
    stage = Stage()
    stage.session.start()
    for number in range(IDLE_DEATHS):
        (await stage.kernels.wait_for_kernel(number + 1)).die()
    await settle()
    assert len(stage.kernels.all) == IDLE_DEATHS
    assert stage.session.state == "dead"
    assert stage.dead == [stage.session]
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(IDLE_DEATHS + 1)
    kernel.answer()
    assert run.status == 200


@async_test
async def test_a_kernel_that_dies_before_its_first_call_is_replaced():
    stage = Stage()

    def die_once(kernel):
        if kernel.id == "k1":
            kernel.die()

    stage.kernels.on_start = die_once
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(2)
    assert kernel.invoked == [run.id]


@async_test
async def test_a_call_submitted_while_a_kernel_dies_runs_on_the_next():
    stage = Stage()
    first = stage.submit()
    old = await stage.kernels.wait_for_kernel(1)
    old.disconnect()
    assert stage.session.state == "starting"
    second = stage.submit()
    await settle()
    # No kernel starts before the exit of the old one is known, so that its call fails with the cause.
    assert len(stage.kernels.all) == 1
    old.die()
    assert first.failure.status == 502
    assert (await stage.kernels.wait_for_kernel(2)).invoked == [second.id]


@pytest.mark.parametrize("problem", [KernelNotReady("the kernel exited"), OSError("no more files")])
@async_test
async def test_a_kernel_that_cannot_be_started_fails_queued_calls(problem):
    stage = Stage()
    stage.kernels.start_error = problem
    runs = [stage.submit(), stage.submit()]
    await settle()
    assert [run.failure.status for run in runs] == [502, 502]
    assert stage.session.state == "dead"
    assert stage.dead == [stage.session]
    with pytest.raises(KernelDied, match=r"exited|no more files"):
        await stage.session.started()
    stage.kernels.start_error = None
    run = stage.submit()
    (await stage.kernels.wait_for_kernel(1)).answer()
    assert run.status == 200


@async_test
async def test_deleting_a_session_ends_the_wait_for_its_kernel():
    stage = Stage()
    stage.kernels.may_start.clear()
    waiting = asyncio.ensure_future(stage.session.started())
    run = stage.submit()
    await settle()
    await stage.session.close("its session was deleted")
    with pytest.raises(KernelDied, match="deleted"):
        await waiting
    assert "its session was deleted" in run.failure.detail
    assert stage.session.state == "dead"
    assert stage.kernels.all == []


@async_test
async def test_cancelling_a_queued_call_does_not_reach_the_kernel():
    stage = Stage()
    first, second, third = stage.submit(), stage.submit(), stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    stage.session.cancel(second, "cancelled")
    assert second.failure.status == 499
    assert kernel.cancelled == []
    kernel.answer()
    assert kernel.invoked == [first.id, third.id]


@async_test
async def test_cancelling_an_active_call_reaches_the_kernel_once():
    stage = Stage()
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    for _ in range(3):
        stage.session.cancel(run, "cancelled")
    assert kernel.cancelled == [run.id]
    kernel.answer()
    stage.session.cancel(run, "cancelled")
    assert kernel.cancelled == [run.id]


@async_test
async def test_a_cancelled_call_that_does_not_stop_ends_with_its_kernel():
    for reason, status in (("cancelled", 499), ("interrupted", 499), ("timeout", 504)):
        stage = Stage(kill_after=0.0)
        run = stage.submit()
        run.call = Call(FACTS, code="1", timeout=1.5)
        kernel = await stage.kernels.wait_for_kernel(1)
        stage.session.cancel(run, reason)
        async with asyncio.timeout(10):
            await kernel.closed()
        assert kernel.killed.startswith("did not stop within 0 s")
        assert (run.failure.status, run.failure.type) == (status, reason)
        assert "was killed" in run.failure.detail


@async_test
async def test_a_cancelled_call_that_stops_keeps_its_kernel():
    stage = Stage(kill_after=5.0)
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    clock = LoopClock()
    stage.session.cancel(run, "cancelled")
    kernel.answer()
    await clock.advance(10.0)
    assert kernel.killed is None


@pytest.mark.parametrize("reason", ["cancelled", "interrupted", "timeout"])
@async_test
async def test_a_disconnect_interrupts_without_a_kill_until_a_further_cancel(reason):
    stage, clock = Stage(kill_after=5.0), LoopClock()
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    for _ in range(2):
        stage.session.cancel(run, "disconnected")
    assert kernel.cancelled == [run.id]
    await clock.advance(1000.0)
    assert (kernel.killed, stage.session.state, run.abandoned) == (None, "busy", True)
    stage.session.cancel(run, reason)
    stage.session.cancel(run, "disconnected")
    assert (kernel.cancelled, run.abandoned) == ([run.id] * 2, False)
    await clock.advance(5.0)
    assert kernel.killed.startswith("did not stop within 5 s")


@async_test
async def test_the_timeout_of_a_call_applies_after_a_disconnect():
    stage, clock = Stage(kill_after=5.0), LoopClock()
    run = Run("r1", Call(FACTS, code="1", timeout=20.0), 1 << 20)
    stage.session.submit(run)
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.send()
    stage.session.cancel(run, "disconnected")
    await clock.advance(20.0)
    assert (run.cancel_reason, kernel.killed) == ("timeout", None)
    await clock.advance(5.0)
    assert kernel.killed is not None


@async_test
async def test_kill_abandoned_limits_the_wait_after_a_disconnect():
    stage, clock = Stage(kill_after=5.0, kill_abandoned=30.0), LoopClock()
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    stage.session.cancel(run, "disconnected")
    await clock.advance(29.0)
    assert kernel.killed is None
    await clock.advance(1.0)
    assert kernel.killed == "did not stop within 30 s of being interrupted and was killed"
    assert (run.failure.status, run.failure.type) == (499, "cancelled")


@async_test
async def test_a_restart_waits_for_the_fresh_kernel():
    stage = Stage()
    run = stage.submit()
    await stage.kernels.wait_for_kernel(1)
    await stage.session.restart()
    assert run.failure.status == 502
    assert len(stage.kernels.all) == 2
    assert stage.session.state == "idle"


@async_test
async def test_a_deleted_session_ends_its_kernel_and_starts_none():
    stage = Stage()
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    await stage.session.close("its session was deleted")
    assert kernel.killed == "was ended because its session was deleted"
    assert run.failure.status == 502
    await settle()
    assert len(stage.kernels.all) == 1
    with suppress(KernelDied):
        await stage.session.started()
    assert len(stage.kernels.all) == 1


@async_test
async def test_output_of_an_ended_run_is_ignored():
    stage = Stage()
    stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer("r1")
    kernel.answer("r1")
    kernel.answer("unknown-run")
    assert stage.session.state == "idle"


@async_test
async def test_a_session_adopts_the_kernel_of_a_fresh_spare():
    pool, stage = Stage(), Stage()
    pool.session.start()
    kernel = await pool.kernels.wait_for_kernel(1)
    stage.session.adopt(pool.session, 3)
    assert kernel.bound == ("s", 3)
    run = stage.submit()
    kernel.answer()
    assert run.status == 200
    assert stage.kernels.all == []
    kernel.die()
    # The new owner starts the next spare.
    assert await stage.kernels.wait_for_kernel(1)
    assert len(pool.kernels.all) == 1


@async_test
async def test_a_session_knows_the_codes_that_its_kernel_has_loaded():
    stage = Stage()
    stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    assert stage.session.knows("1")
    assert not stage.session.knows(None)
    kernel.die()
    assert not stage.session.knows("1")


@async_test
async def test_a_call_that_needs_a_new_kernel_is_refused_without_room_for_it():
    stage = Stage()
    stage.kernels.busy = Busy("no descriptors")
    with pytest.raises(Busy, match="no descriptors"):
        stage.submit()
    assert not stage.session.queue
    stage.kernels.busy = None
    stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer()
    stage.kernels.busy = Busy("no descriptors")
    stage.submit()
    assert len(kernel.invoked) == 2


@async_test
async def test_a_start_that_finds_no_room_fails_calls_as_busy():
    stage = Stage()
    stage.kernels.start_error = stage.kernels.busy = Busy("no descriptors")
    stage.session.start()
    run = Run("r", Call(FACTS, code="1"), 1 << 20)
    stage.session.submit(run)
    with pytest.raises(Busy, match="no descriptors"):
        await stage.session.started()
    assert (run.failure.status, run.failure.type, run.failure.detail) == (503, "busy", "no descriptors")


@async_test
async def test_queued_calls_go_on_when_a_kernel_is_killed_while_it_starts():
    stage = Stage()
    stage.kernels.start_error = KernelKilled.because("was killed before it was ready")
    stage.kernels.may_start.clear()
    run = stage.submit()
    starting = asyncio.ensure_future(stage.session.started())
    await settle()
    stage.kernels.max_failures = 1
    stage.kernels.may_start.set()
    kernel = await stage.kernels.wait_for_kernel(1)
    assert kernel.invoked == [run.id]
    await starting
    assert stage.session.last_death == "was killed before it was ready"
    assert stage.session.restarts == 0


@async_test
async def test_kernels_that_are_always_killed_while_they_start_fail_queued_calls():
    stage = Stage()
    stage.kernels.start_error = KernelKilled.because("was killed before it was ready")
    run = stage.submit()
    await settle()
    assert stage.kernels.starts == IDLE_DEATHS
    assert run.failure.status == 502
    assert f"{IDLE_DEATHS} times in a row" in run.failure.detail
    assert stage.dead == [stage.session]


class RecordingObserver:
    """An observer that records events, and may remove itself."""

    def __init__(self, session, once=False):
        self.session, self.once, self.events = session, once, []
        session.observers.add(self)

    def kernel_changed(self, event):
        self.events.append(event)
        if self.once:
            self.session.observers.remove(self)


@async_test
async def test_observers_get_the_events_of_the_kernel_until_they_are_removed():
    stage = Stage()
    once, observer = RecordingObserver(stage.session, once=True), RecordingObserver(stage.session)
    stage.session.start()
    (await stage.kernels.wait_for_kernel(1)).die()
    await stage.kernels.wait_for_kernel(2)
    await stage.session.restart()
    await stage.session.close("its session was deleted")
    started, died, closed = KernelEvent.STARTED, KernelEvent.DIED, KernelEvent.CLOSED
    assert once.events == [started]
    assert observer.events == [started, died, started, KernelEvent.RESTARTING, died, started, closed]


@async_test
async def test_observers_are_notified_when_a_session_has_no_kernel_left():
    stage = Stage()
    observer = RecordingObserver(stage.session)
    stage.kernels.start_error = KernelNotReady("the kernel exited")
    stage.session.start()
    await settle()
    assert observer.events == [KernelEvent.FAILED]


@async_test
async def test_a_session_forgets_the_oldest_of_too_many_codes():
    stage = Stage()
    stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer()
    for number in range(MAX_KNOWN_CODES):
        stage.session.submit(Run(f"n{number}", Call(FACTS, code=f"code {number}"), 1000))
        kernel.answer()
    assert not stage.session.knows("1")
    assert stage.session.knows("code 0")


@async_test
async def test_check_kills_a_stopped_kernel_only_while_it_has_calls():
    stage = Stage(kill_after=0.0)
    stage.session.check()
    stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.is_stopped = True
    kernel.answer()
    stage.session.check()
    assert kernel.killed is None
    stage.submit()
    stage.session.check()
    assert kernel.killed == "was stopped (SIGSTOP) for 0 s while it had calls and was killed"


class StuckStage(Stage):
    """A session whose kernel has withdrawn a call, because something blocks its main thread."""

    async def withdraw(self, **fields):
        self.clock = LoopClock()
        self.run = Run("r1", Call(FACTS, code="1", **fields), 1 << 20)
        self.session.submit(self.run)
        self.kernel = await self.kernels.wait_for_kernel(1)
        await self.clock.advance(1.0)
        self.session.check()
        self.kernel.withdraw()
        return self


@async_test
async def test_a_withdrawn_call_waits_until_the_kernel_receives_calls_again():
    stage = await StuckStage().withdraw()
    later = stage.submit()
    assert (stage.session.state, stage.run.state, stage.run.started_at) == ("stuck", "queued", None)
    assert (stage.kernel.invoked, stage.kernel.pings, stage.stuck) == (["r1"], 1, [stage.session])
    stage.kernel.pong()
    assert (stage.session.state, stage.kernel.invoked) == ("busy", ["r1", "r1"])
    stage.kernel.answer()
    stage.kernel.answer()
    assert (stage.run.status, later.status, stage.session.state) == (200, 200, "idle")


@async_test
async def test_a_kernel_that_stays_stuck_is_killed_and_the_next_one_runs_the_call_and_says_why():
    stage = await StuckStage(kill_after=4.0).withdraw()
    await stage.clock.advance(2.9)
    stage.session.check()
    assert stage.kernel.killed is None
    await stage.clock.advance(0.1)
    stage.session.check()
    assert stage.kernel.killed.startswith("was blocked for 4 s by something that an earlier call had left")
    fresh = await stage.kernels.wait_for_kernel(2)
    assert fresh.invoked == ["r1"]
    fresh.answer()
    assert stage.run.kernel_loss == stage.kernel.killed
    assert "was blocked for 4 s" in stage.run.text(Stderr)
    later = stage.submit()
    assert later.kernel_loss is None


@async_test
async def test_the_reason_of_a_stuck_kernel_that_was_stopped_is_the_stop():
    stage = await StuckStage(kill_after=4.0).withdraw()
    stage.kernel.is_stopped = True
    await stage.clock.advance(3.0)
    stage.session.check()
    assert stage.kernel.killed == "was stopped (SIGSTOP) for 4 s while it had calls and was killed"


@async_test
async def test_a_stuck_kernel_of_a_session_lives_as_long_as_no_call_needs_it():
    stage = await StuckStage(kill_after=4.0).withdraw()
    stage.run.cancel("cancelled")
    assert (stage.run.failure.status, stage.kernel.cancelled) == (499, [])
    await stage.clock.advance(100.0)
    stage.session.check()
    assert (stage.kernel.killed, stage.session.state) == (None, "stuck")
    stage.submit()
    stage.session.check()
    assert stage.kernel.killed is not None


@async_test
async def test_a_withdrawn_call_ends_at_its_timeout():
    stage = await StuckStage(kill_after=40.0).withdraw(timeout=5.0)
    await stage.clock.advance(4.0)
    assert (stage.run.failure.status, stage.run.failure.type) == (504, "timeout")
    assert "did not begin within its timeout of 5 s" in stage.run.failure.detail
    assert not stage.session.queue


@async_test
async def test_a_call_that_is_withdrawn_after_its_timeout_ends():
    stage = await StuckStage(kill_after=40.0).withdraw(timeout=0.5)
    assert stage.run.failure.status == 504


@async_test
async def test_an_interrupt_says_whether_there_was_something_to_interrupt():
    stage = await StuckStage().withdraw()
    assert "an earlier call has left running blocks the kernel" in await stage.session.interrupt()
    stage.kernel.pong()
    assert await stage.session.interrupt() is None
    assert stage.kernel.cancelled == ["r1"]
    stage.kernel.answer()
    assert await stage.session.interrupt() == "no call and no cell is running"
    stage.kernel.in_cell = True
    assert await stage.session.interrupt() is None


@async_test
async def test_a_kernel_that_no_thread_answers_for_is_killed_and_its_unhandled_call_runs_in_the_next():
    stage, clock = Stage(kill_after=4.0), LoopClock()
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.unhandled = 1
    await clock.advance(1.0)
    stage.session.check()
    await clock.advance(4.0)
    stage.session.check()
    assert kernel.killed is not None
    fresh = await stage.kernels.wait_for_kernel(2)
    assert (fresh.invoked, run.state) == ([run.id], "running")


@async_test
async def test_the_last_output_of_a_kernel_is_without_the_notice_of_an_earlier_death():
    stage = Stage()
    stage.submit()
    (await stage.kernels.wait_for_kernel(1)).die("died first")
    run = stage.submit()
    (await stage.kernels.wait_for_kernel(2)).die("died again")
    assert "died first" in run.text(Stderr)
    assert run.failure.detail == "the kernel died again"


@async_test
async def test_a_requested_restart_is_not_reported_to_the_next_call():
    stage = Stage()
    stage.submit()
    await stage.kernels.wait_for_kernel(1)
    await stage.session.restart()
    assert stage.submit().kernel_loss is None


@pytest.mark.parametrize(
    ("cancel_reason", "status", "type", "detail"),
    [
        (None, 502, "kernel-died", "the kernel exited with status 3"),
        ("timeout", 504, "timeout", "its timeout of 1.5 s; its kernel exited"),
        ("cancelled", 499, "cancelled", "its kernel was killed"),
        ("interrupted", 499, "interrupted", "the call was interrupted"),
    ],
)
def test_the_failure_of_a_call_whose_kernel_died_has_the_cause(cancel_reason, status, type, detail):
    run = Run("r", Call(FACTS, timeout=1.5), 1000)
    run.cancel_reason = cancel_reason
    failure = killed_with_kernel(run, "exited with status 3")
    assert (failure.status, failure.type) == (status, type)
    assert detail in failure.detail


def test_the_failure_of_a_call_cancelled_in_the_queue_says_that_it_never_began():
    run = Run("r", Call(FACTS), 1000)
    assert "before it began" in cancelled_in_queue(run, "cancelled").detail
    assert kernel_lost("why").status == 502


def test_the_failure_of_a_start_has_the_status_of_its_error():
    assert start_failure(Busy("full")).status == 503
    assert start_failure(KernelNotReady("slow")).status == 502
    assert "ValueError('odd')" in start_failure(ValueError("odd")).detail


@async_test
async def test_the_body_of_an_active_run_is_its_input():
    stage = Stage()
    body = bytes(MIN_ATTACHMENT)
    facts = RequestFacts("POST", "/", "", (), body, "localhost")
    run = Run("r1", Call(facts, code="1", body_parsed=True), 1000)
    stage.session.submit(run)
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.request_input(1)
    assert kernel.messages == [Input("r1", body)]
    kernel.answer()
    kernel.request_input()
    assert len(kernel.messages) == 1


async def short_calls(queue=20, **options):
    """Return a stage whose first call was short, its kernel, and four further calls: one runs, three wait."""
    stage = Stage(queue=queue, **options)
    first, *others = [stage.submit() for _ in range(5)]
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer(first.id)
    return stage, kernel, others


@async_test
async def test_while_calls_are_short_the_kernel_gets_calls_before_their_turn():
    stage, kernel, runs = await short_calls()
    assert kernel.invoked == ["r1", "r2", "r3", "r4", "r5"]
    assert [run.state for run in runs] == ["running", "queued", "queued", "queued"]
    assert (list(stage.session.active), list(stage.session.queue)) == (["r2"], runs[1:])
    for run in runs:
        kernel.answer(run.id)
    assert [run.status for run in runs] == [200] * 4
    assert (stage.session.state, stage.session.calls, len(kernel.invoked)) == ("idle", 5, 5)
    for _ in range(MAX_AHEAD + 3):
        stage.submit()
    assert len(kernel.invoked) == 5 + 1 + MAX_AHEAD


@pytest.mark.parametrize(("concurrency", "seconds"), [(1, 2 * SHORT), (2, 0.0)])
@async_test
async def test_after_a_long_call_and_with_concurrency_each_call_waits_for_its_turn(concurrency, seconds):
    stage = Stage(queue=9, concurrency=concurrency)
    runs = [stage.submit() for _ in range(4)]
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.send(HEAD, Done(200, seconds), run=runs[0].id)
    assert kernel.invoked == [run.id for run in runs[: 1 + concurrency]]


@async_test
async def test_a_cancel_of_a_call_sent_ahead_ends_it_when_the_kernel_replies_and_no_other():
    stage, kernel, (active, second, third, _) = await short_calls()
    for _ in range(2):
        stage.session.cancel(third, "cancelled")
    assert (kernel.cancelled, third.ended) == ([third.id], False)
    kernel.send(Failed(499, "cancelled", "cancelled", ""), Done(499, 0.0), run=third.id)
    assert (third.failure.status, active.ended, second.state) == (499, False, "queued")
    assert stage.session.queue[0] is second


@async_test
async def test_a_cancelled_call_that_was_sent_ahead_takes_no_place_in_a_full_queue():
    stage, _, (_, second, *_) = await short_calls(queue=4)
    stage.submit()
    with pytest.raises(Busy):
        stage.submit()
    stage.session.cancel(second, "disconnected")
    stage.submit()
    with pytest.raises(Busy, match="4 calls waiting"):
        stage.submit()


@async_test
async def test_a_cancelled_call_that_the_kernel_has_just_begun_has_to_stop():
    stage, kernel, (active, second, *_) = await short_calls(kill_after=5.0)
    clock = LoopClock()
    stage.session.cancel(second, "cancelled")
    await clock.advance(100.0)
    assert kernel.killed is None
    kernel.answer(active.id)
    await clock.advance(5.0)
    assert kernel.killed.startswith("did not stop within 5 s")
    assert second.failure.status == 499


@async_test
async def test_an_interrupt_leaves_calls_that_were_sent_ahead():
    stage, kernel, (active, *_) = await short_calls()
    assert await stage.session.interrupt() is None
    assert kernel.cancelled == [active.id]


@async_test
async def test_calls_that_were_sent_ahead_run_in_the_next_kernel_unless_they_were_cancelled():
    stage, kernel, (active, second, third, fourth) = await short_calls()
    stage.session.cancel(third, "cancelled")
    kernel.unhandled = 3
    kernel.die("fell over")
    assert (active.failure.status, third.failure.status) == (502, 499)
    fresh = await stage.kernels.wait_for_kernel(2)
    assert fresh.invoked[0] == second.id
    fresh.answer(second.id)
    fresh.answer(fourth.id)
    assert (second.status, fourth.status) == (200, 200)


@async_test
async def test_a_call_that_a_dying_kernel_had_begun_does_not_run_again():
    stage, kernel, (active, second, third, _) = await short_calls()
    kernel.disconnect()
    kernel.answer(active.id)
    kernel.unhandled = 2
    kernel.die("fell over")
    assert (active.status, second.failure.status) == (200, 502)
    assert (await stage.kernels.wait_for_kernel(2)).invoked[0] == third.id


@async_test
async def test_a_call_sent_ahead_does_not_run_again_if_the_end_of_the_one_before_is_lost():
    stage, kernel, (active, second, third, _) = await short_calls()
    stage.session.cancel(second, "cancelled")
    kernel.unhandled = 1
    kernel.die("fell over")
    assert (active.failure.status, second.failure.status, third.failure.status) == (502, 499, 502)
    assert third.failure.detail.startswith("the kernel fell over")
    assert (await stage.kernels.wait_for_kernel(2)).invoked[0] not in (second.id, third.id)


@async_test
async def test_a_deleted_session_fails_the_calls_sent_ahead_when_its_kernel_has_ended():
    stage, kernel, (active, second, third, _) = await short_calls()
    closing = asyncio.ensure_future(stage.session.close("it was deleted"))
    kernel.answer(active.id)
    kernel.unhandled = 2
    await closing
    # It had begun.
    assert "was ended because it was deleted" in second.failure.detail
    assert third.failure.detail == "the call was not begun because it was deleted"


@async_test
async def test_calls_that_were_sent_ahead_are_withdrawn_with_the_call_before_them():
    stage, kernel, (active, second, third, fourth) = await short_calls(kill_after=60.0)
    clock = LoopClock()
    await clock.advance(1.0)
    stage.session.check()
    kernel.withdraw(active.id)
    ahead = [second.id, third.id, fourth.id]
    assert [message.run for message in kernel.messages] == [active.id, *ahead]
    stage.session.cancel(third, "cancelled")
    for id in ahead:
        kernel.withdraw(id)
    assert third.failure.status == 499
    del kernel.invoked[:]
    kernel.pong()
    assert kernel.invoked == [active.id, second.id, fourth.id]


@async_test
async def test_a_kernel_is_asked_about_its_oldest_waiting_call_and_about_others_when_that_is_blocked():
    stage, clock = Stage(concurrency=3, kill_after=60.0), LoopClock()
    runs = [stage.submit().id for _ in range(3)]
    kernel = await stage.kernels.wait_for_kernel(1)
    for _ in range(2):
        await clock.advance(1.0)
        stage.session.check()
        assert [message.run for message in kernel.messages] == runs[:1]
    kernel.withdraw(runs[0])
    assert [message.run for message in kernel.messages] == runs
    kernel.withdraw(runs[1])
    kernel.withdraw(runs[2])
    del kernel.invoked[:]
    kernel.pong()
    assert kernel.invoked == runs
