"""owt.frontend.runs.records: records of live runs, for the next frontend."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
from pathlib import Path

import msgspec
import pytest

from owt.frontend.runs import records as module
from owt.frontend.runs.claims import Claim
from owt.frontend.runs.records import LOG, MAX_INLINE, RecordedRun, RunRecords
from owt.frontend.runs.runs import Run, RunState
from owt.frontend.runs.table import Runs
from owt.testing import async_test
from owt.testing.kernel import ScriptedKernel, new_call
from owt.wire.call import Call, RequestFacts
from owt.wire.chunk import Done

DONE = Done(200, 0.5)
HEADERS = (("Owt-Run", "client-chosen"),)
BODY = RequestFacts("POST", "/a", "x=1", HEADERS, b"\x00body", "localhost", user="ada")
LARGE = RequestFacts("POST", "/a", "", (), b"x" * (MAX_INLINE + 1), "localhost")


class Queue:
    """Session that never begins a run."""

    def cancel(self, run: Run, reason: str) -> None:
        run.cancel_reason = "cancelled"
        run.note()

    def holders(self) -> list[Run]:
        return []


class Frontend:
    """Runs of a frontend with records in this folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = Runs(
            retention=60, journal=1000, journal_total=100_000, window=800, resume_window=60, outlive=True
        )
        self.records = RunRecords(folder)
        self.recorded = self.records.read()

    def submit(self, call: Call, claim: Claim | None = None) -> Run:
        run = self.runs.create(call, claim)
        run.enqueue(Queue())
        self.records.add(run)
        return run

    def next(self) -> list[RecordedRun]:
        """Return what the next frontend reads."""
        records = RunRecords(self.folder)
        try:
            return records.read()
        finally:
            records.close()


@pytest.fixture
def frontend(tmp_path: Path) -> Frontend:
    return Frontend(tmp_path / "sessions")


def detached(code: str = "1") -> Call:
    return new_call(code, detach=True)


def ids(recorded: list[RecordedRun]) -> list[str]:
    return [earlier.kept.run for earlier in recorded]


def test_a_call_is_read_as_it_was(frontend: Frontend) -> None:
    call = Call(BODY, code="x", kwargs="{'a': 1}", session="s", env={"A": "b"}, cwd="/tmp", timeout=3.0)
    run = frontend.submit(call, Claim("client-chosen", BODY, "text/plain", None))
    [recorded] = frontend.next()
    assert recorded.kept.call == call
    assert recorded.kept.keep == run.keep
    assert (recorded.sent_to, recorded.unread_since, recorded.cancel_reason) == (None, 0.0, None)
    assert stat.S_IMODE((frontend.folder / LOG).stat().st_mode) == 0o600


def test_calls_whose_answers_can_be_asked_for_are_recorded(frontend: Frontend) -> None:
    # The client of the second one does not know its id before the answer begins.
    for call in (new_call(), new_call(sse_streams=True)):
        assert frontend.submit(call).record is None
    kept = [frontend.submit(call) for call in (new_call(sse=True), detached())]
    assert ids(frontend.next()) == [run.id for run in kept]


def test_a_change_is_recorded(frontend: Frontend) -> None:
    sent, cancelled, left = (frontend.submit(call) for call in (detached(), detached(), new_call(sse=True)))
    sent.sent_to, sent.number = "k3", 7
    sent.note()
    cancelled.cancel("cancelled")
    left.unread_since = 1000.5
    left.note()
    recorded = frontend.next()
    assert [(earlier.sent_to, earlier.number) for earlier in recorded] == [("k3", 7), (None, 0), (None, 0)]
    assert [earlier.cancel_reason for earlier in recorded] == [None, "cancelled", None]
    assert [earlier.unread_since for earlier in recorded] == [0.0, 0.0, 1000.5]
    sent.take_back()
    assert frontend.next()[0].sent_to is None


@async_test
async def test_a_reader_that_leaves_and_one_that_comes_are_recorded(tmp_path: Path) -> None:
    frontend = Frontend(tmp_path)
    run = frontend.submit(new_call(sse=True))
    run.follow().close()
    assert frontend.next()[0].unread_since == run.unread_since > 0
    reader = run.follow()
    assert frontend.next()[0].unread_since == 0
    run.detach()
    reader.close()


def test_runs_that_have_ended_are_not_read(frontend: Frontend) -> None:
    first, second, third = (frontend.submit(detached()) for _ in range(3))
    second.feed([DONE])
    assert ids(frontend.next()) == [first.id, third.id]
    first.feed([DONE])
    third.feed([DONE])
    assert frontend.next() == []


def test_the_next_frontend_goes_on_with_the_same_records(frontend: Frontend) -> None:
    first = frontend.submit(detached())
    frontend.records.close()
    second = Frontend(frontend.folder)
    [recorded] = second.recorded
    run = second.runs.restore(recorded.kept)
    recorded.record.attach(run)
    other = second.submit(detached())
    assert ids(second.next()) == [first.id, other.id]
    run.feed([DONE])
    assert ids(second.next()) == [other.id]


