"""owt.frontend.sessions.records: records of sessions, and the sessions of the next frontend."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import Run
from owt.frontend.runs.table import Runs
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.records import Records
from owt.frontend.sessions.sessions import Sessions
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernel, ScriptedKernels, new_call
from owt.wire.messages import Keep, KeptRun


def no_run(kept: KeptRun) -> Run:
    """Fail: the kernels of these tests have no runs."""
    raise AssertionError(kept)


class Stage:
    """Sessions of one frontend, with scripted kernels and records in this folder."""

    def __init__(self, folder: Path, min_spares: int = 0, max_members: int = 1) -> None:
        self.folder = folder / "sessions"
        self.kernels = ScriptedKernels()
        self.records = Records(self.folder, "ended with the server")
        kernels, limits = cast("Kernels", self.kernels), Limits(9, 60.0)
        self.sessions = Sessions(
            kernels=kernels,
            limits=limits,
            pool=Pool(
                kernels=kernels, limits=limits, spec="owt", min_spares=min_spares, max_members=max_members
            ),
            spec="owt",
            max_sessions=9,
            idle_timeout=None,
            records=self.records,
        )

    def submit(self, id: str, session: str | None) -> Run:
        run = Run(id, new_call(session=session), 1 << 20)
        self.sessions.submit(run)
        return run

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / f"{name}.json").read_text())

    def next_stage(self, *kept: str, min_spares: int = 0, max_members: int = 1) -> Stage:
        """Return the sessions of the next frontend, for which these kernels were kept."""
        stage = Stage(self.folder.parent, min_spares, max_members)
        for kernel in self.kernels.all:
            if kernel.id in kept:
                stage.kernels.kept[kernel.id] = kernel
        return stage

    async def recover(
        self,
        answer: Callable[[ScriptedKernel], object] = ScriptedKernel.reconnect,
        restore: Callable[[KeptRun], Run] = no_run,
    ) -> None:
        """Recover while the kernels answer."""
        kernels = list(self.kernels.kept.values())
        recovery = asyncio.get_running_loop().create_task(self.sessions.recover(restore))
        await settle()
        for kernel in kernels:
            if kernel.is_alive:
                answer(kernel)
        await recovery
        await settle()


@async_test
async def test_a_record_follows_the_kernels_of_its_session(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    session = stage.sessions.create("a", env={"TOKEN": "secret"}, cwd="/tmp", concurrency=2)
    assert stage.record("a")["kernel"] is None
    await stage.kernels.wait_for_kernel(1)
    await settle()
    assert stage.record("a")["kernel"] == "k1"
    assert (stage.record("a")["env"], stage.record("a")["cwd"]) == ({"TOKEN": "secret"}, "/tmp")
    assert stat.S_IMODE((stage.folder / "a.json").stat().st_mode) == 0o600
    stage.kernels.all[0].die("was killed")
    assert stage.record("a")["last_death"] == "was killed"
    await stage.kernels.wait_for_kernel(2)
    await settle()
    assert (stage.record("a")["kernel"], stage.record("a")["restarts"]) == ("k2", 1)
    await stage.sessions.delete("a")
    assert list(stage.folder.iterdir()) == []
    assert session.state == "dead"


@async_test
async def test_a_session_goes_on_with_the_kernel_that_was_kept(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    first.submit("r1", "a")
    kernel = await first.kernels.wait_for_kernel(1)
    kernel.answer()
    created = first.sessions.find("a").created
    kernel.noted = (1, 1000.0)
    second = first.next_stage("k1")
    recovery = asyncio.get_running_loop().create_task(second.sessions.recover(no_run))
    await settle()
    session = second.sessions.find("a")
    assert session.state == "starting"
    second.submit("r2", "a")
    assert kernel.invoked == ["r1"]
    await recovery
    kernel.reconnect()
    await settle()
    assert kernel.invoked == ["r1", "r2"]
    assert (session.created, session.calls, session.restarts) == (created, 2, 0)
    assert second.kernels.starts == 0


@async_test
async def test_a_kernel_that_died_meanwhile_is_replaced_with_its_reason(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    first.submit("r1", "a")
    await first.kernels.wait_for_kernel(1)
    await settle()
    second = first.next_stage("k1")

    def die(kernel: ScriptedKernel) -> None:
        kernel.ready.set_exception(RuntimeError)
        kernel.ready.exception()
        kernel.die("was killed by SIGKILL")

    await second.recover(die)
    run = second.submit("r2", "a")
    await second.kernels.wait_for_kernel(1)
    await settle()
    assert run.kernel_loss == "was killed by SIGKILL"
    assert second.record("a")["restarts"] == 1


@async_test
async def test_a_kernel_that_was_not_kept_is_replaced_with_the_reason(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    first.submit("r1", "a")
    await first.kernels.wait_for_kernel(1)
    await settle()
    second = first.next_stage()
    await second.recover()
    run = second.submit("r2", "a")
    await second.kernels.wait_for_kernel(1)
    await settle()
    assert run.kernel_loss is not None
    assert "ended with the server" in run.kernel_loss


@async_test
async def test_a_kernel_without_a_session_is_ended(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    first.sessions.create("a")
    kernel = await first.kernels.wait_for_kernel(1)
    await settle()
    first.records.remove("a")
    second = first.next_stage("k1")
    await second.sessions.recover(no_run)
    assert kernel.killed == "was not needed any more"
    assert second.sessions.named == {}


def pool_of(stage: Stage) -> dict[str, list[str]]:
    """Return the ids of the pool's kernels."""
    pool = stage.sessions.pool
    return {
        name: [session.kernel.id for session in group if session.kernel is not None]
        for name, group in (("members", pool.members), ("spares", pool.spares))
    }


