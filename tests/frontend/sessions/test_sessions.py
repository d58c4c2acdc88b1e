"""owt.frontend.sessions.sessions: sessions by name, with kernels that the tests play."""

from __future__ import annotations

import itertools
import time
from typing import Any, cast

import pytest

from owt.errors import BadRequest, Busy, KernelNotReady, NoSuchSession
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.session import Limits
from owt.frontend.sessions.sessions import Sessions
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernels, new_call


class Stage:
    """Sessions with a pool, and the calls that they were given."""

    def __init__(self, *, least: int = 0, most: int = 3, idle: float | None = None) -> None:
        self.kernels = ScriptedKernels("owt", "other")
        limits = Limits(2, 60.0)
        kernels = cast("Kernels", self.kernels)
        self.pool = Pool(kernels=kernels, limits=limits, spec="owt", least=least, most=1)
        self.sessions = Sessions(
            kernels=kernels, limits=limits, pool=self.pool, spec="owt", most=most, idle=idle
        )
        self._numbers = itertools.count(1)

    def submit(self, code: str | None = "1", **fields: Any) -> Run:
        run = Run(f"r{next(self._numbers)}", new_call(code, **fields), 1 << 20)
        self.sessions.submit(run)
        return run


@async_test
async def test_the_first_call_makes_its_session() -> None:
    stage = Stage()
    run = stage.submit(session="a")
    kernel = await stage.kernels.wait_for_kernel(1)
    assert (kernel.session, kernel.spec, kernel.invoked) == ("a", "owt", [run.id])
    assert run.session == "a"
    assert stage.sessions.find("a").state == "busy"


@async_test
async def test_calls_of_one_name_share_a_kernel_and_of_two_do_not() -> None:
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
async def test_a_session_that_a_call_creates_may_have_a_kernelspec_of_its_own() -> None:
    stage = Stage(least=1)
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
async def test_a_kernelspec_that_cannot_be_used_is_a_bad_request(
    fields: dict[str, str], message: str
) -> None:
    stage = Stage()
    stage.submit(session="a")
    with pytest.raises(BadRequest, match=f"^{message}") as caught:
        stage.submit(**fields)
    assert caught.value.field == "kernel"
    assert list(stage.sessions.named) == ["a"]


@async_test
async def test_a_kernelspec_that_is_the_right_one_may_be_named() -> None:
    stage = Stage()
    first = stage.submit(session="a", kernel="owt")
    stage.submit(session="a", kernel="owt")
    unnamed = stage.submit(kernel="owt")
    await stage.kernels.wait_for_kernel(2)
    assert sorted(run for kernel in stage.kernels.all for run in kernel.invoked) == [first.id, unnamed.id]


@async_test
async def test_a_call_without_code_makes_no_session() -> None:
    stage = Stage()
    stage.sessions.create("known")
    with pytest.raises(NoSuchSession, match=r"needs a session that exists; got 'a'\..*There are: known"):
        stage.submit(None, session="a")
    stage.submit(None, session="known")
    stage.submit(None, adaptor="speak", session="b")
    assert list(stage.sessions.named) == ["known", "b"]
    await stage.sessions.close()


@async_test
async def test_there_are_no_more_sessions_than_the_limit() -> None:
    stage = Stage(most=2)
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
async def test_a_concurrency_that_cannot_be_used_is_a_bad_request(concurrency: int) -> None:
    stage = Stage()
    with pytest.raises(BadRequest, match="concurrency: give a whole number from 1 to 1000"):
        stage.sessions.create("a", concurrency=concurrency)
    assert stage.sessions.named == {}


@async_test
async def test_a_new_session_gets_a_spare_kernel_at_once_and_the_pool_another() -> None:
    stage = Stage(least=1)
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
async def test_a_session_that_a_spare_went_to_is_restarted_under_its_name() -> None:
    stage = Stage(least=1)
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
async def test_an_unknown_name_is_told_with_those_there_are() -> None:
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
async def test_a_deleted_session_is_gone_and_its_name_is_free() -> None:
    stage = Stage()
    run = stage.submit(session="a")
    kernel = await stage.kernels.wait_for_kernel(1)
    await stage.sessions.delete("a")
    assert kernel.killed == "was ended because its session was deleted"
    assert run.status == 502
    stage.submit(session="a")
    assert await stage.kernels.wait_for_kernel(2) is not kernel


@async_test
async def test_a_session_whose_first_kernel_could_not_be_started_does_not_keep_its_name() -> None:
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
async def test_a_run_is_cancelled_wherever_it_is(session: str | None) -> None:
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
async def test_sessions_that_were_idle_for_too_long_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(idle=60)
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
async def test_without_a_limit_no_session_is_idle_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(idle=None)
    stage.sessions.create("a")
    await stage.kernels.wait_for_kernel(1)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e9)
    stage.sessions.cull()
    assert list(stage.sessions.named) == ["a"]


@async_test
async def test_the_end_ends_everything() -> None:
    stage = Stage(least=1)
    stage.pool.refill()
    runs = [stage.submit(session="a"), stage.submit(session="a"), stage.submit(session="b"), stage.submit()]
    await settle()
    await stage.sessions.close()
    assert [run.status for run in runs] == [502] * 4
    assert stage.kernels.all
    assert all(kernel.killed for kernel in stage.kernels.all)


@async_test
async def test_without_room_for_a_kernel_no_session_is_made() -> None:
    stage = Stage()
    stage.kernels.busy = Busy("no descriptors")
    with pytest.raises(Busy, match="no descriptors"):
        stage.submit(session="a")
    assert stage.sessions.named == {}
    stage.kernels.busy = None
    stage.submit(session="a")
    await stage.kernels.wait_for_kernel(1)
