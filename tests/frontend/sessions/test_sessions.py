"""owt.frontend.sessions.sessions: the table of named sessions, with scripted kernels."""

from __future__ import annotations

import itertools
import time
from typing import Any, cast

import pytest

from owt.errors import BadRequest, Busy, KernelNotReady, NoSuchSession
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.sessions import Sessions
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernels, new_call


class Stage:
    """Sessions with a pool and scripted kernels."""

    def __init__(
        self, *, min_spares: int = 0, max_sessions: int = 3, idle_timeout: float | None = None
    ) -> None:
        self.kernels = ScriptedKernels("owt", "other")
        limits = Limits(2, 60.0)
        kernels = cast("Kernels", self.kernels)
        self.pool = Pool(
            kernels=kernels, limits=limits, spec="owt", min_spares=min_spares, max_members=1
        )
        self.sessions = Sessions(
            kernels=kernels,
            limits=limits,
            pool=self.pool,
            spec="owt",
            max_sessions=max_sessions,
            idle_timeout=idle_timeout,
        )
        self._numbers = itertools.count(1)

    def submit(self, code: str | None = "1", **fields: Any) -> Run:
        run = Run(f"r{next(self._numbers)}", new_call(code, **fields), 1 << 20)
        self.sessions.submit(run)
        return run


@async_test
async def test_the_first_call_creates_its_session() -> None:
    stage = Stage()
    run = stage.submit(session="a")
    kernel = await stage.kernels.wait_for_kernel(1)
    assert (kernel.session, kernel.spec, kernel.invoked) == ("a", "owt", [run.id])
    assert run.session == "a"
    assert stage.sessions.find("a").state == "busy"


@async_test
async def test_each_session_has_its_own_kernel() -> None:
    stage = Stage()
    first, other, second = (stage.submit(session=name) for name in "aba")
    await stage.kernels.wait_for_kernel(2)
    a, b = stage.kernels.all
    a.answer()
    assert (a.invoked, b.invoked) == ([first.id, second.id], [other.id])


@async_test
async def test_a_call_without_a_name_goes_to_the_pool() -> None:
    stage = Stage()
    run = stage.submit()
    kernel = await stage.kernels.wait_for_kernel(1)
    assert (kernel.session, kernel.invoked) == (None, [run.id])
    assert stage.sessions.named == {}


@async_test
async def test_a_call_may_choose_the_kernelspec_of_its_new_session() -> None:
    stage = Stage(min_spares=1)
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(1)
    stage.submit(session="a", kernel="other")
    kernel = await stage.kernels.wait_for_kernel(2)
    assert (kernel.session, kernel.spec) == ("a", "other")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernel": "gone"}, "kernel: there is no such kernelspec; got 'gone'"),
        ({"kernel": "other"}, "kernel: a call that names a kernelspec needs a session to keep its kernel"),
        ({"session": "new", "kernel": "gone"}, "kernel: there is no such kernelspec; got 'gone'"),
        ({"session": "a", "kernel": "other"}, "kernel: session a runs the kernelspec 'owt'; got 'other'"),
    ],
)
@async_test
async def test_an_unusable_kernelspec_is_a_bad_request(
    fields: dict[str, str], message: str
) -> None:
    stage = Stage()
    stage.submit(session="a")
    with pytest.raises(BadRequest, match=f"^{message}") as caught:
        stage.submit(**fields)
    assert caught.value.field == "kernel"
    assert list(stage.sessions.named) == ["a"]


@async_test
async def test_a_call_may_name_the_kernelspec_of_its_session() -> None:
    stage = Stage()
    first = stage.submit(session="a", kernel="owt")
    stage.submit(session="a", kernel="owt")
    unnamed = stage.submit(kernel="owt")
    await stage.kernels.wait_for_kernel(2)
    assert sorted(run for kernel in stage.kernels.all for run in kernel.invoked) == [first.id, unnamed.id]


@async_test
async def test_a_call_without_code_creates_no_session() -> None:
    stage = Stage()
    stage.sessions.create("known")
    with pytest.raises(NoSuchSession, match=r"needs a session that exists; got 'a'\..*There are: known"):
        stage.submit(None, session="a")
    stage.submit(None, session="known")
    stage.submit(None, adaptor="speak", session="b")
    assert list(stage.sessions.named) == ["known", "b"]
    await stage.sessions.close()


@async_test
async def test_the_number_of_sessions_is_limited() -> None:
    stage = Stage(max_sessions=2)
    stage.submit(session="a")
    stage.submit(session="b")
    with pytest.raises(Busy, match=r"there are 2 sessions already \(the limit is --max-sessions 2\)") as busy:
        stage.submit(session="c")
    assert busy.value.retry_after == 5
    stage.submit(session="a")
    await stage.sessions.delete("b")
    stage.submit(session="c")
    await stage.sessions.close()


@pytest.mark.parametrize("concurrency", [0, -1, 1001])
@async_test
async def test_a_concurrency_out_of_range_is_a_bad_request(concurrency: int) -> None:
    stage = Stage()
    with pytest.raises(BadRequest, match="concurrency: give a whole number from 1 to 1000"):
        stage.sessions.create("a", concurrency=concurrency)
    assert stage.sessions.named == {}


