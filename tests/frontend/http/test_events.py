"""owt.frontend.http.events: chunks as Server-Sent Events, with ids for resuming."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.frontend.http.events import Events
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Form, Head, Stderr, Stdout
from owt.wire.journal import Journal
from owt.wire.sse import Decoder, Event

HTML = ("Content-Type", "text/html; charset=utf-8")
STREAM = ("Content-Type", "text/event-stream")
RUN = ("Owt-Run", "r1")
UNBUFFERED = [("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")]
NOISE = (Stdout("a"), Stderr("b"), Display({"text/plain": "c"}))
FAILED = Failed(500, "exception", "the adaptor raised", "no", "ValueError", "Traceback\nValueError: no")
PROBLEM = {
    "type": "urn:owt:exception",
    "title": "the adaptor raised",
    "status": 500,
    "detail": "no",
    "exception": "ValueError",
    "traceback": "Traceback\nValueError: no",
    "run": "r1",
    "session": None,
}


def journal(*chunks: Chunk) -> Journal:
    result = Journal()
    for chunk in chunks:
        result.extend([chunk])
    return result


def written(chunks: Iterable[Chunk], answer: Events | None = None) -> bytes:
    answer = answer or Events("r1", None)
    return b"".join(piece for chunk in chunks for piece in answer.render(chunk))


def events(*chunks: Chunk) -> bytes:
    """Return the body of a whole run's events, without the preamble."""
    answer = Events("r1", None)
    assert answer.started
    body = written(journal(*chunks).chunks, answer)
    assert (answer.status, answer.finished, answer.aborted) == (200, True, False)
    return body


def head(*headers: tuple[str, str], status: int = 200) -> Head:
    return Head(status, headers)


def test_an_event_stream_starts_before_the_first_chunk() -> None:
    answer = Events("r1", "s")
    assert (answer.started, answer.finished, answer.status) == (True, False, 200)
    assert answer.headers == [
        ("Content-Type", "text/event-stream; charset=utf-8"),
        *UNBUFFERED,
        RUN,
        ("Owt-Session", "s"),
    ]
    assert answer.opening() == b"retry: 1000\nid: r1-0\n"


def test_a_browser_gets_an_id_before_the_first_event() -> None:
    """The id counts from an empty line on, also if the connection ends before the first event."""
    decoder = Decoder()
    assert decoder.feed(Events("r1", "s", by_browser=True).opening()) == []
    assert decoder.last_event_id == "r1-0"


def test_the_opening_is_no_event_of_its_own() -> None:
    """Clients that copied httpx-sse take each empty line after a field for the end of an event."""
    answer = Events("r1", None)
    pieces = [answer.opening(), answer.keepalive(), *answer.render(Stdout("a")), *answer.render(Done(200, 0))]
    text = b"".join(pieces)
    blocks = text.split(b"\n\n")
    assert [b"\ndata:" in block for block in blocks] == [True, True, False]
    assert blocks[-1] == b""


def test_every_chunk_is_an_event() -> None:
    chunks = (
        Stdout("one\ntwo\n"),
        head(HTML, status=404),
        Data(b"line 1\r\nline 2", "text"),
        Stderr("careful"),
        Data(b'{"a":1}', "json"),
        Data(b"\x00\xff", "bytes"),
        Display({"text/plain": "x", "image/png": "iVBOR"}, {"width": 3}),
        Data(b"[2]", "json", result=True),
        Done(404, 0.5),
    )
    assert events(*chunks) == (
        b"event: stdout\nid: r1-1\ndata: one\ndata: two\ndata: \n\n"
        b"id: r1-2\ndata: line 1\n:owt crlf\ndata: line 2\n\n"
        b"event: stderr\nid: r1-3\ndata: careful\n\n"
        b'id: r1-4\n:owt json\ndata: {"a":1}\n\n'
        b"event: bytes\nid: r1-5\ndata: AP8=\n\n"
        b'event: display\nid: r1-6\ndata: {"text/plain":"x","image/png":"iVBOR"}\n\n'
        b"event: result\nid: r1-7\n:owt json\ndata: [2]\n\n"
        b'event: done\nid: r1-8\ndata: {"status":404,"seconds":0.5}\n\n'
    )


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (Data(b"a\nb", "text", True), b"event: result\nid: r1-1\ndata: a\ndata: b\n\n"),
        (Data(b"", "text", True), b"event: result\nid: r1-1\ndata: \n\n"),
        (Data(b"null", "json", True), b"event: result\nid: r1-1\n:owt json\ndata: null\n\n"),
        (Data(b"\xff", "bytes", True), b"event: result\nid: r1-1\n:owt base64\ndata: /w==\n\n"),
    ],
)
def test_a_returned_value_is_the_result(data: Data, body: bytes) -> None:
    assert written([head(HTML), data]) == body


