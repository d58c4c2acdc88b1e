"""A session goes on with the runs that its kernel has from an earlier frontend."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from owt.frontend.kernels.exit import Exit
from owt.frontend.kernels.kernel import Kernel
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import Run, RunState
from owt.frontend.runs.table import Runs
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.events import SessionOwner
from owt.frontend.sessions.records import SessionRecord
from owt.frontend.sessions.session import Session
from owt.testing import async_test, settle
from owt.testing.kernel import HEAD, ScriptedKernel, ScriptedKernels, new_call
from owt.wire.chunk import Data, Done
from owt.wire.messages import Keep, KeptRun

KEEP = Keep(1 << 20, 1000.5)
EVENTS = new_call(sse=True)
# Later than the retention is over, however long the other tests take.
ENDED_AT = time.time() + 3600
DETACHED = new_call(detach=True)


class Stage:
    """A session whose kernel has these runs of an earlier frontend, and has just said so."""

    def __init__(self, *kept: KeptRun, kill_after: float = 60.0) -> None:
        self.runs = Runs(
            retention=60, journal=1 << 20, journal_total=1 << 20, window=1000, resume_window=60, outlive=True
        )
        self.kernels = ScriptedKernels()
        self.session = Session(
            "s",
            owner=SessionOwner(),
            kernels=cast("Kernels", self.kernels),
            limits=Limits(10, kill_after, None),
            spec="owt",
        )
        self.kernel = ScriptedKernel("k1", "owt", "s", self.session)
        self.kernel.ready = asyncio.get_running_loop().create_future()
        record = SessionRecord("s", "owt", 1, 1000.0, kernel="k1")
        self.session.resume(record, cast("Kernel", self.kernel), self.runs.restore)
        self.kernel.on_runs(kept)

    def run(self, id: str) -> Run:
        run = self.runs.get(id)
        assert run is not None
        return run


@async_test
async def test_a_run_that_has_begun_goes_on() -> None:
    stage = Stage(KeptRun("a", EVENTS, KEEP, 1001.0))
    run = stage.run("a")
    assert (run.state, run.started_at, stage.session.state) == (RunState.RUNNING, 1001.0, "busy")
    stage.kernel.send(HEAD, Data(b"1", "text"), run="a")
    reader = run.follow()
    assert len(reader.available()) == 2
    stage.kernel.send(Done(200, 0.1), run="a")
    assert (run.state, stage.session.state) == (RunState.DONE, "idle")


@async_test
async def test_a_run_that_has_not_begun_is_not_sent_again_and_keeps_its_place() -> None:
    stage = Stage(KeptRun("a", EVENTS, KEEP, 1001.0), KeptRun("b", DETACHED, KEEP))
    new = stage.runs.create(new_call())
    stage.session.submit(new)
    assert [stage.run(id).state for id in "ab"] == [RunState.RUNNING, RunState.QUEUED]
    stage.kernel.answer("a")
    assert [stage.run(id).state for id in ("b", new.id)] == [RunState.RUNNING, RunState.QUEUED]
    stage.kernel.answer("b")
    assert new.state is RunState.RUNNING
    # The kernel had the others.
    assert stage.kernel.invoked == [new.id]


@async_test
async def test_a_run_that_has_ended_is_known_for_its_retention() -> None:
    stage = Stage(KeptRun("a", DETACHED, KEEP, 1001.0), KeptRun("b", DETACHED, KEEP))
    # The first has ended, and the second was cancelled before it began.
    stage.kernel.send(HEAD, Data(b"1", "text"), Done(200, 0.1), run="a")
    stage.kernel.send(Done(499, 0.0), run="b")
    assert [stage.run(id).state for id in "ab"] == [RunState.DONE, RunState.DONE]
    assert stage.session.state == "idle"


@async_test
async def test_a_run_that_has_ended_is_not_ended_by_its_timeout() -> None:
    call = new_call(detach=True, timeout=5.0)
    stage = Stage(KeptRun("a", call, KEEP, 1001.0, ended=ENDED_AT))
    await settle()
    assert stage.kernel.cancelled == []
    stage.kernel.answer("a")
    assert stage.run("a").cancel_reason is None


@async_test
async def test_clients_wait_for_the_kernel_until_it_has_answered() -> None:
    stage = Recorded()
    stage.kernel.alive = False
    stage.kernels.recovery.expect(stage.kernel)
    waiting = asyncio.ensure_future(stage.session.started())
    await settle()
    assert not waiting.done()
    stage.kernel.reconnect()
    await settle()
    assert waiting.done()


@async_test
async def test_a_restored_run_can_be_cancelled_before_and_after_it_began() -> None:
    stage = Stage(KeptRun("a", EVENTS, KEEP, 1001.0), KeptRun("b", DETACHED, KEEP))
    for id in "ab":
        stage.run(id).cancel("cancelled")
    assert stage.kernel.cancelled == ["a", "b"]


@async_test
async def test_a_call_of_a_client_that_is_gone_keeps_the_session_busy_until_it_ends() -> None:
    stage = Stage(KeptRun("a", new_call(), None, 1001.0))
    assert (stage.run("a").abandoned, stage.session.state) == (True, "busy")
    # Not yet another time.
    stage.run("a").cancel("disconnected")
    assert stage.kernel.cancelled == []
    stage.run("a").cancel("cancelled")
    assert stage.kernel.cancelled == ["a"]
    stage.kernel.send(Done(499, 0.1), run="a")
    assert stage.session.state == "idle"


@async_test
async def test_runs_of_a_kernel_that_dies_later_fail_with_it() -> None:
    stage = Stage(KeptRun("a", EVENTS, KEEP, 1001.0))
    stage.kernel.die("was killed")
    assert isinstance(stage.kernel.exit, Exit)
    failure = stage.run("a").failure
    assert failure is not None
    assert (failure.status, failure.type) == (502, "kernel-died")


class Recorded(Stage):
    """The stage of a session with runs that were recorded, whose kernel has not answered yet: one whose call
    is known, and two, one of which has ended, whose calls only the kernel has."""

    def __init__(self, sent_to: str = "k1", kill_after: float = 60.0) -> None:
        super().__init__(kill_after=kill_after)
        kernel = ScriptedKernel("k1", "owt", "s", self.session)
        kernel.ready = asyncio.get_running_loop().create_future()
        self.session.kernel, self.kernel = None, kernel
        runs = []
        for id in ("known", "outline", "ended"):
            run = self.runs.restore(KeptRun(id, DETACHED, KEEP, ended=ENDED_AT if id == "ended" else None))
            run.sent_to, run.number, run.is_outline = sent_to, 1, id != "known"
            runs.append(run)
        record = SessionRecord("s", "owt", 1, 1000.0, kernel="k1")
        self.session.resume(record, cast("Kernel", kernel), self.runs.restore, runs)

    def failures(self) -> dict[str, tuple[int, str] | None]:
        """Return status and detail of the failure of each run."""
        runs = {id: self.run(id).failure for id in ("known", "outline", "ended")}
        return {id: failure and (failure.status, failure.detail) for id, failure in runs.items()}


@async_test
async def test_a_stopped_kernel_that_does_not_answer_is_killed_while_calls_wait() -> None:
    stage = Recorded(kill_after=0.0)
    stage.kernel.alive = False
    stage.session.check()
    assert stage.kernel.killed is None
    stage.kernel.is_stopped = True
    stage.session.check()
    assert stage.kernel.killed == "was stopped (SIGSTOP) for 0 s while it had calls and was killed"


@async_test
async def test_a_kernel_that_has_the_recorded_runs_goes_on_with_them() -> None:
    stage = Recorded()
    stage.kernel.on_runs(
        (
            KeptRun("known", DETACHED, KEEP, 1001.0),
            KeptRun("outline", new_call("whole", detach=True), KEEP),
            KeptRun("ended", DETACHED, KEEP, 1002.0, ended=ENDED_AT),
        )
    )
    assert stage.run("outline").call.code == "whole"
    stage.kernel.answer("ended")
    assert (stage.run("ended").state, stage.run("ended").ended_at) == (RunState.DONE, ENDED_AT)
    assert stage.failures() == {"known": None, "outline": None, "ended": None}


@async_test
async def test_runs_whose_calls_are_not_known_are_lost_if_their_kernel_has_not_got_them() -> None:
    stage = Recorded()
    stage.kernel.on_runs(())
    lost = (410, "its kernel does not have it any more")
    assert stage.failures() == {"known": None, "outline": lost, "ended": lost}
    stage.kernel.reconnect()
    await asyncio.sleep(0)
    assert stage.kernel.invoked == ["known"]


@async_test
async def test_runs_whose_calls_are_not_known_fail_with_their_kernel() -> None:
    stage = Recorded()
    stage.kernel.newest_sent = 1
    stage.kernel.die("was killed by SIGKILL")
    died = (502, "the kernel was killed by SIGKILL")
    lost = (410, "its kernel was killed by SIGKILL")
    assert stage.failures() == {"known": died, "outline": died, "ended": lost}


@async_test
async def test_runs_of_a_kernel_that_is_gone_are_lost() -> None:
    lost = (410, "its kernel has ended")
    assert Recorded(sent_to="k0").failures() == {"known": lost, "outline": lost, "ended": lost}
