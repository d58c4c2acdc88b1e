"""owt.frontend.runs: journals, their readers, and how long runs are known."""

from __future__ import annotations

import asyncio
import time

import pytest
from played import call, scene, settle

from owt.frontend.runs import Reader, Run, Runs, first_error
from owt.wire.call import Caching, Call, RequestFacts
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Stderr, Stdout, size

HEAD = Head(200, ())
DONE = Done(200, 0.1)
FAILED = Failed(500, "exception", "it failed", "")


def data(amount: int) -> Data:
    """A chunk that counts `amount` bytes."""
    return Data(b"x" * (amount - size(Data(b"", "bytes"))), "bytes")


def a_run(journal: int = 1 << 20, step: int = 1) -> Run:
    return Run("r1", call(), journal, step)


def runs(retention: float = 60, journal: int = 1000, total: int = 10_000, most: int = 100) -> Runs:
    return Runs(retention=retention, journal=journal, journal_total=total, window=1000, most=most)


async def everything(reader: Reader) -> list[Chunk]:
    found: list[Chunk] = []
    while chunks := await reader.next():
        found += chunks
    return found


# States


def test_a_run_waits_then_runs_then_is_done() -> None:
    run = a_run()
    assert (run.state, run.started, run.ended, run.status) == ("queued", None, None, None)
    run.begin("k1")
    assert (run.state, run.kernel) == ("running", "k1")
    run.feed([HEAD, data(100), DONE])
    assert (run.state, run.status, run.failure) == ("done", 200, None)
    assert run.started is not None
    assert run.ended is not None
    assert run.created <= run.started <= run.ended


def test_a_run_that_failed_says_how() -> None:
    run = a_run()
    run.feed([HEAD, FAILED, Done(500, 0.1)])
    assert (run.state, run.status, run.failure) == ("failed", 500, FAILED)


def test_a_run_is_failed_from_outside_before_and_after_it_began() -> None:
    for begun in (False, True):
        run = a_run()
        if begun:
            run.begin("k1")
        run.fail(Failed(502, "kernel-died", "it died", ""))
        assert run.status == 502
        [failed, done] = run.chunks
        assert isinstance(failed, Failed)
        assert isinstance(done, Done)
        assert done.seconds >= 0


def test_what_comes_after_the_end_is_dropped() -> None:
    run = a_run()
    run.feed([DONE, data(100)])
    run.feed([data(100), FAILED])
    run.fail(FAILED)
    assert run.chunks == [DONE]
    assert run.state == "done"


def test_the_end_is_told_once() -> None:
    run = a_run()
    told: list[Run] = []
    run.on_end += [told.append, told.append]
    run.feed([HEAD])
    assert told == []
    run.feed([DONE])
    run.feed([DONE])
    assert told == [run, run]


def test_text_is_that_of_one_kind() -> None:
    run = a_run()
    run.feed([Stdout("a"), Stderr("e"), Stdout("b"), Display({"text/plain": "d"}), DONE])
    assert run.text(Stdout) == "ab"
    assert run.text(Stderr) == "e"


# Readers


@scene
async def test_a_reader_gets_what_was_and_what_comes() -> None:
    run = a_run()
    run.feed([HEAD])
    reader = run.reader()
    assert await reader.next() == [HEAD]
    run.feed([Stdout("a")])
    run.feed([Stdout("b")])
    assert await reader.next() == [Stdout("a"), Stdout("b")]
    run.feed([DONE])
    assert await reader.next() == [DONE]
    assert await reader.next() == []
    assert await reader.next() == []


@scene
async def test_a_reader_waits_for_the_next_chunk() -> None:
    run = a_run()
    reader = run.reader()
    waiting = asyncio.create_task(reader.next())
    await settle()
    assert not waiting.done()
    reader.wake()
    await settle()
    assert not waiting.done()
    run.feed([HEAD])
    assert await waiting == [HEAD]


@scene
async def test_every_reader_gets_everything_whenever_it_came() -> None:
    run = a_run()
    first = run.reader()
    following = asyncio.create_task(everything(first))
    run.feed([HEAD, data(100)])
    await settle()
    late = run.reader()
    run.feed([data(200), DONE])
    after = run.reader()
    chunks = [HEAD, data(100), data(200), DONE]
    assert await following == await everything(late) == await everything(after) == chunks


@scene
async def test_a_reader_that_has_begun_loses_nothing_of_what_the_journal_forgets() -> None:
    run = a_run(journal=250)
    reader = run.reader()
    chunks = [data(100) for _ in range(10)]
    run.feed(chunks)
    run.feed([DONE])
    assert await everything(reader) == [*chunks, DONE]
    assert not run.complete


def test_who_comes_after_the_journal_lost_the_beginning_is_told() -> None:
    run = a_run(journal=250)
    run.feed([data(100), data(100)])
    run.reader()
    run.feed([data(100)])
    with pytest.raises(LookupError, match="run r1 no longer holds its beginning"):
        run.reader()


def test_the_journal_keeps_the_newest_within_its_limit() -> None:
    run = a_run(journal=250)
    run.feed([data(100), data(110), data(120)])
    assert run.chunks == [data(110), data(120)]
    assert run.journal_bytes == 230
    assert run.bytes == 330
    run.feed([data(500)])
    assert run.chunks == []
    assert run.journal_bytes == 0


@scene
async def test_a_reader_that_is_closed_gets_nothing_more() -> None:
    run = a_run()
    reader = run.reader()
    waiting = asyncio.create_task(reader.next())
    await settle()
    reader.close()
    assert await waiting == []
    run.feed([HEAD])
    assert await reader.next() == []


