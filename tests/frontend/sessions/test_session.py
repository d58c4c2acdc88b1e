"""A session's queue, deaths and limits, with kernels that the tests play."""

import asyncio
from contextlib import suppress

import pytest

from owt.errors import Busy, KernelDied, KernelKilled, KernelNotReady
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.session import IDLE_DEATHS, Limits, Session
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernels
from owt.wire.call import Call, RequestFacts

FACTS = RequestFacts("GET", "/", "", (), b"", "localhost")


class Stage:
    def __init__(self, queue=2, concurrency=1, kill_after=60.0):
        self.kernels = ScriptedKernels()
        self.dead = []
        self.session = Session(
            "s", kernels=self.kernels, limits=Limits(queue, kill_after), spec="owt", concurrency=concurrency,
            on_dead=self.dead.append,
        )
        self.number = 0

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
async def test_as_many_wait_as_the_limit_says_beside_those_that_run():
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
async def test_a_death_fails_what_ran_and_the_rest_goes_on():
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
async def test_deaths_during_calls_never_end_the_queue():
    stage = Stage(queue=99)
    runs = [stage.submit() for _ in range(20)]
    for number in range(20):
        kernel = await stage.kernels.wait_for_kernel(number + 1)
        assert kernel.invoked == [runs[number].id]
        kernel.die()
    assert [run.failure.status for run in runs] == [502] * 20
    assert not stage.dead


@async_test
async def test_kernels_that_die_while_idle_are_replaced_a_few_times():
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
async def test_a_death_between_hello_and_the_first_call_is_no_end():
    stage = Stage()

    def die_once(kernel):
        if kernel.id == "k1":
            kernel.die()

    stage.kernels.on_start = die_once
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(2)
    assert kernel.invoked == [run.id]


@async_test
async def test_a_call_that_comes_while_a_kernel_dies_waits_for_the_next():
    stage = Stage()
    first = stage.submit()
    old = await stage.kernels.wait_for_kernel(1)
    old.disconnect()
    assert stage.session.state == "starting"
    second = stage.submit()
    await settle()
    # None is started before it is known how the old one ended, or its call could be forgotten.
    assert len(stage.kernels.all) == 1
    old.die()
    assert first.failure.status == 502
    assert (await stage.kernels.wait_for_kernel(2)).invoked == [second.id]


@pytest.mark.parametrize("problem", [KernelNotReady("the kernel exited"), OSError("no more files")])
@async_test
async def test_a_kernel_that_cannot_be_started_fails_what_waits(problem):
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
async def test_who_waits_for_the_start_of_a_session_that_is_deleted_is_told():
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
async def test_a_cancel_in_the_queue_never_reaches_the_kernel():
    stage = Stage()
    first, second, third = stage.submit(), stage.submit(), stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    stage.session.cancel(second, "cancelled")
    assert second.failure.status == 499
    assert kernel.cancelled == []
    kernel.answer()
    assert kernel.invoked == [first.id, third.id]


@async_test
async def test_a_cancel_reaches_the_kernel_once():
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
async def test_what_does_not_stop_is_killed_and_says_why_it_ended():
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
async def test_what_stops_in_time_is_not_killed():
    stage = Stage(kill_after=0.0)
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    stage.session.cancel(run, "cancelled")
    kernel.answer()
    await asyncio.sleep(0.01)
    assert kernel.killed is None


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
async def test_output_of_a_run_that_has_ended_is_dropped():
    stage = Stage()
    stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer("r1")
    kernel.answer("r1")
    kernel.answer("r-of-nobody")
    assert stage.session.state == "idle"


@async_test
async def test_a_session_takes_over_a_kernel_that_has_run_nothing():
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
    # The new owner starts the next one.
    assert await stage.kernels.wait_for_kernel(1)
    assert len(pool.kernels.all) == 1


@async_test
async def test_a_session_knows_the_codes_that_its_kernel_was_given():
    stage = Stage()
    stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    assert "1" in stage.session.codes
    kernel.die()
    assert "1" not in stage.session.codes


@async_test
async def test_a_call_that_would_need_a_kernel_is_refused_when_there_is_no_room_for_one():
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
async def test_a_kernel_for_which_the_room_was_lost_on_the_way_is_a_limit_reached_and_no_death():
    stage = Stage()
    stage.kernels.start_error = stage.kernels.busy = Busy("no descriptors")
    stage.session.start()
    run = Run("r", Call(FACTS, code="1"), 1 << 20)
    stage.session.submit(run)
    with pytest.raises(Busy, match="no descriptors"):
        await stage.session.started()
    assert (run.failure.status, run.failure.type, run.failure.detail) == (503, "busy", "no descriptors")


@async_test
async def test_calls_go_on_when_a_kernel_is_killed_while_it_starts():
    stage = Stage()
    stage.kernels.start_error = KernelKilled("the kernel was killed before it was ready")
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
async def test_kernels_that_are_always_killed_while_they_start_fail_what_waits():
    stage = Stage()
    stage.kernels.start_error = KernelKilled("the kernel was killed before it was ready")
    run = stage.submit()
    await settle()
    assert stage.kernels.starts == IDLE_DEATHS
    assert run.failure.status == 502
    assert f"{IDLE_DEATHS} times in a row" in run.failure.detail
    assert stage.dead == [stage.session]
