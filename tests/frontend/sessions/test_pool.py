"""owt.frontend.sessions.pool: the choice of a kernel for a call, with scripted kernels."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from loop_clock import LoopClock

from owt.errors import Busy, KernelNotReady
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.session import Session
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernel, ScriptedKernels, new_call


class Stage:
    """A pool with scripted kernels."""

    def __init__(self, *, min_spares: int = 0, max_members: int = 3, queue: int = 2) -> None:
        self.kernels = ScriptedKernels()
        self.pool = Pool(
            kernels=cast("Kernels", self.kernels),
            limits=Limits(queue, 60.0),
            spec="owt",
            min_spares=min_spares,
            max_members=max_members,
        )
        self._numbers = itertools.count(1)

    def submit(self, code: str | None = "1", **fields: Any) -> Run:
        run = Run(f"r{next(self._numbers)}", new_call(code, **fields), 1 << 20)
        self.pool.submit(run)
        return run

    async def members(self, *codes: str) -> list[ScriptedKernel]:
        """Return idle members that have run these codes, in this order."""
        for code in codes:
            self.submit(code)
        await self.kernels.wait_for_kernel(len(codes))
        for kernel in self.kernels.all:
            kernel.answer()
        self.use(*self.pool.members)
        return self.kernels.all

    def use(self, *members: Session) -> None:
        """Set the times of their last use, in this order, seconds apart."""
        for seconds, member in enumerate(members, start=1):
            member.last_used = 1000.0 + seconds


@async_test
async def test_a_call_goes_to_the_kernel_that_has_loaded_its_code() -> None:
    stage = Stage()
    first, second, third = await stage.members("a", "b", "c")
    for code, kernel in (("a", first), ("c", third), ("b", second)):
        run = stage.submit(code)
        assert kernel.invoked[-1] == run.id
        kernel.answer()


@async_test
async def test_other_code_goes_to_the_kernel_that_was_used_last() -> None:
    stage = Stage()
    first, second, third = await stage.members("a", "b", "c")
    stage.use(*(stage.pool.members[n] for n in (2, 0, 1)))
    assert stage.submit("new").id in second.invoked
    assert stage.submit(None, adaptor="speak").id in first.invoked
    assert stage.submit("newer").id in third.invoked


@async_test
async def test_a_busy_kernel_gets_no_call_even_if_it_has_loaded_its_code() -> None:
    stage = Stage()
    first, second = await stage.members("a", "b")
    stage.submit("a")
    run = stage.submit("a")
    assert run.id in second.invoked
    assert run.id not in first.invoked


@async_test
async def test_without_idle_members_a_call_gets_a_spare_which_is_replaced() -> None:
    stage = Stage(min_spares=1)
    stage.pool.refill()
    spare = await stage.kernels.wait_for_kernel(1)
    assert len(stage.pool.spares) == 1
    run = stage.submit()
    assert spare.invoked == [run.id]
    await stage.kernels.wait_for_kernel(2)
    assert (len(stage.pool.members), len(stage.pool.spares)) == (1, 1)


@async_test
async def test_a_ready_spare_is_chosen_before_a_starting_one() -> None:
    stage = Stage(min_spares=2)
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(2)
    stage.kernels.all[0].die()
    stage.kernels.may_start.clear()
    run = stage.submit()
    assert stage.kernels.all[1].invoked == [run.id]


@async_test
async def test_a_starting_spare_is_chosen_before_a_new_kernel() -> None:
    stage = Stage(min_spares=1)
    stage.kernels.may_start.clear()
    stage.pool.refill()
    run = stage.submit()
    stage.kernels.may_start.set()
    await stage.kernels.wait_for_kernel(2)
    assert stage.kernels.all[0].invoked == [run.id]


@async_test
async def test_without_spares_new_members_start_up_to_the_limit() -> None:
    stage = Stage(max_members=2)
    runs = [stage.submit(), stage.submit(), stage.submit()]
    await stage.kernels.wait_for_kernel(2)
    assert [kernel.invoked for kernel in stage.kernels.all] == [[runs[0].id], [runs[1].id]]
    assert list(stage.pool.waiting) == [runs[2]]
    assert len(stage.kernels.all) == 2


@async_test
async def test_beyond_the_limit_a_call_waits_for_the_first_idle_member() -> None:
    stage = Stage(max_members=2)
    stage.submit()
    stage.submit()
    third, fourth = stage.submit("c"), stage.submit("d")
    await stage.kernels.wait_for_kernel(2)
    second_kernel = stage.kernels.all[1]
    second_kernel.answer()
    assert second_kernel.invoked[-1] == third.id
    stage.kernels.all[0].answer()
    assert stage.kernels.all[0].invoked[-1] == fourth.id
    assert not stage.pool.waiting


@async_test
async def test_the_number_of_waiting_calls_is_limited() -> None:
    stage = Stage(max_members=1, queue=2)
    for _ in range(3):
        stage.submit()
    expected = r"all 1 kernels of the pool are busy \(--pool-max\) and 2 calls wait \(--queue 2\)"
    with pytest.raises(Busy, match=expected) as busy:
        stage.submit()
    assert busy.value.retry_after == 1
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer()
    stage.submit()


@async_test
async def test_a_waiting_call_is_cancelled_without_a_kernel() -> None:
    stage = Stage(max_members=1)
    stage.submit()
    waiting = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    waiting.cancel("cancelled")
    assert waiting.failure is not None
    assert (waiting.failure.status, waiting.failure.type) == (499, "cancelled")
    kernel.answer()
    assert waiting.id not in kernel.invoked


@async_test
async def test_an_active_call_is_cancelled_in_its_own_kernel() -> None:
    stage = Stage()
    first, second = stage.submit(), stage.submit()
    await stage.kernels.wait_for_kernel(2)
    second.cancel("cancelled")
    assert [kernel.cancelled for kernel in stage.kernels.all] == [[], [second.id]]
    assert first.cancel_reason is None


@async_test
async def test_a_member_whose_kernel_died_goes_on_with_another() -> None:
    stage = Stage(max_members=1)
    run, waiting = stage.submit(), stage.submit("b")
    (await stage.kernels.wait_for_kernel(1)).die("fell over")
    assert run.failure is not None
    assert run.failure.status == 502
    assert (await stage.kernels.wait_for_kernel(2)).invoked == [waiting.id]


@async_test
async def test_a_replaced_kernel_has_loaded_no_code() -> None:
    stage = Stage()
    first, second = await stage.members("a", "b")
    first.die()
    await stage.kernels.wait_for_kernel(3)
    assert stage.submit("a").id in second.invoked


@async_test
async def test_a_member_without_a_kernel_leaves_the_pool() -> None:
    stage = Stage(max_members=1)
    stage.kernels.start_error = KernelNotReady("no such program")
    runs = [stage.submit(), stage.submit()]
    await settle()
    # The second call started a kernel of its own.
    assert [run.status for run in runs] == [502, 502]
    assert stage.pool.members == []
    stage.kernels.start_error = None
    run = stage.submit()
    (await stage.kernels.wait_for_kernel(1)).answer()
    assert run.status == 200


@async_test
async def test_failed_starts_of_spares_are_not_retried_at_once() -> None:
    stage = Stage(min_spares=2)
    tries: list[float] = []

    class Broken(ScriptedKernels):
        async def start(self, *args: Any) -> ScriptedKernel:
            tries.append(time.monotonic())
            raise KernelNotReady("no such program")

    stage.pool._kernels = cast("Kernels", Broken())
    stage.pool.refill()
    await settle()
    assert len(tries) == 2
    assert stage.pool.spares == []


@async_test
async def test_failed_starts_of_spares_are_retried_with_growing_delays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delays: list[float] = []
    retries: list[Callable[[], None]] = []

    def call_later(seconds: float, function: Callable[[], None]) -> asyncio.Handle:
        delays.append(seconds)
        retries.append(function)
        return asyncio.get_running_loop().call_soon(lambda: None)

    stage = Stage(min_spares=2)
    stage.kernels.start_error = KernelNotReady("no such program")
    stage.pool.refill()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    for _ in range(9):
        await settle()
        assert stage.pool.spares == []
        retries.pop()()
    await settle()
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    # After a successful start, the next failure counts as the first.
    stage.kernels.start_error = None
    retries.pop()()
    await stage.kernels.wait_for_kernel(2)
    assert len(stage.pool.spares) == 2
    stage.kernels.start_error = KernelNotReady("no such program")
    stage.kernels.all[0].die()
    await settle()
    assert delays[10:] == [0.5]
    await stage.pool.close()
    retries.pop()()
    assert stage.pool.has_kernel is False


@async_test
async def test_pop_spare_returns_a_ready_spare_once() -> None:
    stage = Stage(min_spares=1)
    stage.kernels.may_start.clear()
    stage.pool.refill()
    assert stage.pool.pop_spare() is None
    stage.kernels.may_start.set()
    await stage.kernels.wait_for_kernel(1)
    spare = stage.pool.pop_spare()
    assert spare is not None
    assert not spare.calls
    assert stage.pool.pop_spare() is None


@async_test
async def test_close_fails_waiting_calls_and_ends_every_kernel() -> None:
    stage = Stage(max_members=1, min_spares=1)
    running, waiting = stage.submit(), stage.submit()
    await stage.kernels.wait_for_kernel(2)
    await stage.pool.close()
    assert (running.status, waiting.status) == (503, 503)
    assert all(kernel.killed for kernel in stage.kernels.all)
    stage.pool.refill()
    await settle()
    assert len(stage.kernels.all) == 2


@async_test
async def test_without_room_for_a_kernel_a_call_waits_for_a_member_or_is_refused() -> None:
    stage = Stage()
    stage.kernels.busy = Busy("no descriptors")
    with pytest.raises(Busy, match="no descriptors"):
        stage.submit()
    assert stage.pool.members == []
    stage.kernels.busy = None
    first = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    stage.kernels.busy = Busy("no descriptors")
    second = stage.submit()
    assert list(stage.pool.waiting) == [second]
    kernel.answer(first.id)
    assert kernel.invoked == [first.id, second.id]


@async_test
async def test_without_room_for_a_kernel_no_spare_is_started() -> None:
    stage = Stage(min_spares=1)
    stage.kernels.busy = Busy("no descriptors")
    stage.pool.refill()
    assert stage.pool.spares == []
    stage.kernels.busy = None
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(1)
    assert len(stage.pool.spares) == 1


@async_test
async def test_calls_that_wait_for_the_last_member_fail_as_busy_when_there_is_no_room() -> None:
    stage = Stage(max_members=1)
    first, *others = stage.submit(), stage.submit(), stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    stage.kernels.start_error = KernelNotReady("the kernel did not start")
    stage.kernels.busy = Busy("no descriptors")
    kernel.die()
    await settle()
    assert first.failure is not None
    assert [run.failure and run.failure.status for run in others] == [503, 503]
    assert stage.pool.members == []


class StuckPool(Stage):
    """A pool with one member, which has withdrawn a call."""

    async def withdraw(self) -> Run:
        self.clock = LoopClock()
        [self.kernel] = await self.members("1")
        run = self.submit()
        await self.clock.advance(1.0)
        self.pool.members[0].check()
        self.kernel.withdraw()
        return run


@pytest.mark.parametrize("max_members", [1, 3])
@async_test
async def test_the_call_that_a_stuck_member_has_not_begun_goes_to_another(max_members: int) -> None:
    stage = StuckPool(max_members=max_members)
    run = await stage.withdraw()
    other = await stage.kernels.wait_for_kernel(2)
    assert (stage.pool.stuck, other.invoked) == (1, [run.id])
    other.answer()
    assert run.status == 200
    later = stage.submit()
    assert other.invoked == [run.id, later.id]


@async_test
async def test_a_stuck_member_is_killed_without_a_call_and_leaves_no_kernel_too_many() -> None:
    stage = StuckPool(max_members=1)
    await stage.withdraw()
    other = await stage.kernels.wait_for_kernel(2)
    other.answer()
    await stage.clock.advance(60.0)
    stage.pool.members[0].check()
    assert stage.kernel.killed is not None
    await stage.kernels.wait_for_kernel(3)
    await settle()
    assert [kernel.id for kernel in stage.kernels.current()] == ["k2"]
    assert len(stage.pool.members) == 1


@async_test
async def test_a_stuck_member_that_recovers_gets_calls_again() -> None:
    stage = StuckPool(max_members=2)
    await stage.withdraw()
    await stage.kernels.wait_for_kernel(2)
    stage.kernel.pong()
    assert stage.pool.stuck == 0
    run = stage.submit()
    assert stage.kernel.invoked[-1] == run.id


@async_test
async def test_no_more_members_are_replaced_than_the_pool_may_have() -> None:
    stage = StuckPool(max_members=1, queue=1)
    run = await stage.withdraw()
    other = await stage.kernels.wait_for_kernel(2)
    await stage.clock.advance(1.0)
    stage.pool.members[1].check()
    other.withdraw()
    assert list(stage.pool.waiting) == [run]
    stage.kernel.pong()
    assert stage.kernel.invoked[-1] == run.id
