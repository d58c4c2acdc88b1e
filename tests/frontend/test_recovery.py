"""The service of the next frontend runs the calls that were recorded once, whenever the last one ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from scripted_service import ScriptedService

from owt.frontend.runs.claims import Claim
from owt.frontend.runs.runs import Run, RunState
from owt.frontend.service import Service
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernel, new_call
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Done
from owt.wire.messages import KeptRun


def detached(session: str | None = "s", code: str = "1", **fields: Any) -> Call:
    return new_call(code, session=session, detach=True, **fields)


class Stage(ScriptedService):
    """Service of one frontend of several, with records in this folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder=folder, queue=100, resume_window=60.0, **settings)
        self.folder = folder

    async def begin(self, session: str | None = "s") -> tuple[Run, ScriptedKernel]:
        """Return a run that has begun, and its kernel."""
        run = self.submit(detached(session))
        return run, await self.kernels.wait_for_kernel(1)

    def submit(self, call: Call, **options: Any) -> Run:
        return self.service.submit(call, **options)[0]

    async def next(self, *kept: KeptRun, edition: bytes = b"", is_alive: bool = True) -> Stage:
        """Return the next frontend, for which the kernels were kept, the first of them with these runs."""
        stage = Stage(self.folder)
        for kernel in self.kernels.all:
            kernel.edition, kernel.is_alive, kernel.noted = edition, is_alive, (1, 1000.0)
            stage.kernels.kept[kernel.id] = kernel
        recovery = asyncio.get_running_loop().create_task(stage.service.recover(time.time()))
        await settle()
        for kernel in self.kernels.all:
            kernel.invoked.clear()
            if is_alive:
                kernel.reconnect(*(kept if kernel is self.kernels.all[0] else ()))
            else:
                kernel.ready.set_exception(RuntimeError)
                kernel.ready.exception()
                kernel.die("was killed by SIGKILL")
        await recovery
        return stage

    def state(self, run: Run) -> tuple[RunState, str | None]:
        """Return the state of a run of an earlier frontend, and the detail of its failure."""
        restored = self.service.runs.get(run.id)
        assert restored is not None
        return restored.state, restored.failure and restored.failure.detail


def kept(*runs: Run, started: float | None = None) -> Iterable[KeptRun]:
    for run in runs:
        assert run.keep is not None
        yield KeptRun(run.id, run.call, run.keep, started)


def finish(kernel: ScriptedKernel) -> list[str]:
    """Answer all calls in order, and return the ids of their runs."""
    for run in kernel.invoked:
        kernel.answer(run)
    return kernel.invoked


