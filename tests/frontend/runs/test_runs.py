"""owt.frontend.runs.runs: states, readers, credit, and the table of known runs."""

from __future__ import annotations

import asyncio
import time

import pytest
from loop_clock import LoopClock

from owt.frontend.runs.cache import first_error
from owt.frontend.runs.runs import BATCH, CancelReason, Reader, Run, RunState
from owt.frontend.runs.table import Runs
from owt.testing import async_test, settle
from owt.testing.kernel import new_call
from owt.wire.call import Caching, Call, RequestFacts
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Stderr, Stdout, size
from owt.wire.journal import ChunksLost

HEAD = Head(200, ())
DONE = Done(200, 0.1)
FAILED = Failed(500, "exception", "it failed", "")


class CountingKernel:
    """A kernel that records the credit that it gets."""

    id = "k1"

    def __init__(self) -> None:
        self.credits: list[int] = []

    def credit(self, run: str, size: int) -> None:
        self.credits.append(size)


class CountingQueue:
    """A session that records the runs that it has to cancel."""

    def __init__(self) -> None:
        self.cancelled: list[tuple[Run, CancelReason]] = []

    def cancel(self, run: Run, reason: CancelReason) -> None:
        self.cancelled.append((run, reason))


class AcceptingQueue:
    """A session that records the reason of a cancel in the run, and no kernel that ends it."""

    def cancel(self, run: Run, reason: CancelReason) -> None:
        run.cancel_reason = reason


class CountingObserver:
    """An observer that records the runs that ended."""

    def __init__(self) -> None:
        self.ended: list[Run] = []

    def run_ended(self, run: Run) -> None:
        self.ended.append(run)


def data(amount: int) -> Data:
    """Return a chunk whose size is `amount`."""
    return Data(b"x" * (amount - size(Data(b"", "bytes"))), "bytes")


def new_run(journal: int = 1 << 20, step: int = 1) -> Run:
    return Run("r1", new_call(), journal, grant_step=step)


def started_run(step: int = 1) -> tuple[Run, list[int]]:
    """Return a run that a kernel executes, and the credit that the kernel gets."""
    run, kernel = new_run(step=step), CountingKernel()
    run.start(kernel)
    return run, kernel.credits


def new_runs(
    retention: float = 60, journal: int = 10_000, total: int = 100_000, max_ended: int = 100
) -> Runs:
    return Runs(
        retention=retention, journal=journal, journal_total=total, window=10000, max_ended=max_ended
    )


async def read_all(reader: Reader) -> list[Chunk]:
    """Return all chunks that a reader gets."""
    result: list[Chunk] = []
    while chunks := await reader.next():
        result += chunks
    return result


# States


def test_a_run_is_queued_then_running_then_done() -> None:
    run = new_run()
    assert (run.state, run.started_at, run.ended_at, run.status) == (RunState.QUEUED, None, None, None)
    run.start(CountingKernel())
    assert (run.state, run.kernel, run.ended) == (RunState.RUNNING, "k1", False)
    run.feed([HEAD, data(1000), DONE])
    assert (run.state, run.status, run.failure, run.ended) == (RunState.DONE, 200, None, True)
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.created_at <= run.started_at <= run.ended_at


def test_a_failure_chunk_makes_the_run_failed() -> None:
    run = new_run()
    run.feed([HEAD, FAILED, Done(500, 0.1)])
    assert (run.state, run.status, run.failure) == (RunState.FAILED, 500, FAILED)


@pytest.mark.parametrize("started", [False, True])
def test_fail_ends_a_queued_and_a_running_run(started: bool) -> None:
    run = started_run()[0] if started else new_run()
    run.fail(Failed(502, "kernel-died", "it died", ""))
    assert run.status == 502
    [failed, done] = run.journal.chunks
    assert isinstance(failed, Failed)
    assert isinstance(done, Done)
    assert done.seconds >= 0


def test_chunks_after_the_end_are_ignored() -> None:
    run = new_run()
    run.feed([DONE, data(1000)])
    run.feed([data(1000), FAILED])
    run.fail(FAILED)
    assert run.journal.chunks == [DONE]
    assert run.state == RunState.DONE


def test_observers_are_notified_of_the_end_once() -> None:
    run, first, second = new_run(), CountingObserver(), CountingObserver()
    run.observe(first)
    run.observe(second)
    run.feed([HEAD])
    assert first.ended == []
    run.feed([DONE])
    run.feed([DONE])
    assert first.ended == second.ended == [run]


