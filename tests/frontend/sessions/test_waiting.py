"""owt.frontend.sessions.waiting: circles of calls and queues, with scripted kernels."""

from __future__ import annotations

from typing import cast

import pytest

from owt.errors import Busy, WaitsForItself
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.sessions import Sessions
from owt.testing import async_test
from owt.testing.kernel import ScriptedKernels, new_call


class Stage:
    """Sessions and a pool of one kernel, whose runs are begun at once and end when the test says so."""

    def __init__(self, *, max_nested: int = 1) -> None:
        self.scripted = ScriptedKernels()
        kernels, limits = cast("Kernels", self.scripted), Limits(9, 60.0)
        self.pool = Pool(
            kernels=kernels, limits=limits, spec="owt", min_spares=0, max_members=1, max_nested=max_nested
        )
        self.sessions = Sessions(
            kernels=kernels, limits=limits, pool=self.pool, spec="owt", max_sessions=9, idle_timeout=None
        )
        self.number = 0

    async def call(self, session: str | None, caller: Run | None = None) -> Run:
        """Submit a call, and wait for the kernel that it may start."""
        self.number += 1
        run = Run(f"r{self.number}", new_call(session=session), 1 << 20)
        if caller is not None:
            run.caller = caller
            caller.nested |= {run}
        try:
            self.sessions.submit(run)
        except BaseException:
            run.leave_caller()
            raise
        await self.scripted.wait_for_kernel(self.scripted.starts)
        return run


@async_test
async def test_a_call_to_the_session_of_its_caller_is_refused() -> None:
    stage = Stage()
    outer = await stage.call("a")
    with pytest.raises(WaitsForItself, match="session a"):
        await stage.call("a", outer)
    assert not stage.sessions.named["a"].queue


@async_test
async def test_a_call_back_to_the_first_session_of_a_chain_is_refused() -> None:
    stage = Stage()
    first = await stage.call("a")
    second = await stage.call("b", first)
    with pytest.raises(WaitsForItself):
        await stage.call("a", second)


@async_test
async def test_two_chains_that_would_wait_for_each_other_are_refused_at_the_second() -> None:
    stage = Stage()
    one, two = await stage.call("a"), await stage.call("b")
    waiting = await stage.call("b", one)
    assert waiting.state == "queued"
    with pytest.raises(WaitsForItself):
        await stage.call("a", two)


@async_test
async def test_a_call_that_waits_for_an_unrelated_call_is_queued() -> None:
    stage = Stage()
    outer = await stage.call("a")
    await stage.call("b")
    nested = await stage.call("b", outer)
    assert nested.state == "queued"
    stage.scripted.all[1].answer()
    assert nested.state == "running"


@async_test
async def test_a_call_may_return_to_a_session_once_its_caller_has_ended() -> None:
    stage = Stage()
    outer = await stage.call("a")
    inner = await stage.call("b", outer)
    stage.scripted.all[0].answer()
    stage.scripted.all[1].answer()
    assert (inner.caller, outer.nested) == (None, set())
    assert (await stage.call("a")).state == "running"


@async_test
async def test_nested_calls_have_kernels_beyond_the_pool_up_to_their_limit() -> None:
    stage = Stage(max_nested=1)
    outer = await stage.call(None)
    inner = await stage.call(None, outer)
    assert (inner.state, len(stage.pool.members)) == ("running", 2)
    with pytest.raises(Busy, match="--pool-nested"):
        await stage.call(None, inner)
    ordinary = await stage.call(None)
    assert ordinary.state == "queued"


@async_test
async def test_an_ordinary_call_gets_no_kernel_beyond_the_pool() -> None:
    stage = Stage(max_nested=1)
    outer = await stage.call(None)
    await stage.call(None, outer)
    ordinary = await stage.call(None)
    stage.scripted.all[1].answer()
    assert (ordinary.state, len(stage.pool.members)) == ("queued", 1)
    stage.scripted.all[0].answer()
    assert ordinary.state == "running"
