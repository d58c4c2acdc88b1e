"""owt.wire.journal: dropped chunks, positions and event numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Stdout, size
from owt.wire.journal import COMPACT, MAX_COUNT, ChunksLost, Journal

PLENTY = 1 << 30
STREAM = Head(200, (("Content-Type", "text/event-stream"),))
DONE = Done(200, 0.1)


def data(amount: int) -> Data:
    return Data(b"x" * (amount - size(Data(b"", "bytes"))), "bytes")


def journal(*chunks: Chunk) -> Journal:
    """Return a journal of these chunks."""
    kept = Journal()
    for chunk in chunks:
        kept.extend([chunk])
    return kept


def test_trim_drops_the_oldest_chunks_beyond_the_limit() -> None:
    kept = journal(data(200), data(210), data(220))
    kept.trim(450, keep=3)
    assert kept.chunks == [data(210), data(220)]
    assert (kept.first, kept.end, kept.bytes, kept.total) == (1, 3, 430, 630)
    assert not kept.complete
    kept.extend([data(500)])
    kept.trim(450, keep=4)
    assert (kept.chunks, kept.first, kept.bytes) == ([], 4, 0)


def test_trim_keeps_chunks_from_the_given_position_on() -> None:
    kept = journal(*[data(200)] * 5)
    kept.trim(1, keep=2)
    assert (kept.first, kept.bytes) == (2, 600)


def test_read_returns_chunks_up_to_a_size_and_at_least_one() -> None:
    kept = journal(data(200), data(300), data(400))
    assert kept.read(0, 1) == ([data(200)], 200)
    assert kept.read(0, 500) == ([data(200), data(300)], 500)
    assert kept.read(1, 10_000) == ([data(300), data(400)], 700)
    assert kept.read(3, 10_000) == ([], 0)


def test_read_returns_a_limited_number_of_small_chunks() -> None:
    kept = journal(*[data(200)] * (MAX_COUNT + 2))
    assert kept.read(1, 10**9) == ([data(200)] * MAX_COUNT, 200 * MAX_COUNT)
    assert kept.read(1 + MAX_COUNT, 10**9) == ([data(200)], 200)


def test_read_of_a_dropped_chunk_raises_chunks_lost() -> None:
    kept = journal(data(200), data(300))
    kept.trim(1, keep=1)
    with pytest.raises(ChunksLost):
        kept.read(0, 10)
    assert kept.read(1, 10) == ([data(300)], 300)
    assert kept.bytes_before(1) == 200


def test_the_list_is_shortened_when_many_chunks_were_dropped() -> None:
    kept, limit = Journal(), 10 * size(Stdout("x"))
    for _ in range(10 * COMPACT):
        kept.extend([Stdout("x")])
        kept.trim(limit, keep=kept.end)
    assert len(kept.chunks) == 10
    assert len(kept._chunks) < 2 * COMPACT + 20


def test_event_numbers_do_not_count_the_head() -> None:
    kept = journal(Stdout("a"), Head(200, ()), data(200), data(300), DONE)
    assert [kept.number(position) for position in range(6)] == [0, 1, 1, 2, 3, 4]
    assert [kept.position(number) for number in range(5)] == [0, 2, 3, 4, 5]


def test_event_numbers_stay_valid_when_chunks_are_dropped() -> None:
    kept = journal(Head(200, ()), data(200), data(300), data(400), DONE)
    kept.trim(600, keep=5)
    assert kept.first == 3
    assert kept.position(2) == 3
    assert kept.read(kept.position(2), PLENTY)[0] == [data(400), DONE]
    with pytest.raises(ChunksLost):
        kept.position(1)


@pytest.mark.parametrize("number", [-1, 5, 10**15])
def test_position_of_an_unknown_event_number_raises_chunks_lost(number: int) -> None:
    with pytest.raises(ChunksLost):
        journal(Head(200, ()), data(200), data(300), DONE).position(number)


def test_position_inside_a_value_raises_chunks_lost() -> None:
    pieces = [Data(b"abc", "bytes", more=True), Data(b"def", "bytes", more=True), Data(b"g", "bytes")]
    kept = journal(Head(200, ()), *pieces, DONE)
    assert [kept.position(0), kept.position(3), kept.position(4)] == [1, 4, 5]
    for number in (1, 2):
        with pytest.raises(ChunksLost):
            kept.position(number)
    kept.trim(1, keep=2)
    with pytest.raises(ChunksLost):
        kept.position(1)
    kept.trim(1, keep=4)
    assert kept.position(3) == 4


def test_a_failure_after_a_partial_value_has_a_position() -> None:
    failed = Failed(500, "exception", "it failed", "")
    kept = journal(Head(200, ()), Data(b"abc", "bytes", more=True), failed, DONE)
    assert kept.read(kept.position(1), PLENTY)[0] == [failed, DONE]


def test_an_adaptors_event_stream_is_cut_at_the_ends_of_its_events() -> None:
    kept = journal(
        STREAM,
        Data(b"data: a\n\ndata: b\r\n\r\nda", "text"),
        Data(b"ta: c\n", "text"),
        Data(b"\n", "bytes"),
        Data(b"1", "json"),
        DONE,
    )
    assert kept.chunks[1:-1] == [
        Data(b"data: a\n\n", "text"),
        Data(b"data: b\r\n\r\n", "text"),
        Data(b"da", "text", more=True),
        Data(b"ta: c\n", "text", more=True),
        Data(b"\n", "text"),
        Data(b"1\n", "text", more=True),
    ]


any_chunk: st.SearchStrategy[Chunk] = st.sampled_from(
    [Stdout("out"), Display({"text/plain": "x"}), Data(b"a", "text"), Data(b"abc", "bytes", True, True)]
)


@given(
    st.lists(any_chunk, max_size=30),
    st.integers(0, 30),
    st.integers(0, 3000),
    st.lists(st.integers(0, 40), max_size=30),
)
def test_the_journal_always_holds_the_newest_chunks(
    chunks: list[Chunk], head_at: int, limit: int, keeps: list[int]
) -> None:
    chunks.insert(head_at, Head(200, ()))
    kept = Journal()
    for chunk, keep in zip(chunks, keeps + [0] * len(chunks), strict=False):
        kept.extend([chunk])
        kept.trim(limit, min(keep, kept.end))
    assert kept.chunks == chunks[kept.first :]
    assert kept.end == len(chunks)
    assert kept.bytes == sum(map(size, kept.chunks))
    assert kept.total == sum(map(size, chunks))
    for position in range(kept.first, kept.end + 1):
        assert kept.bytes_before(position) == sum(map(size, chunks[:position]))
        try:
            again = kept.position(kept.number(position))
        except ChunksLost:
            # Only the head was dropped, or the position is inside a value.
            assert position > 0
            continue
        missed = chunks[min(position, again) : max(position, again)]
        assert all(isinstance(chunk, Head) for chunk in missed)