def test_a_large_value_is_one_event_written_in_pieces() -> None:
    answer = Events("r1", None)
    chunks: Iterable[Chunk] = (
        Data(b"\xc3", "text", more=True),
        Data(b"\xa9\r", "text", more=True),
        Data(b"\nb", "text"),
        Data(b"abc", "bytes", True, True),
        Data(b"de", "bytes", True),
    )
    assert [b"".join(answer.render(chunk)) for chunk in chunks] == [
        b"data: \xc3",
        b"\xa9",
        b"\n:owt crlf\ndata: b\nid: r1-3\n\n",
        b"event: result\n:owt base64\ndata: YWJj",
        b"ZGU=\nid: r1-5\n\n",
    ]


@given(
    st.binary() | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode),
    st.lists(st.integers(0, 30)),
    st.sampled_from(["text", "bytes"]),
    st.booleans(),
)
def test_pieces_of_a_value_are_decoded_as_one_event(
    body: bytes, sizes: list[int], form: Form, result: bool
) -> None:
    if form == "text":
        body = body.decode("utf-8", "replace").encode()
    chunks: list[Chunk] = []
    rest = body
    for size in sizes:
        chunks.append(Data(rest[: size * 3], form, result, True))
        rest = rest[size * 3 :]
    chunks.append(Data(rest, form, result))
    [event, done] = Decoder().feed(events(*chunks, Done(200, 0)))
    assert done.event == "done"
    name = "result" if result else "bytes" if form == "bytes" else "message"
    if form == "bytes":
        assert (event.event, base64.b64decode(event.data)) == (name, body)
    else:
        assert event == Event(body.decode(), name, f"r1-{len(chunks)}")


def test_a_failure_is_an_error_event_followed_by_done() -> None:
    decoded = Decoder().feed(events(head(HTML), Data(b"x", "text"), FAILED, Done(500, 1.5)))
    assert [event.event for event in decoded] == ["message", "error", "done"]
    assert json.loads(decoded[1].data) == PROBLEM
    assert json.loads(decoded[2].data) == {"status": 500, "seconds": 1.5}


def test_a_value_cut_off_by_a_failure_is_incomplete() -> None:
    chunks = (Data(b"ha", "text", True, True), Data(b"lf", "text", True, True))
    decoded = Decoder().feed(events(*chunks, FAILED, Done(500, 0)))
    assert decoded[0] == Event("half", "incomplete", "r1-2")
    assert [(event.event, event.id) for event in decoded[1:]] == [("error", "r1-3"), ("done", "r1-4")]


def test_a_chunk_between_pieces_makes_the_value_incomplete() -> None:
    decoded = Decoder().feed(events(Data(b"half", "text", True, True), Stdout("x"), Done(200, 0)))
    assert decoded[:2] == [Event("half", "incomplete", "r1-1"), Event("x", "stdout", "r1-2")]


def test_a_value_cut_off_by_the_end_is_incomplete() -> None:
    decoded = Decoder().feed(events(Data(b"half", "text", True, True), Done(500, 0)))
    assert [event.event for event in decoded] == ["incomplete", "done"]


def test_an_adaptors_own_event_stream_passes_through_with_ids() -> None:
    chunks = (
        Stdout("before"),
        head(STREAM),
        Data(b"event: x\r\nda", "text"),
        *NOISE,
        Data(b"ta: \xff\r\n\r\nid: mine\ndata: y\n\n", "bytes"),
        Data(b"1", "json"),
        Done(200, 0),
    )
    assert events(*chunks) == (
        b"event: stdout\nid: r1-1\ndata: before\n\n"
        b"event: x\r\ndata: \xff\r\nid: r1-6\n\r\n"
        b"id: mine\ndata: y\nid: r1-7\n\n"
        b"1\n"
    )