def test_a_run_that_lost_its_last_reader_is_told() -> None:
    run = a_run()
    abandoned: list[Run] = []
    run.on_abandoned = abandoned.append
    first, second = run.reader(), run.reader()
    first.close()
    assert (abandoned, run.followed) == ([], True)
    second.close()
    assert (abandoned, run.followed) == ([run], False)
    second.close()
    assert abandoned == [run]


def test_a_run_that_has_ended_is_not_abandoned() -> None:
    run = a_run()
    abandoned: list[Run] = []
    run.on_abandoned = abandoned.append
    reader = run.reader()
    run.feed([DONE])
    reader.close()
    assert abandoned == []


# Credit


def granting(run: Run) -> list[int]:
    grants: list[int] = []
    run.on_grant = grants.append
    return grants


@scene
async def test_what_is_taken_is_granted_when_more_is_asked_for() -> None:
    run = a_run()
    grants = granting(run)
    reader = run.reader()
    run.feed([data(100), data(200)])
    await reader.next()
    assert grants == []
    asking = asyncio.create_task(reader.next())
    await settle()
    assert grants == [300]
    run.feed([data(50)])
    await asking
    assert grants == [300]


@scene
async def test_the_slowest_reader_sets_the_pace() -> None:
    run = a_run()
    grants = granting(run)
    quick, slow = run.reader(), run.reader()
    run.feed([data(100)])
    await quick.next()
    asking = asyncio.create_task(quick.next())
    await settle()
    assert grants == []
    run.feed([data(100)])
    await asking
    # It takes both at once; the quick one has said so of the first only.
    await slow.next()
    waiting = asyncio.create_task(slow.next())
    await settle()
    assert grants == [100]
    waiting.cancel()


@scene
async def test_a_slow_reader_that_leaves_holds_up_nobody() -> None:
    run = a_run()
    grants = granting(run)
    quick, slow = run.reader(), run.reader()
    run.feed([data(100)])
    await quick.next()
    asking = asyncio.create_task(quick.next())
    await settle()
    assert grants == []
    slow.close()
    assert grants == [100]
    asking.cancel()


@scene
async def test_credit_is_granted_in_steps() -> None:
    run = a_run(step=250)
    grants = granting(run)
    reader = run.reader()
    for _ in range(6):
        run.feed([data(100)])
        await reader.next()
    asking = asyncio.create_task(reader.next())
    await settle()
    assert grants == [300, 300]
    asking.cancel()


def test_a_run_that_nobody_follows_goes_on() -> None:
    run = a_run()
    grants = granting(run)
    run.reader().close()
    run.feed([data(100)])
    run.grant()
    assert grants == [100]


@scene
async def test_nothing_is_granted_after_the_end() -> None:
    run = a_run()
    grants = granting(run)
    reader = run.reader()
    run.feed([data(100), DONE])
    assert await everything(reader) == [data(100), DONE]
    assert grants == []


# Which are known


def test_a_run_is_known_while_it_lives_and_for_a_while_after() -> None:
    known = runs()
    run = known.create(call())
    assert known.get(run.id) is run
    assert known.live() == known.all() == [run]
    run.feed([DONE])
    assert known.get(run.id) is run
    assert known.live() == []
    assert known.all() == [run]


def test_ids_cannot_be_guessed() -> None:
    known = runs()
    ids = {known.create(call()).id for _ in range(100)}
    assert len(ids) == 100
    assert {len(id) for id in ids} == {16}


def test_an_ended_run_is_forgotten_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    known = runs(retention=60)
    live, ended = known.create(call()), known.create(call())
    ended.feed([DONE])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 59)
    assert known.all() == [ended, live]
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert known.all() == [live]
    assert known.get(ended.id) is None


def test_the_oldest_ended_runs_make_room() -> None:
    known = runs(total=250)
    first, second, third = (known.create(call()) for _ in range(3))
    for run in (second, first, third):
        run.feed([data(100 - size(DONE)), DONE])
    assert known.all() == [first, third]


def test_no_more_ended_runs_are_known_than_the_limit() -> None:
    known = runs(most=2)
    made = [known.create(call()) for _ in range(5)]
    for run in made:
        run.feed([DONE])
    assert known.all() == made[3:]


def test_a_run_that_never_began_is_forgotten_at_once() -> None:
    known = runs()
    run = known.create(call())
    known.drop(run)
    assert known.get(run.id) is None
    assert known.all() == []


def test_an_ended_run_keeps_nothing_of_what_it_was_sent() -> None:
    known = runs()
    facts = RequestFacts("POST", "/a", "secret=1", (("Authorization", "secret"),), b"secret", "localhost")
    run = known.create(Call(facts, code="secret", kwargs="secret", session="mine"))
    run.feed([DONE])
    assert "secret" not in repr(run.call)
    assert (run.call.request.path, run.call.session) == ("/a", "mine")


def test_a_run_that_is_wanted_for_the_cache_keeps_more() -> None:
    known = Runs(retention=60, journal=100, journal_total=1000, window=1000, cacheable=500)
    plain, wanted = known.create(call()), known.create(call(caching=Caching()))
    for run in (plain, wanted):
        run.feed([data(300)])
    assert (plain.complete, wanted.complete) == (False, True)


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        ([HEAD, data(100), DONE], None),
        ([Head(404, ()), Done(404, 0.1)], 404),
        ([HEAD, data(100), FAILED, Done(500, 0.1)], 500),
        ([Failed(504, "timeout", "", ""), Done(504, 0.1)], 504),
        ([Head(302, ()), Done(302, 0.1)], None),
        ([], None),
    ],
)
def test_the_first_error_shows_that_an_answer_is_no_success(chunks: list[Chunk], status: int | None) -> None:
    assert first_error(chunks) == status
