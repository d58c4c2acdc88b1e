"""Runs that kernels keep for the next frontend, and their restoration there."""

from __future__ import annotations

import asyncio
import time

import pytest

from owt.errors import RunTaken
from owt.frontend.runs.claims import Claim
from owt.frontend.runs.resuming import Resumed, expect_reader, resume
from owt.frontend.runs.runs import Run, RunState
from owt.frontend.runs.table import Runs
from owt.testing import async_test
from owt.testing.kernel import ScriptedKernel, new_call
from owt.wire.call import Call, RequestFacts, Target
from owt.wire.chunk import Chunk, Data, Done, Head, Prompt, Stdout, size
from owt.wire.journal import DroppedChunks, Journal
from owt.wire.messages import Input, Keep, KeptRun

HEAD = Head(200, (("Content-Type", "text/plain"),))
DONE = Done(200, 0.5)
LIMIT = 1000
KEEP = Keep(LIMIT, 1000.5, "ada", 7)
EVENTS = new_call(sse=True)
CALLS = {
    "plain": (new_call(), False),
    "events": (EVENTS, True),
    "events-of-streams": (new_call(sse_streams=True), True),
    "detached": (new_call(detach=True), True),
}


def item(text: bytes) -> Data:
    """Return a chunk whose size is 200 bytes."""
    body = text.ljust(200 - size(Data(b"", "text")))
    return Data(body, "text")


