"""owt.frontend.runs.runs: journals, their readers, and how long runs are known."""

from __future__ import annotations

import asyncio
import time

import pytest
from played import call, scene, settle

from owt.frontend.runs.runs import Run, Runs, first_error
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


def runs(retention: float = 60, journal: int = 10_000, total: int = 100_000, most: int = 100) -> Runs:
    return Runs(retention=retention, journal=journal, journal_total=total, window=10000, most=most)




# States


def test_a_run_waits_then_runs_then_is_done() -> None:
    run = a_run()
    assert (run.state, run.started, run.ended, run.status) == ("queued", None, None, None)
    run.begin("k1")
    assert (run.state, run.kernel) == ("running", "k1")
    run.feed([HEAD, data(1000), DONE])
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
        [failed, done] = run.journal.chunks
        assert isinstance(failed, Failed)
        assert isinstance(done, Done)
        assert done.seconds >= 0


def test_what_comes_after_the_end_is_dropped() -> None:
    run = a_run()
    run.feed([DONE, data(1000)])
    run.feed([data(1000), FAILED])
    run.fail(FAILED)
    assert run.journal.chunks == [DONE]
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
    run.feed([data(1000), data(2000)])
    await reader.next()
    assert grants == []
    asking = asyncio.create_task(reader.next())
    await settle()
    assert grants == [3000]
    run.feed([data(500)])
    await asking
    assert grants == [3000]


@scene
async def test_the_slowest_reader_sets_the_pace() -> None:
    run = a_run()
    grants = granting(run)
    quick, slow = run.reader(), run.reader()
    run.feed([data(1000)])
    await quick.next()
    asking = asyncio.create_task(quick.next())
    await settle()
    assert grants == []
    run.feed([data(1000)])
    await asking
    # It takes both at once; the quick one has said so of the first only.
    await slow.next()
    waiting = asyncio.create_task(slow.next())
    await settle()
    assert grants == [1000]
    waiting.cancel()


@scene
async def test_a_slow_reader_that_leaves_holds_up_nobody() -> None:
    run = a_run()
    grants = granting(run)
    quick, slow = run.reader(), run.reader()
    run.feed([data(1000)])
    await quick.next()
    asking = asyncio.create_task(quick.next())
    await settle()
    assert grants == []
    slow.close()
    assert grants == [1000]
    asking.cancel()


@scene
async def test_credit_is_granted_in_steps() -> None:
    run = a_run(step=2500)
    grants = granting(run)
    reader = run.reader()
    for _ in range(6):
        run.feed([data(1000)])
        await reader.next()
    asking = asyncio.create_task(reader.next())
    await settle()
    assert grants == [3000, 3000]
    asking.cancel()


def test_a_run_that_nobody_follows_waits_for_somebody_to_come_back() -> None:
    run = a_run()
    grants = granting(run)
    run.reader().close()
    run.feed([data(1000)])
    run.grant()
    assert grants == []


@scene
async def test_who_comes_back_is_granted_for_what_it_takes_beyond_the_one_that_left() -> None:
    run = a_run()
    grants = granting(run)
    first = run.reader()
    run.feed([data(1000), data(1000)])
    await first.next()
    asking = asyncio.create_task(first.next())
    await settle()
    first.close()
    assert await asking == []
    assert grants == [2000]
    run.feed([data(1000)])
    again = run.reader(after=1)
    assert await again.next() == [data(1000), data(1000)]
    asking = asyncio.create_task(again.next())
    await settle()
    assert grants == [2000, 1000]
    asking.cancel()


@scene
async def test_a_detached_run_waits_for_nobody_also_not_for_its_readers() -> None:
    run = a_run()
    grants = granting(run)
    run.detach()
    run.feed([data(1000)])
    assert grants == [1000]
    slow = run.reader()
    await slow.next()
    # It takes no more, and asks for nothing.
    run.feed([data(1000)])
    run.feed([data(1000)])
    assert grants == [1000, 1000, 1000]


def test_a_run_that_is_detached_on_its_way_gets_what_it_waited_for() -> None:
    run = a_run()
    grants = granting(run)
    run.feed([data(1000)])
    assert grants == []
    run.detach()
    assert grants == [1000]


@scene
async def test_nothing_is_granted_after_the_end() -> None:
    run = a_run()
    grants = granting(run)
    reader = run.reader()
    run.feed([data(1000), DONE])
    assert await reader.next() == [data(1000), DONE]
    assert await reader.next() == []
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
    known = runs(total=10000, journal=4000)
    first, second, third = (known.create(call()) for _ in range(3))
    for run in (second, first, third):
        run.feed([data(4000 - size(DONE)), DONE])
    assert known.all() == [first, third]


def test_live_runs_share_what_all_journals_may_hold() -> None:
    known = runs(total=10000, journal=6000)
    made = [known.create(call()) for _ in range(4)]
    for run in made:
        run.detach()
        run.feed([data(1500)] * 4)
    assert [run.journal.bytes for run in made] == [1500] * 4
    for run in made:
        run.feed([DONE])
    assert sum(run.journal.bytes for run in known.all()) <= 10000


def test_live_runs_push_out_ended_ones() -> None:
    known = runs(total=10000, journal=6000)
    ended = known.create(call())
    ended.feed([data(5000), DONE])
    live = known.create(call())
    live.detach()
    live.feed([data(5000)])
    assert known.all() == [live]


def test_what_a_reader_has_yet_to_take_is_kept_whatever_the_limits() -> None:
    known = runs(total=2000, journal=2000)
    run = known.create(call())
    run.reader()
    run.feed([data(1500)] * 4)
    known.create(call())
    assert run.journal.bytes == 6000


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
    known = Runs(retention=60, journal=1000, journal_total=100000, window=10000, cacheable=5000)
    plain, wanted = known.create(call()), known.create(call(caching=Caching()))
    for run in (plain, wanted):
        run.detach()
        run.feed([data(3000)])
    assert (plain.journal.complete, wanted.journal.complete) == (False, True)


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
def test_the_first_error_shows_that_an_answer_is_no_success(chunks: list[Chunk], status: int | None) -> None:
    assert first_error(chunks) == status
