"""owt.frontend.runs.reader: who follows a run gets everything, once, in order."""

from __future__ import annotations

import asyncio

import pytest
from played import call, scene, settle

from owt.frontend.runs.journal import Lost
from owt.frontend.runs.reader import BATCH, Reader
from owt.frontend.runs.runs import Run
from owt.wire.chunk import Chunk, Data, Done, Head, Stdout, size

HEAD = Head(200, ())
DONE = Done(200, 0.1)


def data(amount: int) -> Data:
    """A chunk that counts `amount` bytes."""
    return Data(b"x" * (amount - size(Data(b"", "bytes"))), "bytes")


def a_run(journal: int = 1 << 20) -> Run:
    return Run("r1", call(), journal)


async def everything(reader: Reader) -> list[Chunk]:
    found: list[Chunk] = []
    while chunks := await reader.next():
        found += chunks
    return found


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
    assert not run.journal.complete


@scene
async def test_who_comes_after_the_journal_lost_the_beginning_is_told() -> None:
    run = a_run(journal=250)
    reader = run.reader()
    run.feed([data(150), data(150)])
    await reader.next()
    assert run.journal.complete
    asking = asyncio.create_task(reader.next())
    await settle()
    asking.cancel()
    with pytest.raises(Lost):
        run.reader()


@scene
async def test_a_reader_is_given_no_more_than_a_batch_at_once() -> None:
    run = a_run()
    reader = run.reader()
    chunks = [data(BATCH // 2)] * 5
    run.feed(chunks)
    assert await reader.next() == chunks[:2]
    assert await reader.next() == chunks[2:4]
    assert await reader.next() == chunks[4:]


@scene
async def test_what_is_larger_than_a_batch_comes_alone() -> None:
    run = a_run(journal=1)
    reader = run.reader()
    chunks = [data(2 * BATCH)] * 2
    run.feed(chunks)
    assert await reader.next() == chunks[:1]
    assert await reader.next() == chunks[1:]


@scene
async def test_who_comes_back_gets_what_follows_and_nothing_twice() -> None:
    run = a_run()
    run.feed([Stdout("1"), HEAD, data(200), data(300), data(400), DONE])
    events = [Stdout("1"), data(200), data(300), data(400), DONE]
    assert await everything(run.reader(after=0)) == [Stdout("1"), HEAD, *events[1:]]
    for after in range(1, 6):
        assert await everything(run.reader(after=after)) == events[after:], after


@scene
async def test_a_slow_follower_of_a_detached_run_is_told_what_it_has_lost() -> None:
    run = a_run(journal=250)
    run.detach()
    reader = run.reader()
    run.feed([data(150)] * 5)
    with pytest.raises(Lost):
        await reader.next()


@scene
async def test_what_was_taken_is_forgotten_beyond_the_limit_when_more_is_asked_for() -> None:
    run = a_run(journal=250)
    reader = run.reader()
    run.feed([data(150)] * 4)
    await reader.next()
    assert run.journal.bytes == 600
    asking = asyncio.create_task(reader.next())
    await settle()
    assert run.journal.bytes == 150
    asking.cancel()


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