@pytest.mark.parametrize(
    ("pieces", "closing"),
    [
        ([b"data: x\n\n"], b""),
        ([b"data: x\n", b"\n"], b""),
        ([b"data: x\r\n", b"\r", b"\n"], b""),
        ([b"data: x\r", b"\r"], b""),
        ([], b""),
        ([b"data: x\n"], b"event: incomplete\n\n"),
        ([b"data: x\r"], b"event: incomplete\n\n"),
        ([b"data: x"], b"\nevent: incomplete\n\n"),
        ([b"data: x\r\n"], b"event: incomplete\n\n"),
    ],
)
def test_a_failure_in_an_adaptors_own_event_stream_closes_it_first(
    pieces: list[bytes], closing: bytes
) -> None:
    data = [Data(piece, "text") for piece in pieces]
    whole = events(head(STREAM), *data, FAILED, Done(500, 0))
    without_ids = re.sub(rb"id: r1-\d+\n", b"", whole)
    start = b"".join(pieces) + closing + b"event: error\ndata: {"
    assert without_ids[: len(start)] == start
    decoded = Decoder().feed(whole)
    assert [event.event for event in decoded[-2:]] == ["error", "done"]
    assert json.loads(decoded[-2].data) == PROBLEM
    expected = ["incomplete" if closing else "message"] if pieces else []
    assert [event.event for event in decoded[:-2]] == expected


any_chunk: st.SearchStrategy[Chunk] = st.sampled_from(
    [*NOISE, Data(b"a", "text"), Data(b"abc", "bytes", False, True), Data(b"1", "json", True), FAILED]
)


@given(st.lists(any_chunk))
def test_the_last_event_is_always_done(chunks: list[Chunk]) -> None:
    decoded = Decoder().feed(events(*chunks, Done(200, 0)))
    assert [event.event for event in decoded].index("done") == len(decoded) - 1


@given(st.lists(any_chunk, max_size=12), st.integers(0, 12), st.data())
def test_resuming_after_any_event_gives_the_rest_once(
    chunks: list[Chunk], head_at: int, data: st.DataObject
) -> None:
    chunks.insert(head_at, head(HTML))
    kept = journal(*chunks, Done(200, 0))
    whole = Decoder().feed(written(kept.chunks))
    seen = data.draw(st.integers(0, len(whole)))
    after = int(whole[seen - 1].id.removeprefix("r1-")) if seen else 0
    rest = kept.read(kept.position(after), 1 << 30)[0]
    again = Events("r1", None, after=after, head=kept.head)
    assert again.opening() == f"retry: 1000\nid: r1-{after}\n".encode()
    assert Decoder().feed(written(rest, again)) == whole[seen:]


@given(
    st.lists(st.sampled_from([b"data: x", b"\n", b"\r", b"\r\n", b": c", b"\n\n", b"event: e"]), max_size=25),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_resuming_an_adaptors_event_stream_gives_the_rest_once(
    lines: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(lines)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [Data(stream[a:b], "text") for a, b in itertools.pairwise(places)]
    kept = journal(head(STREAM), *parts, Done(200, 0))
    whole = Decoder().feed(written(kept.chunks))
    assert [(event.event, event.data) for event in whole] == [
        (event.event, event.data) for event in Decoder().feed(stream)
    ]
    for seen, event in enumerate(whole, 1):
        after = int(event.id.removeprefix("r1-"))
        rest = kept.read(kept.position(after), 1 << 30)[0]
        assert Decoder().feed(written(rest, Events("r1", None, after=after, head=kept.head))) == whole[seen:]


def test_resuming_a_failed_adaptors_event_stream_gives_the_same_end() -> None:
    kept = journal(head(STREAM), Data(b"data: x\n\n", "text"), FAILED, Done(500, 0))
    whole = Decoder().feed(written(kept.chunks))
    assert [event.event for event in whole] == ["message", "error", "done"]
    for seen in (1, 2):
        again = Events("r1", None, after=seen, head=kept.head, failed=True)
        assert Decoder().feed(written(kept.read(kept.position(seen), 1 << 30)[0], again)) == whole[seen:]


def test_a_keepalive_comment_is_sent_between_events_only() -> None:
    answer = Events("r1", None)
    assert answer.keepalive() == b": \n"
    written([Data(b"half", "text", more=True)], answer)
    assert answer.keepalive() == b""
    written([Data(b"half", "text")], answer)
    assert answer.keepalive() == b": \n"


@pytest.mark.parametrize(
    ("part", "comment"), [(b"data: x", b""), (b"data: x\n", b": \n"), (b"data: x\r", b""), (b"", b": \n")]
)
def test_a_keepalive_comment_never_splits_a_line_of_the_adaptor(part: bytes, comment: bytes) -> None:
    answer = Events("r1", None, head=head(STREAM))
    written([Data(part, "text", more=True)], answer)
    assert answer.keepalive() == comment