@async_test
async def test_a_new_session_adopts_a_spare_and_the_pool_starts_another() -> None:
    stage = Stage(min_spares=1)
    stage.pool.refill()
    kernel = await stage.kernels.wait_for_kernel(1)
    session = stage.sessions.create("a", concurrency=3)
    assert session.state == "idle"
    assert kernel.bound == ("a", 3)
    run = Run("r", new_call(session="a"), 1 << 20)
    stage.sessions.submit(run)
    assert kernel.invoked == ["r"]
    spare = await stage.kernels.wait_for_kernel(2)
    assert spare.session is None
    kernel.answer()
    assert run.status == 200


@async_test
async def test_an_adopted_kernel_is_replaced_under_the_name_of_its_session() -> None:
    stage = Stage(min_spares=1)
    stage.pool.refill()
    kernel = await stage.kernels.wait_for_kernel(1)
    session = stage.sessions.create("a")
    kernel.die("fell over")
    fresh = await stage.kernels.wait_for_kernel(2)
    assert fresh.session == "a"
    assert session.restarts == 1
    assert session.kernel is not None
    await stage.sessions.close()


@async_test
async def test_the_error_for_an_unknown_session_lists_the_known_ones() -> None:
    stage = Stage()
    with pytest.raises(NoSuchSession, match="There are: none"):
        stage.sessions.find("a")
    stage.sessions.create("b")
    stage.sessions.create("a")
    with pytest.raises(NoSuchSession, match=r"got 'c'\. There are: a, b"):
        stage.sessions.find("c")
    with pytest.raises(NoSuchSession, match=r"got 'c'\. There are: a, b"):
        await stage.sessions.delete("c")
    await stage.sessions.close()


@async_test
async def test_the_name_of_a_deleted_session_can_be_used_again() -> None:
    stage = Stage()
    run = stage.submit(session="a")
    kernel = await stage.kernels.wait_for_kernel(1)
    await stage.sessions.delete("a")
    assert kernel.killed == "was ended because its session was deleted"
    assert run.status == 502
    stage.submit(session="a")
    assert await stage.kernels.wait_for_kernel(2) is not kernel


@async_test
async def test_a_session_whose_first_kernel_cannot_start_loses_its_name() -> None:
    stage = Stage()
    stage.kernels.start_error = KernelNotReady("no such program")
    run = stage.submit(session="a")
    await settle()
    assert run.status == 502
    assert stage.sessions.named == {}


@async_test
async def test_a_session_that_had_a_kernel_keeps_its_name_without_one() -> None:
    stage = Stage()
    stage.sessions.create("a")
    kernel = await stage.kernels.wait_for_kernel(1)
    stage.kernels.start_error = KernelNotReady("no such program")
    kernel.die()
    await settle()
    assert stage.sessions.find("a").state == "dead"


@pytest.mark.parametrize("session", ["a", None])
@async_test
async def test_a_run_is_cancelled_in_its_session_or_in_the_pool(session: str | None) -> None:
    stage = Stage()
    running = stage.submit(session=session)
    waiting = stage.submit(session=session)
    other = stage.submit(session="other")
    await stage.kernels.wait_for_kernel(2)
    for run in (waiting, running):
        run.cancel("cancelled")
    assert waiting.status == 499
    [kernel] = [kernel for kernel in stage.kernels.all if kernel.session == session]
    assert kernel.cancelled == [running.id]
    assert other.cancel_reason is None


@async_test
async def test_cull_ends_sessions_that_were_idle_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(idle_timeout=60)
    stage.submit(session="busy")
    idle = stage.sessions.create("idle")
    stage.submit(session="used")
    await stage.kernels.wait_for_kernel(3)
    kernels = {kernel.session: kernel for kernel in stage.kernels.all}
    kernels["used"].answer()
    now = time.time()
    stage.sessions.find("used").last_used = now + 50
    monkeypatch.setattr(time, "time", lambda: now + 59)
    stage.sessions.cull()
    assert sorted(stage.sessions.named) == ["busy", "idle", "used"]
    monkeypatch.setattr(time, "time", lambda: now + 61)
    stage.sessions.cull()
    assert sorted(stage.sessions.named) == ["busy", "used"]
    await settle()
    assert idle.state == "dead"
    assert kernels["idle"].killed == "was ended because its session was idle for too long"


@async_test
async def test_cull_ends_no_session_without_an_idle_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(idle_timeout=None)
    stage.sessions.create("a")
    await stage.kernels.wait_for_kernel(1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e9)
    stage.sessions.cull()
    assert list(stage.sessions.named) == ["a"]


@async_test
async def test_close_ends_all_sessions_and_the_pool() -> None:
    stage = Stage(min_spares=1)
    stage.pool.refill()
    runs = [stage.submit(session="a"), stage.submit(session="a"), stage.submit(session="b"), stage.submit()]
    await settle()
    await stage.sessions.close()
    assert [run.status for run in runs] == [503] * 4
    assert stage.kernels.all
    assert all(kernel.killed for kernel in stage.kernels.all)


@async_test
async def test_without_room_for_a_kernel_no_session_is_created() -> None:
    stage = Stage()
    stage.kernels.busy = Busy("no descriptors")
    with pytest.raises(Busy, match="no descriptors"):
        stage.submit(session="a")
    assert stage.sessions.named == {}
    stage.kernels.busy = None
    stage.submit(session="a")
    await stage.kernels.wait_for_kernel(1)