@async_test
async def test_queued_calls_run_in_order_after_what_the_kernel_has(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run, kernel = await first.begin()
    queued = [first.submit(detached()) for _ in range(3)]
    second = await first.next(*kept(run, started=time.time()))
    new = second.submit(detached())
    assert kernel.invoked == []
    assert [second.state(call)[0] for call in queued] == [RunState.QUEUED] * 3
    kernel.answer(run.id)
    assert finish(kernel) == [*(call.id for call in queued), new.id]


@async_test
async def test_calls_that_were_lost_on_their_way_are_sent_again_in_order(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run, kernel = await first.begin()
    kernel.answer()
    run = first.submit(detached())
    ahead = [first.submit(detached()) for _ in range(4)]
    assert len(kernel.invoked) == 6
    # The kernel has received two of them.
    second = await first.next(*kept(run, started=time.time()), *kept(*ahead[:2]))
    assert kernel.invoked == []
    kernel.answer(run.id)
    kernel.answer(ahead[0].id)
    kernel.answer(ahead[1].id)
    assert finish(kernel) == [call.id for call in ahead[2:]]
    assert second.service.runs.live_count == 0


@async_test
async def test_a_run_that_has_ended_is_not_run_again(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run, kernel = await first.begin()
    kernel.answer()
    second = await first.next()
    assert kernel.invoked == []
    assert second.state(run) == (RunState.FAILED, "its kernel does not have it any more")


@pytest.mark.parametrize("fields", [{"detach": True}, {"sse": True}])
@async_test
async def test_a_run_that_has_ended_stays_what_it_was_in_every_next_frontend(
    fields: dict[str, bool], tmp_path: Path
) -> None:
    stage = Stage(tmp_path)
    run = stage.submit(new_call("1", session="s", **fields))
    kernel = await stage.kernels.wait_for_kernel(1)
    kernel.answer()
    for _ in range(2):
        stage = await stage.next(*kept(run))
        kernel.answer(run.id)
        restored = stage.service.runs.get(run.id)
        assert restored is not None
        assert restored.ended
        assert (restored.detached, restored.resumable) == (run.detached, run.resumable)
        assert restored.keep == run.keep


@async_test
async def test_a_dead_kernel_tells_which_calls_it_had_begun(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run, kernel = await first.begin()
    kernel.answer()
    run, *ahead = [first.submit(detached()) for _ in range(3)]
    kernel.unhandled = 2
    second = await first.next(is_alive=False)
    assert second.state(run) == (RunState.FAILED, "the kernel was killed by SIGKILL")
    assert finish(await second.kernels.wait_for_kernel(1)) == [call.id for call in ahead]


@async_test
async def test_calls_of_a_session_whose_host_has_ended(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run, _ = await first.begin()
    queued = first.submit(detached())
    first.kernels.all.clear()
    second = await first.next()
    assert second.state(run) == (RunState.FAILED, "its kernel has ended")
    assert finish(await second.kernels.wait_for_kernel(1)) == [queued.id]


@async_test
async def test_a_call_that_has_made_its_session_makes_it_again(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    first.kernels.may_start.clear()
    run = first.submit(detached(env={"A": "b"}, cwd="/tmp"))
    os.unlink(tmp_path / "s.json")
    second = await first.next()
    session = second.service.sessions.find("s")
    assert (session.env, session.cwd) == ({"A": "b"}, "/tmp")
    assert finish(await second.kernels.wait_for_kernel(1)) == [run.id]


@async_test
async def test_a_call_whose_session_cannot_be_made_again_fails(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    first.kernels.may_start.clear()
    run = first.submit(detached(cwd=str(tmp_path)))
    os.unlink(tmp_path / "s.json")
    second = Stage(tmp_path)
    second.service.sessions._max_sessions = 0
    await second.service.recover(time.time())
    state, detail = second.state(run)
    assert state is RunState.FAILED
    assert "--max-sessions" in str(detail)


@async_test
async def test_calls_of_the_pool_run_once(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run, kernel = await first.begin(None)
    waiting = first.submit(detached(None))
    assert list(first.pool.waiting) == [waiting]
    second = await first.next(*kept(run, started=time.time()), edition=b"now")
    assert second.state(run)[0] is RunState.RUNNING
    kernel.answer(run.id)
    assert finish(kernel) == [waiting.id]


@async_test
@pytest.mark.parametrize("unhandled", [0, 1])
async def test_a_dead_kernel_of_the_pool_tells_which_call_it_had_begun(
    tmp_path: Path, unhandled: int
) -> None:
    first = Stage(tmp_path)
    run, kernel = await first.begin(None)
    kernel.unhandled = unhandled
    second = await first.next(edition=b"now", is_alive=False)
    if unhandled:
        assert finish(await second.kernels.wait_for_kernel(1)) == [run.id]
    else:
        assert second.state(run) == (RunState.FAILED, "the kernel was killed by SIGKILL")


@async_test
async def test_a_cancelled_call_stays_cancelled(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    _, kernel = await first.begin()
    kernel.answer()
    run = first.submit(detached())
    accepted, lost = [first.submit(detached()) for _ in range(2)]
    for call in (accepted, lost):
        call.cancel("cancelled")
    kernel.cancelled.clear()
    second = await first.next(*kept(run, started=time.time()), *kept(accepted))
    # It does not matter whether the kernel has received the first cancel.
    assert accepted.id in kernel.cancelled
    assert second.state(lost) == (RunState.FAILED, "the call was cancelled before it began")
    kernel.send(Done(499, 0.0), run=accepted.id)
    kernel.answer(run.id)
    assert kernel.invoked == []
    assert second.service.runs.live_count == 0


@async_test
async def test_a_restored_call_has_its_user_its_claim_and_its_caller(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run, _ = await first.begin("t")
    caller = first.submit(detached())
    await first.kernels.wait_for_kernel(2)
    facts = RequestFacts("POST", "/", "", (), b"body", "localhost", user="ada")
    claim = Claim("client-chosen", facts, "text/plain", "t")
    call = Call(facts, code="1", session="t", caller=caller.id, timeout=3.0)
    nested = first.submit(call, user="ada", claim=claim)
    second = await first.next(*kept(run, started=time.time()))
    service: Service = second.service
    restored = service.known(nested.id, "ada")
    assert restored is not None
    assert restored.call == call
    assert service.submit(call, "ada", claim=claim) == (restored, None)
    assert restored.caller is service.runs.get(caller.id)
    assert restored.created_at == nested.created_at


@async_test
async def test_calls_wait_until_a_slow_kernel_says_what_it_has(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run, kernel = await first.begin()
    queued = first.submit(detached())
    second = Stage(tmp_path)
    second.kernels.kept["k1"] = kernel
    await second.service.recover(time.time())
    new = second.submit(detached())
    assert second.state(run)[0] is RunState.QUEUED
    kernel.invoked.clear()
    kernel.reconnect(*kept(run, started=time.time()))
    await settle()
    assert second.state(run)[0] is RunState.RUNNING
    kernel.answer(run.id)
    assert finish(kernel) == [queued.id, new.id]


@async_test
async def test_the_timeout_of_a_running_call_began_with_it(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    run = first.submit(detached(timeout=60.0))
    await first.kernels.wait_for_kernel(1)
    kernel = first.kernels.all[0]
    await first.next(*kept(run, started=time.time() - 61))
    async with asyncio.timeout(20):
        await kernel.cancel_received.wait()
    assert kernel.cancelled == [run.id]


@async_test
async def test_records_of_a_full_disk_are_a_problem_until_it_has_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "sessions"
    folder.write_text("")
    stage = Stage(folder)
    run, _ = await stage.begin()
    queued = [stage.submit(detached()) for _ in range(2)]
    sessions, service = stage.service.sessions.records, stage.service
    assert sessions is not None
    for _ in range(2):
        service.check_records()
    problem = service.records_problem
    assert problem is not None
    assert problem.startswith("3 runs and 1 session are only in memory, and would be lost with this process")
    assert f"Make room in {folder}" in problem
    # Its kernel has it, so it goes on without a record.
    assert run.record is not None
    run.record.confirmed()
    assert str(service.records_problem).startswith("2 runs and 1 session are ")
    queued[0].cancel("cancelled")
    await settle()
    assert str(service.records_problem).startswith("1 run and 1 session are ")
    # It is lost if the kernel has not begun it, and is killed.
    run.take_back()
    assert await service.settle_records() == service.records_problem
    assert str(service.records_problem).startswith("2 runs and 1 session are ")
    assert caplog.text.count("only in memory") == 1
    folder.unlink()
    assert await service.settle_records() is None
    assert "have been written" in caplog.text
    assert [record.name for record in sessions.read()] == ["s"]


