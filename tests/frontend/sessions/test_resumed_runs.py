"""A session goes on with the runs that its kernel has from an earlier frontend."""

from __future__ import annotations

import asyncio
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
from owt.testing import async_test
from owt.testing.kernel import HEAD, ScriptedKernel, ScriptedKernels, new_call
from owt.wire.chunk import Data, Done
from owt.wire.messages import Keep, KeptRun

KEEP = Keep(1 << 20, 1000.5)
EVENTS = new_call(sse=True)
DETACHED = new_call(detach=True)


class Stage:
    """A session whose kernel has these runs of an earlier frontend, and has just said so."""

    def __init__(self, *kept: KeptRun) -> None:
        self.runs = Runs(
            retention=60, journal=1 << 20, journal_total=1 << 20, window=1000, resume_window=60, outlive=True
        )
        self.session = Session(
            "s",
            owner=SessionOwner(),
            kernels=cast("Kernels", ScriptedKernels()),
            limits=Limits(10, 60.0, None),
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