def test_cancel_goes_to_the_session_until_the_run_has_ended() -> None:
    run, queue = new_run(), CountingQueue()
    run.cancel("cancelled")
    run.enqueue(queue)
    run.cancel("timeout")
    run.feed([DONE])
    run.cancel("cancelled")
    assert queue.cancelled == [(run, "timeout")]


def test_text_joins_the_chunks_of_one_kind() -> None:
    run = new_run()
    run.feed([Stdout("a"), Stderr("e"), Stdout("b"), Display({"text/plain": "d"}), DONE])
    assert run.text(Stdout) == "ab"
    assert run.text(Stderr) == "e"


# Readers


@async_test
async def test_a_reader_gets_earlier_and_later_chunks() -> None:
    run = new_run()
    run.feed([HEAD])
    reader = run.follow()
    assert await reader.next() == [HEAD]
    run.feed([Stdout("a")])
    run.feed([Stdout("b")])
    assert await reader.next() == [Stdout("a"), Stdout("b")]
    run.feed([DONE])
    assert await reader.next() == [DONE]
    assert await reader.next() == []
    assert await reader.next() == []


@async_test
async def test_next_waits_for_a_chunk() -> None:
    run = new_run()
    reader = run.follow()
    waiting = asyncio.create_task(reader.next())
    await settle()
    assert not waiting.done()
    reader.wake()
    await settle()
    assert not waiting.done()
    run.feed([HEAD])
    assert await waiting == [HEAD]


@async_test
async def test_available_does_not_wait() -> None:
    run, credits = started_run()
    reader = run.follow()
    assert reader.available() == []
    run.feed([data(1000)])
    assert reader.available() == [data(1000)]
    assert reader.available() == []
    assert credits == [1000]


@async_test
async def test_notify_calls_back_once_when_there_is_something_to_read() -> None:
    run = new_run()
    reader, calls = run.follow(), []
    reader.notify(lambda: calls.append("chunk"))
    await settle()
    assert calls == []
    run.feed([HEAD])
    run.feed([data(1000)])
    await settle()
    assert calls == ["chunk"]
    reader.notify(lambda: calls.append("at once"))
    await settle()
    assert calls == ["chunk", "at once"]


@async_test
async def test_every_reader_gets_every_chunk() -> None:
    run = new_run()
    first = run.follow()
    following = asyncio.create_task(read_all(first))
    run.feed([HEAD, data(200)])
    await settle()
    late = run.follow()
    run.feed([data(300), DONE])
    after_end = run.follow()
    chunks = [HEAD, data(200), data(300), DONE]
    assert await following == await read_all(late) == await read_all(after_end) == chunks


@async_test
async def test_the_journal_drops_no_chunk_that_a_reader_has_yet_to_take() -> None:
    run = new_run(journal=250)
    reader = run.follow()
    chunks = [data(200) for _ in range(10)]
    run.feed(chunks)
    run.feed([DONE])
    assert await read_all(reader) == [*chunks, DONE]
    assert not run.journal.complete


@async_test
async def test_follow_raises_chunks_lost_after_the_journal_dropped_the_beginning() -> None:
    run = new_run(journal=250)
    reader = run.follow()
    run.feed([data(150), data(150)])
    await reader.next()
    assert run.journal.complete
    waiting = asyncio.create_task(reader.next())
    await settle()
    waiting.cancel()
    with pytest.raises(ChunksLost):
        run.follow()


