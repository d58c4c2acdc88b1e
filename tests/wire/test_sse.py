"""The text/event-stream format."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owt.wire.sse import Decoder, Event, EventWriter, comment, encode

# Text that a stream can carry: any, except lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]))
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(ends)]


def decode(*pieces: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (encode("hello"), b"data: hello\n\n"),
        (encode(""), b"data: \n\n"),
        (
            encode("a\nb\rc\r\nd\n"),
            b"data: a\ndata: b\n:owt cr\ndata: c\n:owt crlf\ndata: d\ndata: \n\n",
        ),
        (encode(" x"), b"data:  x\n\n"),
        (encode("é".encode()), b"data: \xc3\xa9\n\n"),
        (
            encode("x", "tick", id="7"),
            b"event: tick\nid: 7\ndata: x\n\n",
        ),
        (encode("x", id=""), b"id: \ndata: x\n\n"),
        (encode("x", event=""), b"data: x\n\n"),
        (comment(), b": \n"),
        (comment("keep\nalive"), b": keep\n: alive\n"),
    ],
)
def test_encode_and_comment_write_expected_bytes(written: bytes, expected: bytes) -> None:
    assert written == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event": "a\nb"}, "an event's event cannot hold a line end: 'a\\nb'"),
        ({"id": "a\r"}, "an event's id cannot hold a line end: 'a\\r'"),
        ({"id": "a\0"}, "an event's id cannot hold NUL: 'a\\x00'"),
    ],
)
def test_encode_refuses_fields_that_readers_would_lose(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        encode("x", **arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message


@given(texts, lines, lines, st.lists(st.integers(0, 10**6)))
def test_encoded_events_are_decoded_whatever_the_cuts(
    data: str, event: str, id: str, places: list[int]
) -> None:
    assert decode(*cut(encode(data, event, id), places)) == [Event(data, event or "message", id)]


@given(texts, st.sampled_from([None, "result"]), st.lists(st.integers(0, 10**6)))
def test_an_event_in_pieces_equals_the_event_written_at_once(
    data: str, name: str | None, places: list[int]
) -> None:
    writer = EventWriter(name)
    pieces = [writer.write(piece) for piece in cut(data.encode(), places)]
    assert b"".join([writer.open(), *pieces, writer.close()]) == encode(data, name)


def test_a_line_end_cut_in_two_is_one_line_end() -> None:
    writer = EventWriter()
    written = [writer.write(piece) for piece in (b"a\r", b"\n", b"\nb\r", b"\r", b"", b"\nc")]
    assert written == [
        b"a",
        b"\n:owt crlf\ndata: ",
        b"\ndata: b",
        b"\n:owt cr\ndata: ",
        b"",
        b"\n:owt crlf\ndata: c",
    ]
    assert decode(writer.open() + b"".join(written) + writer.close()) == [Event("a\r\n\nb\r\r\nc")]


def test_an_abandoned_event_arrives_as_incomplete() -> None:
    writer = EventWriter("result")
    written = writer.open() + writer.write(b"half") + writer.abandon()
    assert written == b"event: result\ndata: half\nevent: incomplete\n\n"
    assert decode(written) == [Event("half", "incomplete")]


@given(st.binary(), st.lists(st.integers(0, 10**6)))
def test_decoding_does_not_depend_on_cuts(data: bytes, places: list[int]) -> None:
    assert decode(*cut(data, places)) == decode(data)


@given(st.lists(st.sampled_from([b"data:x", b"event:e", b"id:1", b"\r", b"\n", b"\r\n", b":", b" "])))
def test_decoding_does_not_depend_on_a_cut_at_every_byte(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == decode(data)


# The examples of the HTML standard, section 9.2.6, and the rules beside them.
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [Event("first event", id="1"), Event("second event"), Event(" third event")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [Event(""), Event("\n")]),
        (b"data:test\n\ndata: test\n\n", [Event("test"), Event("test")]),
        (b"\xef\xbb\xbfdata: bom\n\n", [Event("bom")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Event("a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: b\n\n", []),
        (b"data: a\r\rdata: b\r\n\r\n", [Event("a"), Event("b")]),
        (b"event: only a name\n\ndata: x\n\n", [Event("x")]),
        (b"id: 1\n\ndata: x\n\n", [Event("x", id="1")]),
        (b"id: 1\ndata: x\n\ndata: y\nid: 2\0\n\n", [Event("x", id="1"), Event("y", id="1")]),
        (b"Data: no\n data: no\ndata : no\nother: no\ndata: yes\n\n", [Event("yes")]),
        (b"data: a:b: c\n\n", [Event("a:b: c")]),
        (b"event: a\nevent: b\ndata: x\n\n", [Event("x", "b")]),
        (b"event: a\nevent:\ndata: x\n\n", [Event("x")]),
        (b"data: \xff\xc3\n\n", [Event("\ufffd\ufffd")]),
        (b"data: cut off\n", []),
    ],
)
def test_examples_are_decoded_as_in_the_standard(stream: bytes, events: list[Event]) -> None:
    assert decode(stream) == events


def test_the_last_event_id_is_that_of_the_last_complete_event() -> None:
    decoder = Decoder()
    decoder.feed(b"id: 1\ndata: x\n\nid: 2\ndata: y\n")
    assert decoder.last_event_id == "1"
    decoder.feed(b"\n")
    assert decoder.last_event_id == "2"


def as_the_standard_says(stream: bytes) -> tuple[list[Event], str]:
    """Return events and last event id by the rules of sections 9.2.5 and 9.2.6."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    events: list[Event] = []
    data = event = buffer = last = ""
    for line in re.split("\r\n|\n|\r", text)[:-1]:
        if line == "":
            last = buffer
            if data:
                events.append(Event(data[:-1], event or "message", last))
            data = event = ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event = value
            elif field == "data":
                data += value + "\n"
            elif field == "id" and "\0" not in value:
                buffer = value
    return events, last