class Owner:
    """Session of a kernel: it gives the output to one run, and records its cancels."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.cancel_received = asyncio.Event()

    def cancel(self, run: Run, reason: str) -> None:
        self.cancelled.append(reason)
        self.cancel_received.set()

    def holders(self) -> list[Run]:
        return []

    def received(self, message: object) -> None:
        raise AssertionError

    def kernel_died(self, kernel: object, exit: object) -> None:
        raise AssertionError


def new_kernel() -> ScriptedKernel:
    return ScriptedKernel("k1", "owt", None, Owner())


def new_runs(*, resume_window: float = 60, max_ended: int = 10, outlive: bool = True) -> Runs:
    return Runs(
        retention=60, journal=LIMIT, journal_total=100_000, window=800, resume_window=resume_window,
        max_ended=max_ended, outlive=outlive,
    )  # fmt: skip


def restored(kept: KeptRun, runs: Runs | None = None) -> tuple[Run, ScriptedKernel]:
    """Return a run that has begun in a kernel, and that kernel."""
    run, kernel = (runs or new_runs()).restore(kept), new_kernel()
    run.enqueue(Owner())
    run.start(kernel)
    return run, kernel


def claim(body: bytes = b"1") -> Claim:
    return Claim("client-chosen", RequestFacts("POST", "/", "", (), body, "localhost"), "text/plain", None)


@pytest.mark.parametrize(("call", "is_kept"), CALLS.values(), ids=CALLS)
def test_a_run_is_kept_if_its_answer_can_be_asked_for_later(call: Call, is_kept: bool) -> None:
    assert (new_runs().create(call).keep is not None) == is_kept
    assert new_runs(outlive=False).create(call).keep is None


def test_a_kept_run_is_described_for_the_next_frontend() -> None:
    run = new_runs().create(EVENTS)
    assert run.keep == Keep(LIMIT, run.created_at, None, EVENTS.fingerprint())
    run = new_runs().create(new_call(), claim())
    assert run.keep == Keep(LIMIT, run.created_at, None, None, claim().digest)
    coming = Claim("b", RequestFacts("POST", "/", "", (), b"", "localhost", input_size=-1), "", None)
    run = new_runs().create(new_call(), coming)
    assert run.keep == Keep(LIMIT, run.created_at, None, None, b"")


def test_the_fingerprint_of_a_call_is_equal_in_all_processes() -> None:
    target = new_call(None, endpoint=Target("/a"))
    assert new_call("é", session="s").fingerprint() == 3480898950092351431
    assert target.fingerprint() == -8094350956931819323


@async_test
async def test_the_kernel_forgets_a_run_that_is_dropped() -> None:
    runs = new_runs(max_ended=1)
    kernel = new_kernel()
    for _ in range(2):
        run = runs.create(EVENTS)
        kernel.invoke(run.id, run.call, run.keep)
        run.start(kernel)
        run.feed([HEAD, DONE])
    # Of two, one is beyond the limit.
    assert list(kernel.kept) == [run.id]


@async_test
async def test_a_restored_run_is_what_it_was() -> None:
    run, _ = restored(KeptRun("a", EVENTS, KEEP, started=1001.0))
    assert (run.id, run.user, run.created_at, run.fingerprint) == ("a", "ada", 1000.5, 7)
    assert (run.state, run.kernel, run.resumable) == (RunState.RUNNING, "k1", True)
    run.feed([HEAD, item(b"1"), DONE])
    assert (run.state, run.status) == (RunState.DONE, 200)


@async_test
async def test_a_restored_run_goes_on_with_a_window_that_is_smaller_than_a_step_of_this_frontend() -> None:
    runs = Runs(retention=60, journal=LIMIT, journal_total=100_000, window=1_000_000, outlive=True)
    run, kernel = restored(KeptRun("a", EVENTS, KEEP, started=1001.0), runs)
    reader = run.follow()
    run.feed([HEAD, item(b"1")])
    reader.available()
    reader.available()
    assert kernel.credits == [("a", size(HEAD) + 200)]


@async_test
@pytest.mark.parametrize("limit", [LIMIT, 400, 1])
async def test_events_have_the_same_numbers_as_before(limit: int) -> None:
    chunks: list[Chunk] = [item(b"before"), HEAD, *(item(b"%d" % n) for n in range(6))]
    before = Journal()
    before.extend(chunks)
    before.trim(limit, before.end)
    run, _ = restored(KeptRun("a", EVENTS, KEEP, 1001.0, before.dropped, granted=1 << 20))
    run.feed(before.chunks)
    run.feed([item(b"after"), DONE])
    before.extend([item(b"after"), DONE])
    journal = run.journal
    assert journal.first >= before.first
    for number in range(journal.number(journal.first), journal.number(journal.end)):
        resumed = resume(run, number)
        assert isinstance(resumed, Resumed)
        assert resumed.reader.available() == before.read(before.position(number), 1 << 20)[0]
    assert journal.head == HEAD
    assert run.journal.total == before.total


@async_test
async def test_a_reader_that_comes_back_gives_the_credit_that_is_due() -> None:
    dropped = DroppedChunks(2, 328, HEAD, 0)
    run, kernel = restored(KeptRun("a", EVENTS, KEEP, 1001.0, dropped, granted=400))
    run.feed([item(b"1"), item(b"2"), item(b"3")])
    assert kernel.credits == []
    resumed = resume(run, 2)
    assert isinstance(resumed, Resumed)
    assert len(resumed.reader.available()) == 2
    resumed.reader.available()
    # It has taken all, and the kernel knew of 400 bytes.
    assert kernel.credits == [("a", 328 + 600 - 400)]


@async_test
async def test_chunks_that_the_last_reader_had_not_received_are_not_dropped() -> None:
    run, _ = restored(KeptRun("a", EVENTS, KEEP, 1001.0, granted=450))
    run.feed([item(b"%d" % n) for n in range(10)])
    assert (run.journal.first, run.journal.end) == (2, 10)


@async_test
async def test_a_restored_detached_run_waits_for_nobody() -> None:
    run, kernel = restored(KeptRun("a", new_call(detach=True), KEEP, 1001.0))
    run.feed([item(b"%d" % n) for n in range(10)])
    assert run.journal.bytes == LIMIT
    run.wait_for_reader()
    assert not run.ended
    assert sum(amount for _, amount in kernel.credits) == 2000


@async_test
async def test_a_run_that_has_ended_in_its_kernel_waits_for_nobody() -> None:
    # An outline does not say whether the run was detached.
    run, owner = new_runs().restore(KeptRun("a", new_call(), KEEP, ended=1002.0)), Owner()
    run.enqueue(owner)
    run.wait_for_reader()
    assert owner.cancelled == []


@async_test
async def test_a_run_is_not_cancelled_once_a_reader_has_come_back() -> None:
    run, owner = new_runs(resume_window=0.001).restore(KeptRun("a", EVENTS, KEEP, 1001.0)), Owner()
    run.enqueue(owner)
    # The reader left again before the time for the first one was over.
    run.wait_for_reader()
    run.wait_for_reader()
    run.follow()
    # Timers end in order.
    later = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.002, later.set_result, None)
    await later
    assert owner.cancelled == []


@async_test
async def test_the_retention_of_a_restored_run_begins_at_its_end() -> None:
    runs, now = new_runs(), time.time()
    kernel = new_kernel()
    ended = {"a": now - 20, "b": now - 50, "c": now - 70, "d": now - 30}
    for id, ended_at in ended.items():
        kept = KeptRun(id, EVENTS, KEEP, started=now - 90, ended=ended_at)
        kernel.kept[id] = KEEP
        run = runs.restore(kept)
        run.enqueue(Owner())
        run.start(kernel)
        run.feed([HEAD, DONE])
        assert run.ended_at == ended_at
    runs.sort()
    runs.prune()
    assert [run.id for run in runs.all()] == ["b", "d", "a"]
    assert sorted(kernel.kept) == ["a", "b", "d"]


@async_test
async def test_the_resume_window_of_a_restored_run_begins_when_its_reader_left() -> None:
    run, queue = new_runs(resume_window=60).restore(KeptRun("a", EVENTS, KEEP)), Owner()
    run.enqueue(queue)
    run.unread_since = time.time() - 61
    run.wait_for_reader()
    async with asyncio.timeout(20):
        await queue.cancel_received.wait()
    assert queue.cancelled == ["disconnected"]


@async_test
@pytest.mark.parametrize(
    ("chunks", "is_cancelled"),
    [
        ([], True),
        ([HEAD, Data(b"1", "text", result=True)], True),
        ([Stdout("text"), HEAD, Data(b"1", "text")], False),
        ([Prompt("name? ")], False),
    ],
)
async def test_a_restored_run_waits_for_its_client_if_that_got_events(
    chunks: list[Chunk], is_cancelled: bool
) -> None:
    run, _ = restored(KeptRun("a", new_call(sse_streams=True), KEEP, 1001.0))
    queue = Owner()
    run.enqueue(queue)
    run.feed(chunks)
    expect_reader(run)
    assert queue.cancelled == (["disconnected"] if is_cancelled else [])
    run.feed([DONE])


@async_test
async def test_a_restored_run_without_a_client_is_cancelled_after_the_window() -> None:
    run, queue = new_runs(resume_window=0.001).restore(KeptRun("a", EVENTS, KEEP)), Owner()
    run.enqueue(queue)
    run.wait_for_reader()
    assert queue.cancelled == []
    async with asyncio.timeout(20):
        await queue.cancel_received.wait()
    assert queue.cancelled == ["disconnected"]
    run, queue = new_runs(resume_window=60).restore(KeptRun("a", EVENTS, KEEP)), Owner()
    run.enqueue(queue)
    run.wait_for_reader()
    reader = run.follow()
    assert run._abandoned is None
    reader.close()
    run.feed([DONE])


@async_test
async def test_the_output_of_a_run_that_nobody_can_ask_for_is_dropped() -> None:
    run, kernel = restored(KeptRun("a", new_call(), None, 1001.0))
    assert run.abandoned
    run.feed([item(b"1"), item(b"2")])
    assert run.journal.bytes == 0
    assert sum(amount for _, amount in kernel.credits) == 400
    run.feed([DONE])
    assert run.ended
    assert kernel.kept == {}


@async_test
async def test_a_question_is_asked_again_unless_it_was_answered() -> None:
    for received, is_asked in ((0, True), (1, False)):
        run, _ = restored(KeptRun("a", EVENTS, KEEP, 1001.0, received=received))
        run.feed([Prompt("name? ")])
        assert run.input is not None
        assert (run.input.prompt is not None) == is_asked
        run.feed([DONE])


@async_test
async def test_posted_items_are_counted_on() -> None:
    run, kernel = restored(KeptRun("a", EVENTS, KEEP, 1001.0, received=2))
    run.open_input().grant(1000, kernel)
    for number in (1, 2, 3):
        assert run.open_input().post("x", number, 1000, end=False) is None
    assert kernel.messages == [Input("a", b"x", text=True)]
    assert run.open_input().post("x", 5, 1000, end=False) == "out of order"


@async_test
async def test_a_body_comes_no_further() -> None:
    call = new_call(sse=True)
    facts = RequestFacts("POST", "/", "", (), b"", "localhost", input_size=-1)
    call = Call(facts, code="1", sse=True)
    run, _ = restored(KeptRun("a", call, KEEP, 1001.0, received=2))
    assert run.open_input().post("x", None, 1000, end=False) == "is body"


@async_test
async def test_a_repeated_request_finds_the_restored_run() -> None:
    runs = new_runs()
    digest = claim().digest
    run, _ = restored(KeptRun("client-chosen", new_call(), Keep(LIMIT, 1.0, "ada", None, digest), 2.0), runs)
    assert run.resumable
    assert runs.claimed(claim(), "ada") is run
    with pytest.raises(RunTaken):
        runs.claimed(claim(b"2"), "ada")
    with pytest.raises(RunTaken):
        runs.claimed(claim(), "bob")


@async_test
async def test_a_claim_whose_body_was_still_coming_stays_taken() -> None:
    runs = new_runs()
    restored(KeptRun("client-chosen", new_call(), Keep(LIMIT, 1.0, None, None, b""), 2.0), runs)
    with pytest.raises(RunTaken, match="has not come as a whole"):
        runs.claimed(claim(), None)