def test_a_frame_that_was_being_replaced_does_not_count(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = frontend.submit(detached())
    run.sent_to = "k1"
    with monkeypatch.context() as patch:
        # The frontend ends before it marks the former frame.
        patch.setattr(frontend.records, "_free", lambda *_: None)
        run.feed([DONE])
    [recorded] = frontend.next()
    assert recorded.is_outline
    assert run.record is not None
    run.record.forget()
    assert frontend.next() == []


@async_test
async def test_remains_of_large_calls_are_removed(tmp_path: Path) -> None:
    frontend = Frontend(tmp_path)
    run = frontend.submit(Call(LARGE, code="1", detach=True))
    assert run.record is not None
    assert run.record.recorded is not None
    await run.record.recorded
    path = tmp_path / f"{run.id}.run"
    written = path.read_bytes()
    run.sent_to = "k1"
    run.record.confirmed()
    # The frontend ends before it removes the file, and while it writes another one.
    path.write_bytes(written)
    (tmp_path / "other-run.part").write_bytes(written[:100])
    [recorded] = frontend.next()
    assert recorded.is_outline
    assert os.listdir(tmp_path) == [LOG]
    run.feed([DONE])


@pytest.mark.parametrize("kept", [0, 1, 39, 40, 100])
def test_a_frame_that_was_being_written_does_not_count(frontend: Frontend, kept: int) -> None:
    first = frontend.submit(detached())
    path = frontend.folder / LOG
    size = path.stat().st_size
    frontend.submit(detached("x" * 200))
    os.truncate(path, size + kept)
    frontend.records.close()
    second = Frontend(frontend.folder)
    assert ids(second.recorded) == [first.id]
    assert path.stat().st_size == size
    run = second.submit(detached())
    assert ids(second.next()) == [first.id, run.id]


def test_the_log_is_written_anew_when_it_is_mostly_garbage(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GARBAGE", 10_000)
    kept = [frontend.submit(detached()) for _ in range(3)]
    path = frontend.folder / LOG
    for _ in range(100):
        frontend.submit(detached("x" * 1000)).feed([DONE])
        assert path.stat().st_size < 15_000
    kept[1].feed([DONE])
    kept.append(frontend.submit(detached()))
    assert ids(frontend.next()) == [run.id for run in (kept[0], *kept[2:])]


def test_records_that_cannot_be_written_are_written_later(frontend: Frontend) -> None:
    frontend.submit(detached())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (frontend.folder / LOG).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        run, ended = frontend.submit(detached()), frontend.submit(detached())
        ended.feed([DONE])
        frontend.records.check()
        unsaved = frontend.records.unsaved
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert unsaved is not None
    assert unsaved.number == 1
    assert len(frontend.next()) == 1
    run.number = 3
    run.note()
    frontend.records.check()
    assert frontend.records.unsaved is None
    assert [earlier.number for earlier in frontend.next()] == [0, 3]


def test_a_file_in_the_place_of_the_folder_is_a_problem_until_it_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    folder.write_text("")
    frontend = Frontend(folder)
    run = frontend.submit(detached())
    assert frontend.records.unsaved is not None
    folder.unlink()
    frontend.records.check()
    assert frontend.records.unsaved is None
    assert ids(frontend.next()) == [run.id]


def test_a_header_that_cannot_be_changed_is_a_problem_until_the_log_is_new(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = frontend.submit(detached()), frontend.submit(detached())

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        first.feed([DONE])
    # The call that has ended would run again.
    assert frontend.records.unsaved == (0, "[Errno 5] Input/output error")
    frontend.records.check()
    assert frontend.records.unsaved is None
    assert ids(frontend.next()) == [second.id]


@async_test
async def test_a_large_call_is_a_file_until_its_kernel_has_it(tmp_path: Path) -> None:
    frontend = Frontend(tmp_path)
    run = frontend.submit(Call(LARGE, code="1", detach=True))
    assert run.record is not None
    assert run.record.recorded is not None
    await run.record.recorded
    run.sent_to, run.number = "k1", 3
    run.note()
    [recorded] = frontend.next()
    assert (recorded.kept.call, recorded.number) == (run.call, 3)
    path = tmp_path / f"{run.id}.run"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    run.record.confirmed()
    assert not path.exists()
    # It has not begun, and waits again.
    run.take_back()
    await run.record.recorded
    assert [earlier.sent_to for earlier in frontend.next()] == [None]
    run.feed([DONE])
    assert not path.exists()


@async_test
async def test_a_large_call_that_an_idle_kernel_gets_is_not_written(tmp_path: Path) -> None:
    frontend = Frontend(tmp_path)
    run = frontend.runs.create(Call(LARGE, code="1", detach=True))
    run.start(ScriptedKernel("k1", "owt", None, owner=None))  # type: ignore[arg-type]
    run.sent_to = "k1"
    frontend.records.add(run)
    assert run.state is RunState.RUNNING
    assert run.record is not None
    assert run.record.recorded is not None
    run.record.confirmed()
    assert run.record.recorded.done()
    run.feed([DONE])
    await asyncio.sleep(0)
    assert os.listdir(tmp_path) == [LOG]


@async_test
async def test_a_large_call_that_ends_while_it_is_written_leaves_no_file(tmp_path: Path) -> None:
    frontend = Frontend(tmp_path)
    run = frontend.submit(Call(LARGE, code="1", detach=True))
    await asyncio.sleep(0)
    run.feed([DONE])
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others)
    assert os.listdir(tmp_path) == [LOG]


def test_a_body_that_was_still_coming_breaks_off(frontend: Frontend) -> None:
    facts = msgspec.structs.replace(BODY, body=b"", input_size=-1)
    frontend.submit(Call(facts, code="1", detach=True))
    [recorded] = frontend.next()
    run = frontend.runs.restore(recorded.kept)
    kernel = ScriptedKernel("k1", "owt", None, owner=None)  # type: ignore[arg-type]
    run.open_input().grant(1000, kernel)
    assert [message.error for message in kernel.messages] == ["broke off, because the server has ended"]


def outlines(recorded: list[RecordedRun]) -> list[tuple[str, float | None]]:
    """Return the ids, and the times of the end, of the runs whose calls only a kernel has."""
    return [(earlier.kept.run, earlier.kept.ended) for earlier in recorded if earlier.is_outline]


def end(run: Run) -> None:
    """End a run that a kernel was sent."""
    run.sent_to = "k1"
    run.note()
    run.feed([DONE])


def test_a_run_that_has_ended_is_known_until_it_is_forgotten(frontend: Frontend) -> None:
    run = frontend.submit(Call(BODY, code="secret" * 1000, detach=True))
    size = (frontend.folder / LOG).stat().st_size
    run.user = "ada"
    end(run)
    assert run.ended_at is not None
    [recorded] = frontend.next()
    assert outlines([recorded]) == [(run.id, run.ended_at)]
    assert (recorded.sent_to, recorded.kept.keep and recorded.kept.keep.user) == ("k1", "ada")
    assert (recorded.kept.call.code, recorded.kept.call.request.path) == (None, "/a")
    assert (frontend.folder / LOG).stat().st_size < size + 300
    frontend.records.close()
    # Also for the frontend after the next one.
    second = Frontend(frontend.folder)
    restored = second.runs.restore(recorded.kept)
    restored.sent_to = "k1"
    second.recorded[0].record.attach(restored)
    restored.feed([DONE])
    assert restored.ended_at == run.ended_at
    assert outlines(second.next()) == [(run.id, run.ended_at)]
    restored.forget()
    assert second.next() == []


def test_the_log_keeps_the_runs_that_have_ended_when_it_is_written_anew(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GARBAGE", 10_000)
    runs = [frontend.submit(detached("x" * 1000)) for _ in range(50)]
    for run in runs:
        end(run)
    assert [id for id, _ in outlines(frontend.next())] == [run.id for run in runs]
    assert (frontend.folder / LOG).stat().st_size < 30_000


def test_a_run_that_is_dropped_at_its_end_is_not_recorded(tmp_path: Path) -> None:
    frontend = Frontend(tmp_path)
    frontend.runs = Runs(
        retention=60, journal=1000, journal_total=1000, window=800, max_ended=0, outlive=True
    )
    end(frontend.submit(detached()))
    assert frontend.next() == []


def test_an_outline_that_cannot_be_written_leaves_the_record(frontend: Frontend) -> None:
    run = frontend.submit(detached())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((frontend.folder / LOG).stat().st_size, limits[1]))
    try:
        end(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    [recorded] = frontend.next()
    assert (recorded.kept.run, recorded.sent_to, recorded.is_outline) == (run.id, "k1", False)


@async_test
async def test_a_large_call_that_its_kernel_has_is_known(tmp_path: Path) -> None:
    frontend = Frontend(tmp_path)
    run = frontend.submit(Call(LARGE, code="1", session="s", timeout=9.0, detach=True))
    assert run.record is not None
    run.sent_to, run.number = "k1", 3
    run.note()
    run.record.confirmed()
    [recorded] = frontend.next()
    assert outlines([recorded]) == [(run.id, None)]
    assert (recorded.sent_to, recorded.number) == ("k1", 3)
    call = recorded.kept.call
    assert (call.session, call.timeout, call.detach, call.request.body) == ("s", 9.0, True, b"")
    run.record.confirmed()
    # Its kernel has not begun it: the whole call is needed again.
    run.take_back()
    assert run.record.recorded is not None
    await run.record.recorded
    [recorded] = frontend.next()
    assert (recorded.is_outline, recorded.kept.call) == (False, run.call)
    run.record.confirmed()
    run.forget()
    assert frontend.next() == []