pieces_of_streams = st.sampled_from(
    ["data", "event", "id", "retry", ":", ": ", " ", "\n", "\r", "\r\n", "\ufeff", "\0", "7", "x", "é"]
)
streams = (
    st.lists(pieces_of_streams.map(str.encode) | st.binary(max_size=3)).map(b"".join)
    | st.lists(st.tuples(pieces_of_streams, texts).map(":".join)).map("\n".join).map(str.encode)
    | st.binary()
)


@settings(max_examples=500)
@given(streams, st.lists(st.integers(0, 10**6), max_size=4))
def test_any_stream_is_decoded_as_in_the_standard_whatever_the_cuts(stream: bytes, places: list[int]) -> None:
    decoder = Decoder()
    events = [event for piece in cut(stream, places) for event in decoder.feed(piece)]
    assert (events, decoder.last_event_id) == as_the_standard_says(stream)


@given(st.text("\r\n: ax") | texts, st.integers(0, 10**6))
def test_a_standard_reader_gets_every_line_end_as_lf(data: str, place: int) -> None:
    writer = EventWriter()
    pieces = [writer.write(piece) for piece in cut(data.encode(), [place])]
    for stream in (encode(data), b"".join([writer.open(), *pieces, writer.close()])):
        [event], _ = as_the_standard_says(stream)
        assert event.data == data.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b":owt cr\ndata: a\ndata: b\n\n", [Event("a\nb")]),
        (b":owt json\ndata: 1\n\ndata: 1\n\n", [Event("1", form="json"), Event("1")]),
        (b":owt base64\ndata: YQ==\n\n", [Event("YQ==", form="bytes")]),
        (b"data: a\n:owt cr\n\ndata: b\ndata: c\n\n", [Event("a"), Event("b\nc")]),
        (b"data: a\n:owt crs\ndata: b\n: owt crlf\ndata: c\n\n", [Event("a\nb\r\nc")]),
        (b"data: a\n:owt cr\nid: 7\ndata: b\n\n", [Event("a\rb", id="7")]),
    ],
)
def test_a_comment_restores_the_line_end_before_it(stream: bytes, events: list[Event]) -> None:
    assert decode(stream) == events


tricky = st.text("\r\n: \0\ufeffdataeventid1é☕") | texts
written = st.one_of(
    st.tuples(tricky, lines, st.none() | lines).map(lambda fields: (encode(*fields), fields)),
    tricky.map(lambda text: (comment(text), None)),
)


@given(st.lists(written), st.lists(st.integers(0, 10**6), max_size=4))
def test_events_between_comments_are_decoded_in_order(
    sent: list[tuple[bytes, tuple[str, str, str | None] | None]], places: list[int]
) -> None:
    expected = []
    last = ""
    for _, event in sent:
        if event is not None:
            data, name, id = event
            last = last if id is None else id
            expected.append(Event(data, name or "message", last))
    assert decode(*cut(b"".join(stream for stream, _ in sent), places)) == expected


@given(tricky, st.sampled_from([None, "result"]), st.lists(st.integers(0, 10**6)), texts)
def test_an_abandoned_event_is_incomplete_and_the_next_one_complete(
    data: str, name: str | None, places: list[int], after: str
) -> None:
    writer = EventWriter(name)
    pieces = [writer.write(piece) for piece in cut(data.encode(), places)]
    stream = b"".join([writer.open(), *pieces, writer.abandon(), encode(after)])
    assert decode(stream) == [Event(data, "incomplete"), Event(after)]
