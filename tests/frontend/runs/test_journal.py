"""owt.frontend.runs.journal: the newest chunks, places and numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.frontend.runs.journal import COMPACT, Journal, Lost
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Stdout, size

PLENTY = 1 << 30
STREAM = Head(200, (("Content-Type", "text/event-stream"),))
DONE = Done(200, 0.1)


def data(amount: int) -> Data:
    return Data(b"x" * (amount - size(Data(b"", "bytes"))), "bytes")


def journal(*chunks: Chunk, limit: int = PLENTY) -> Journal:
    made = Journal(limit)
    for chunk in chunks:
        made.append(chunk)
    return made


def test_it_keeps_the_newest_within_its_limit() -> None:
    kept = journal(data(200), data(210), data(220), limit=450)
    kept.trim(keep=3)
    assert kept.chunks == [data(210), data(220)]
    assert (kept.first, kept.end, kept.bytes, kept.total) == (1, 3, 430, 630)
    assert not kept.complete
    kept.append(data(500))
    kept.trim(keep=4)
    assert (kept.chunks, kept.first, kept.bytes) == ([], 4, 0)


def test_it_forgets_nothing_that_is_to_be_kept() -> None:
    kept = journal(*[data(200)] * 5, limit=1)
    kept.trim(keep=2)
    assert (kept.first, kept.bytes) == (2, 600)


def test_chunks_are_taken_up_to_an_amount_and_at_least_one() -> None:
    kept = journal(data(200), data(300), data(400))
    assert kept.take(0, 1) == ([data(200)], 200)
    assert kept.take(0, 500) == ([data(200), data(300)], 500)
    assert kept.take(1, 10_000) == ([data(300), data(400)], 700)
    assert kept.take(3, 10_000) == ([], 0)


def test_what_is_forgotten_cannot_be_taken() -> None:
    kept = journal(data(200), data(300), limit=1)
    kept.trim(keep=1)
    with pytest.raises(Lost):
        kept.take(0, 10)
    assert kept.take(1, 10) == ([data(300)], 300)
    assert kept.before(1) == 200


def test_the_list_grows_no_longer_than_what_it_holds() -> None:
    kept = Journal(10 * size(Stdout("x")))
    for _ in range(10 * COMPACT):
        kept.append(Stdout("x"))
        kept.trim(keep=kept.end)
    assert len(kept.chunks) == 10
    assert len(kept._chunks) < 2 * COMPACT + 20


def test_events_are_numbered_without_the_head() -> None:
    kept = journal(Stdout("a"), Head(200, ()), data(200), data(300), DONE)
    assert [kept.number(place) for place in range(6)] == [0, 1, 1, 2, 3, 4]
    assert [kept.place(number) for number in range(5)] == [0, 2, 3, 4, 5]


def test_numbers_stay_when_the_oldest_are_forgotten() -> None:
    kept = journal(Head(200, ()), data(200), data(300), data(400), DONE, limit=600)
    kept.trim(keep=5)
    assert kept.first == 3
    assert kept.place(2) == 3
    assert kept.take(kept.place(2), PLENTY)[0] == [data(400), DONE]
    with pytest.raises(Lost):
        kept.place(1)


@pytest.mark.parametrize("number", [-1, 5, 10**15])
def test_a_number_that_was_never_one_is_lost(number: int) -> None:
    with pytest.raises(Lost):
        journal(Head(200, ()), data(200), data(300), DONE).place(number)


def test_nobody_goes_on_in_the_middle_of_a_value() -> None:
    pieces = [Data(b"abc", "bytes", more=True), Data(b"def", "bytes", more=True), Data(b"g", "bytes")]
    kept = journal(Head(200, ()), *pieces, DONE, limit=1)
    assert [kept.place(0), kept.place(3), kept.place(4)] == [1, 4, 5]
    for number in (1, 2):
        with pytest.raises(Lost):
            kept.place(number)
    kept.trim(keep=2)
    with pytest.raises(Lost):
        kept.place(1)
    kept.trim(keep=4)
    assert kept.place(3) == 4


def test_what_follows_a_value_that_was_cut_off_can_be_gone_on_with() -> None:
    failed = Failed(500, "exception", "it failed", "")
    kept = journal(Head(200, ()), Data(b"abc", "bytes", more=True), failed, DONE)
    assert kept.take(kept.place(1), PLENTY)[0] == [failed, DONE]


def test_an_adaptors_own_stream_is_cut_where_its_events_end() -> None:
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
def test_whatever_is_fed_what_is_held_is_the_end_of_it(
    chunks: list[Chunk], head_at: int, limit: int, keeps: list[int]
) -> None:
    chunks.insert(head_at, Head(200, ()))
    kept = Journal(limit)
    for chunk, keep in zip(chunks, keeps + [0] * len(chunks), strict=False):
        kept.append(chunk)
        kept.trim(min(keep, kept.end))
    assert kept.chunks == chunks[kept.first :]
    assert kept.end == len(chunks)
    assert kept.bytes == sum(map(size, kept.chunks))
    assert kept.total == sum(map(size, chunks))
    for place in range(kept.first, kept.end + 1):
        assert kept.before(place) == sum(map(size, chunks[:place]))
        try:
            again = kept.place(kept.number(place))
        except Lost:
            # The head alone is forgotten, or a value is open here.
            assert place > 0
            continue
        missed = chunks[min(place, again) : max(place, again)]
        assert all(isinstance(chunk, Head) for chunk in missed)