async def after_pool(tmp_path: Path, used: int, *, min_spares: int = 1, **fields: Any) -> Stage:
    """Return the next stage after one whose pool has had three kernels, of which `used` had a call each.

    `fields` are attributes of the kernels.
    """
    first = Stage(tmp_path, min_spares=3)
    first.sessions.pool.refill()
    await first.kernels.wait_for_kernel(3)
    for number, kernel in enumerate(first.kernels.all):
        kernel.noted, kernel.edition = (number < used, 0.0), b"now"
        for name, value in fields.items():
            setattr(kernel, name, value)
    return first.next_stage("k1", "k2", "k3", min_spares=min_spares, max_members=2)


@async_test
async def test_the_pool_goes_on_with_its_members_and_spares(tmp_path: Path) -> None:
    stage = await after_pool(tmp_path, 2)
    await stage.recover()
    assert pool_of(stage) == {"members": ["k1", "k2"], "spares": ["k3"]}
    assert stage.sessions.pool.kernel_count == 3
    stage.sessions.pool.refill()
    run = Run("r", new_call(), 1 << 20)
    stage.sessions.submit(run)
    await settle()
    assert run.kernel in ("k1", "k2")
    assert stage.kernels.starts == 0


@async_test
async def test_spares_and_members_beyond_the_limits_of_now_end(tmp_path: Path) -> None:
    stage = await after_pool(tmp_path, 0)
    kernels = list(stage.kernels.kept.values())
    await stage.recover()
    await settle()
    assert [kernel.killed is None for kernel in kernels] == [True, False, False]
    stage = await after_pool(tmp_path, 3)
    kernels = list(stage.kernels.kept.values())
    await stage.recover()
    await settle()
    assert len(pool_of(stage)["members"]) == 2
    assert sum(kernel.killed is None for kernel in kernels) == 2


@async_test
async def test_kernels_of_the_pool_as_it_was_end_after_their_runs(tmp_path: Path) -> None:
    stage = await after_pool(tmp_path, 3, edition=b"earlier")
    kernels = list(stage.kernels.kept.values())
    runs = Runs(retention=60, journal=1 << 20, journal_total=1 << 20, window=1000, outlive=True)

    def answer(kernel: ScriptedKernel) -> None:
        kept = KeptRun("a", new_call(detach=True), Keep(1 << 20, 1000.5), 1001.0)
        kernel.reconnect(*([kept] if kernel is kernels[0] else ()))

    await stage.recover(answer, runs.restore)
    assert pool_of(stage) == {"members": ["k1"], "spares": []}
    # It gets no calls.
    stage.submit("r", None)
    await stage.kernels.wait_for_kernel(1)
    await settle()
    assert kernels[0].invoked == []
    kernels[0].answer("a")
    await settle()
    run = runs.get("a")
    assert run is not None
    assert (run.state, run.kernel) == ("done", "k1")
    assert kernels[0].killed is not None
    assert kernels[0].id not in pool_of(stage)["members"]


@async_test
async def test_a_dead_kernel_of_the_pool_is_not_replaced(tmp_path: Path) -> None:
    stage = await after_pool(tmp_path, 3, is_alive=False)
    kernels = list(stage.kernels.kept.values())
    await stage.recover()
    await settle()
    assert pool_of(stage) == {"members": [], "spares": []}
    # They have their reasons.
    assert [kernel.killed for kernel in kernels] == [None] * 3
    assert stage.kernels.starts == 0


@async_test
async def test_records_that_cannot_be_written_or_read_are_told(tmp_path: Path, caplog: Any) -> None:
    stage = Stage(tmp_path)
    stage.folder.write_text("not a folder")
    stage.sessions.create("a")
    assert stage.records.unsaved is not None
    assert stage.records.unsaved.number == 1
    stage.folder.unlink()
    stage.records.write(stage.sessions.find("a"))
    assert stage.records.unsaved is None
    (stage.folder / "b.json").write_text("{")
    assert [record.name for record in stage.records.read()] == ["a"]
    assert "b.json cannot be read" in caplog.text