@async_test
async def test_next_returns_at_most_a_batch() -> None:
    run = new_run()
    reader = run.follow()
    chunks = [data(BATCH // 2)] * 5
    run.feed(chunks)
    assert await reader.next() == chunks[:2]
    assert await reader.next() == chunks[2:4]
    assert await reader.next() == chunks[4:]


@async_test
async def test_a_chunk_larger_than_a_batch_comes_alone() -> None:
    run = new_run(journal=1)
    reader = run.follow()
    chunks = [data(2 * BATCH)] * 2
    run.feed(chunks)
    assert await reader.next() == chunks[:1]
    assert await reader.next() == chunks[1:]


@async_test
async def test_a_reader_that_resumes_gets_the_events_that_follow() -> None:
    run = new_run()
    run.feed([Stdout("1"), HEAD, data(200), data(300), data(400), DONE])
    events = [Stdout("1"), data(200), data(300), data(400), DONE]
    assert await read_all(run.follow(after=0)) == [Stdout("1"), HEAD, *events[1:]]
    for after in range(1, 6):
        assert await read_all(run.follow(after=after)) == events[after:], after


@async_test
async def test_a_slow_reader_of_a_detached_run_loses_chunks() -> None:
    run = new_run(journal=250)
    run.detach()
    reader = run.follow()
    run.feed([data(150)] * 5)
    with pytest.raises(ChunksLost):
        await reader.next()


@async_test
async def test_taken_chunks_beyond_the_limit_are_dropped_when_more_are_read() -> None:
    run = new_run(journal=250)
    reader = run.follow()
    run.feed([data(150)] * 4)
    await reader.next()
    assert run.journal.bytes == 600
    waiting = asyncio.create_task(reader.next())
    await settle()
    assert run.journal.bytes == 150
    waiting.cancel()


@async_test
async def test_a_closed_reader_gets_nothing_more() -> None:
    run = new_run()
    reader = run.follow()
    waiting = asyncio.create_task(reader.next())
    await settle()
    reader.close()
    assert await waiting == []
    run.feed([HEAD])
    assert await reader.next() == []


def test_a_run_is_cancelled_when_its_last_reader_leaves() -> None:
    run, queue = new_run(), CountingQueue()
    run.enqueue(queue)
    first, second = run.follow(), run.follow()
    first.close()
    assert (queue.cancelled, run.has_readers) == ([], True)
    second.close()
    assert (queue.cancelled, run.has_readers) == ([(run, "disconnected")], False)
    second.close()
    assert queue.cancelled == [(run, "disconnected")]


def test_the_output_of_an_abandoned_run_is_dropped() -> None:
    run, credits = started_run()
    run.enqueue(AcceptingQueue())
    reader = run.follow()
    run.feed([HEAD, data(1000)])
    reader.close()
    assert run.abandoned
    run.feed([data(2000)])
    assert (run.journal.bytes, sum(credits)) == (0, run.journal.total)
    run.feed([DONE])
    assert not run.abandoned


def test_an_explicit_cancel_of_an_abandoned_run_replaces_its_reason() -> None:
    run = new_run()
    run.enqueue(AcceptingQueue())
    run.follow().close()
    run.cancel("cancelled")
    assert (run.cancel_reason, run.abandoned) == ("cancelled", False)


def test_a_run_that_ended_is_not_cancelled_when_its_reader_leaves() -> None:
    run, queue = new_run(), CountingQueue()
    run.enqueue(queue)
    reader = run.follow()
    run.feed([DONE])
    reader.close()
    assert queue.cancelled == []


@async_test
async def test_a_run_of_events_is_cancelled_after_the_resume_window() -> None:
    clock = LoopClock()
    run, queue = Run("r1", new_call(sse=True), 1000, resume_window=10), CountingQueue()
    run.enqueue(queue)
    run.follow().close()
    await clock.advance(9)
    assert queue.cancelled == []
    await clock.advance(1)
    assert queue.cancelled == [(run, "disconnected")]


@pytest.mark.parametrize("event", ["follow", "detach", "end"])
def test_a_new_reader_detaching_and_the_end_keep_a_run_from_being_cancelled(event: str) -> None:
    @async_test
    async def check() -> None:
        clock = LoopClock()
        run, queue = Run("r1", new_call(sse=True), 1000, resume_window=10), CountingQueue()
        run.enqueue(queue)
        run.follow().close()
        match event:
            case "follow":
                run.follow()
            case "detach":
                run.detach()
            case _:
                run.feed([DONE])
        await clock.advance(20)
        assert queue.cancelled == []

    check()


# Credit


@async_test
async def test_the_kernel_gets_credit_for_taken_chunks_when_more_are_read() -> None:
    run, credits = started_run()
    reader = run.follow()
    run.feed([data(1000), data(2000)])
    await reader.next()
    assert credits == []
    waiting = asyncio.create_task(reader.next())
    await settle()
    assert credits == [3000]
    run.feed([data(500)])
    await waiting
    assert credits == [3000]


@async_test
async def test_the_slowest_reader_sets_the_pace() -> None:
    run, credits = started_run()
    quick, slow = run.follow(), run.follow()
    run.feed([data(1000)])
    await quick.next()
    waiting = asyncio.create_task(quick.next())
    await settle()
    assert credits == []
    run.feed([data(1000)])
    await waiting
    # The slow reader reads both at once; the fast one has confirmed only the first.
    await slow.next()
    waiting = asyncio.create_task(slow.next())
    await settle()
    assert credits == [1000]
    waiting.cancel()


@async_test
async def test_a_slow_reader_that_leaves_releases_the_others() -> None:
    run, credits = started_run()
    quick, slow = run.follow(), run.follow()
    run.feed([data(1000)])
    await quick.next()
    waiting = asyncio.create_task(quick.next())
    await settle()
    assert credits == []
    slow.close()
    assert credits == [1000]
    waiting.cancel()


@async_test
async def test_credit_is_given_in_steps() -> None:
    run, credits = started_run(step=2500)
    reader = run.follow()
    for _ in range(6):
        run.feed([data(1000)])
        await reader.next()
    waiting = asyncio.create_task(reader.next())
    await settle()
    assert credits == [3000, 3000]
    waiting.cancel()


def test_a_run_without_readers_gives_no_credit() -> None:
    run, credits = started_run()
    run.follow().close()
    run.feed([data(1000)])
    run.grant()
    assert credits == []


@async_test
async def test_a_reader_that_resumes_gives_credit_beyond_the_one_that_left() -> None:
    run, credits = started_run()
    first = run.follow()
    run.feed([data(1000), data(1000)])
    await first.next()
    waiting = asyncio.create_task(first.next())
    await settle()
    first.close()
    assert await waiting == []
    assert credits == [2000]
    run.feed([data(1000)])
    again = run.follow(after=1)
    assert await again.next() == [data(1000), data(1000)]
    waiting = asyncio.create_task(again.next())
    await settle()
    assert credits == [2000, 1000]
    waiting.cancel()


@async_test
async def test_a_detached_run_gives_credit_without_waiting_for_its_readers() -> None:
    run, credits = started_run()
    run.detach()
    run.feed([data(1000)])
    assert credits == [1000]
    slow = run.follow()
    await slow.next()
    run.feed([data(1000)])
    run.feed([data(1000)])
    assert credits == [1000, 1000, 1000]


def test_detaching_gives_the_outstanding_credit() -> None:
    run, credits = started_run()
    run.feed([data(1000)])
    assert credits == []
    run.detach()
    assert credits == [1000]


@async_test
async def test_no_credit_is_given_after_the_end() -> None:
    run, credits = started_run()
    reader = run.follow()
    run.feed([data(1000), DONE])
    assert await reader.next() == [data(1000), DONE]
    assert await reader.next() == []
    assert credits == []


# The table of runs


def test_a_run_is_known_while_it_is_live_and_after_its_end() -> None:
    runs = new_runs()
    run = runs.create(new_call())
    assert runs.get(run.id) is run
    assert runs.live() == runs.all() == [run]
    run.feed([DONE])
    assert runs.get(run.id) is run
    assert runs.live() == []
    assert runs.all() == [run]


def test_ids_of_runs_have_64_random_bits() -> None:
    runs = new_runs()
    ids = {runs.create(new_call()).id for _ in range(100)}
    assert len(ids) == 100
    assert {len(id) for id in ids} == {16}


def test_an_ended_run_is_forgotten_after_its_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = new_runs(retention=60)
    live, ended = runs.create(new_call()), runs.create(new_call())
    ended.feed([DONE])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 59)
    assert runs.all() == [ended, live]
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert runs.all() == [live]
    assert runs.get(ended.id) is None


def test_paths_and_failures_of_ended_runs_count_towards_the_total() -> None:
    runs = new_runs(total=100_000, journal=1000)
    for _ in range(100):
        run = runs.create(new_call(path="/" + "ü" * 1_000_000))
        run.fail(Failed(400, "bad-request", "t" * 1000, "d" * 4000, "e" * 1000))
    kept = runs.all()
    # Each keeps about 6000 bytes of its failure, beyond its journal's limit, and 195 characters of its path.
    assert 5 < len(kept) < 17
    assert {len(run.call.request.path) for run in kept} == {195}


def test_the_oldest_ended_runs_are_forgotten_beyond_the_total() -> None:
    runs = new_runs(total=10000, journal=4000)
    first, second, third = (runs.create(new_call()) for _ in range(3))
    for run in (second, first, third):
        run.feed([data(4000 - size(DONE)), DONE])
    assert runs.all() == [first, third]


def test_live_runs_share_the_total() -> None:
    runs = new_runs(total=10000, journal=6000)
    live = [runs.create(new_call()) for _ in range(4)]
    for run in live:
        run.detach()
        run.feed([data(1500)] * 4)
    assert [run.journal.bytes for run in live] == [1500] * 4
    for run in live:
        run.feed([DONE])
    assert sum(run.journal.bytes for run in runs.all()) <= 10000


def test_a_live_run_may_hold_more_again_when_others_have_ended() -> None:
    runs = new_runs(total=10000, journal=6000)
    others = [runs.create(new_call()) for _ in range(4)]
    run = runs.create(new_call())
    run.detach()
    run.feed([data(1000)] * 6)
    assert run.journal.bytes == 2000
    for other in others:
        other.feed([DONE])
    run.feed([data(1000)] * 6)
    assert run.journal.bytes == 6000


def test_full_journals_of_quiet_runs_are_trimmed_as_others_grow() -> None:
    runs = new_runs(total=10_000, journal=5000)
    quiet = [runs.create(new_call()) for _ in range(2)]
    for run in quiet:
        run.detach()
        run.feed([data(1000)] * 5)
    growing = [runs.create(new_call()) for _ in range(8)]
    for run in growing:
        run.detach()
        run.feed([data(1000)] * 5)
    assert sum(run.journal.bytes for run in runs.all()) <= 10_000


def test_live_runs_push_out_ended_ones() -> None:
    runs = new_runs(total=10000, journal=6000)
    ended = runs.create(new_call())
    ended.feed([data(5000), DONE])
    live = runs.create(new_call())
    live.detach()
    live.feed([data(5000)])
    assert runs.all() == [live]


def test_chunks_that_a_reader_has_yet_to_take_are_kept_beyond_the_limits() -> None:
    runs = new_runs(total=2000, journal=2000)
    run = runs.create(new_call())
    run.follow()
    run.feed([data(1500)] * 4)
    runs.create(new_call())
    assert run.journal.bytes == 6000


@async_test
async def test_a_late_reader_of_an_ended_run_leaves_the_total_of_live_runs_unchanged() -> None:
    runs = new_runs(total=10_000, journal=1000)
    ended = runs.create(new_call())
    reader = ended.follow()
    ended.feed([data(1500)] * 4 + [DONE])
    await read_all(reader)
    assert ended.journal.bytes <= 1000
    live = runs.create(new_call())
    live.feed([data(700)])
    assert live.budget.held == live.journal.bytes


@pytest.mark.parametrize("live", [1, 8, 64, 1000])
def test_the_work_of_a_call_does_not_depend_on_the_number_of_live_runs(
    live: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = new_runs(total=20_000, journal=10_000)
    others = [runs.create(new_call()) for _ in range(live)]
    for other in others:
        other.detach()
        # Together they hold the total, so that the new run has to make room.
        other.feed([data(20_000 // live if live < 100 else 200)])
    trims: list[Run] = []
    trim = Run.trim
    monkeypatch.setattr(Run, "trim", lambda run: (trims.append(run), trim(run))[1])
    new = runs.create(new_call())
    assert trims == []
    reader = new.follow()
    new.feed([HEAD, data(1000), DONE])
    assert reader.available()
    assert reader.available() == []
    # The run itself, when it grows and at each read, and two other runs.
    assert len(trims) <= 5


def test_the_number_of_known_ended_runs_is_limited() -> None:
    runs = new_runs(max_ended=2)
    ended = [runs.create(new_call()) for _ in range(5)]
    for run in ended:
        run.feed([DONE])
    assert runs.all() == ended[3:]


def test_a_dropped_run_is_not_known() -> None:
    runs = new_runs()
    run = runs.create(new_call())
    runs.drop(run)
    assert runs.get(run.id) is None
    assert runs.all() == []


def test_an_ended_run_keeps_nothing_of_its_input() -> None:
    runs = new_runs()
    facts = RequestFacts("POST", "/a", "secret=1", (("Authorization", "secret"),), b"secret", "localhost")
    run = runs.create(Call(facts, code="secret", kwargs="secret", session="mine"))
    run.feed([DONE])
    assert "secret" not in repr(run.call)
    assert (run.call.request.path, run.call.session) == ("/a", "mine")


def test_a_run_whose_answer_may_be_cached_keeps_more() -> None:
    runs = Runs(retention=60, journal=1000, journal_total=100000, window=10000, cacheable=5000)
    plain, cached = runs.create(new_call()), runs.create(new_call(caching=Caching()))
    for run in (plain, cached):
        run.detach()
        run.feed([data(3000)])
    assert (plain.journal.complete, cached.journal.complete) == (False, True)


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        ([HEAD, data(1000), DONE], None),
        ([Head(404, ()), Done(404, 0.1)], 404),
        ([HEAD, data(1000), FAILED, Done(500, 0.1)], 500),
        ([Failed(504, "timeout", "", ""), Done(504, 0.1)], 504),
        ([Head(302, ()), Done(302, 0.1)], None),
        ([], None),
    ],
)
def test_first_error_is_the_status_of_an_answer_that_is_no_success(
    chunks: list[Chunk], status: int | None
) -> None:
    assert first_error(chunks) == status
