"""What a server's events and a kernel's chunks are, and the value that comes of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from owt.client.events import Event
from owt.jupyter.output_items import (
    Blob,
    Bundle,
    Chunks,
    Cleared,
    Json,
    Named,
    Over,
    Piece,
    Printed,
    Text,
    of_event,
)
from owt.jupyter.result import Received
from owt.wire.chunk import FACTS, Chunk, Data, Display, Head


@dataclass
class Said:
    """What a server says of an answer."""

    type: str = "text/html; charset=utf-8"
    form: str = "text"


def head(type: str) -> Head:
    return Head(200, (("Content-Type", type),))


def value(*pieces: Piece | None) -> object:
    received = Received()
    for piece in pieces:
        if piece is not None:
            received.add(piece)
    return received.value


@pytest.mark.parametrize(
    ("event", "said", "piece"),
    [
        (Event("stdout", "a\n"), Said(), Printed("stdout", "a\n")),
        (Event("stderr", "a\n"), Said(), Printed("stderr", "a\n")),
        (Event("message", "one"), Said(), Text("one")),
        (Event("message", '{"a":1}'), Said(), Json({"a": 1})),
        (Event("message", "1"), Said(), Text("1")),
        (Event("message", "1"), Said("application/x-ndjson"), Json(1)),
        (Event("message", "text"), Said("application/x-ndjson"), Text("text", line=True)),
        (Event("bytes", b"a"), Said("audio/wav"), Blob(b"a", "audio/wav")),
        (Event("result", "done"), Said(), Text("done", returned=True, type=Said().type)),
        (Event("result", '{"a":1}'), Said(), Text('{"a":1}', returned=True, type=Said().type)),
        (Event("result", '{"a":1}'), Said("application/json", "json"), Json({"a": 1}, returned=True)),
        (Event("result", "YWJj"), Said("image/png", "bytes"), Blob(b"abc", "image/png", returned=True)),
        (Event("result", "null"), Said("", "json"), None),
        (Event("result", "2"), Said("", ""), Text("2", returned=True)),
        (Event("done", {"status": 418, "seconds": 1.0}), Said(), Over(418)),
        (Event("message", "hello"), Said("text/event-stream"), Text("hello", line=True)),
        (Event("token", "hello"), Said("text/event-stream"), Named("token", "hello")),
    ],
)
def test_an_event_is_a_piece(event, said, piece):
    assert of_event(event, said) == piece


def test_a_table_or_a_figure_is_a_bundle_and_a_value():
    event = Event("result", '{"text/html":"<b>a</b>","text/plain":"a"}')
    bundle = {"text/html": "<b>a</b>", "text/plain": "a"}
    assert of_event(event, Said("application/json", "json")) == Bundle(bundle, value=True, returned=True)


def test_a_display_may_take_the_place_of_an_earlier_one():
    shown = {"text/plain": "a", FACTS: {"display_id": "d", "update": True, "metadata": {"x": 1}}}
    expected = Bundle({"text/plain": "a"}, metadata={"x": 1}, id="d", update=True)
    assert of_event(Event("display", shown), Said()) == expected
    assert list(Chunks().feed(Display(shown))) == [expected]


def test_of_a_widget_there_is_the_text():
    view = {"version_major": 2, "version_minor": 0, "model_id": "7b8e"}
    shown = {"text/plain": "0%", "application/vnd.jupyter.widget-view+json": view}
    assert of_event(Event("display", shown), Said()) == Bundle({"text/plain": "0%"})
    # In the very kernel that has its model, it is itself.
    assert list(Chunks().feed(Display(shown))) == [Bundle(shown)]


@pytest.mark.parametrize(("clear", "wait"), [("now", False), ("wait", True)])
def test_what_was_displayed_may_make_way(clear: str, wait: bool):
    shown = {FACTS: {"clear": clear}}
    assert of_event(Event("display", shown), Said()) == Cleared(wait)
    assert list(Chunks().feed(Display(shown))) == [Cleared(wait)]


def of(*chunks: Chunk) -> list[Piece]:
    reader = Chunks()
    return [piece for chunk in chunks for piece in reader.feed(chunk)]


def test_chunks_are_the_same_pieces():
    assert of(head("text/html"), Data(b"one", "text"), Data(b"two", "text")) == [Text("one"), Text("two")]
    assert of(head("application/json"), Data(b'{"a":1}', "json", True)) == [Json({"a": 1}, returned=True)]
    assert of(head("image/png"), Data(b"abc", "bytes", True)) == [Blob(b"abc", "image/png", returned=True)]
    assert of(head("application/x-ndjson"), Data(b"1", "json")) == [Json(1)]


def test_a_value_in_several_chunks_is_one_piece():
    assert of(
        head("text/html"), Data("ä".encode()[:1], "text", more=True), Data("ä".encode()[1:], "text")
    ) == [Text("ä")]


def test_an_adaptors_own_events_are_read_from_its_text():
    stream = b'data: {"a": 1}\n\nevent: token\ndata: b\n\nda'
    assert of(head("text/event-stream"), Data(stream, "text"), Data(b"ta: c\n\n", "text")) == [
        Json({"a": 1}),
        Named("token", "b"),
        Text("c", line=True),
    ]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], None),
        ([Printed("stdout", "a")], None),
        ([Text("a", returned=True)], "a"),
        ([Json([1], returned=True)], [1]),
        ([Json([1])], [[1]]),
        ([Text("a"), Text("b")], "ab"),
        ([Blob(b"a", ""), Blob(b"b", "")], b"ab"),
        ([Text("a"), Json({"b": 1})], ["a", {"b": 1}]),
        ([Text("a", line=True), Text("b", line=True)], ["a", "b"]),
        ([Json(1), Json(2, returned=True)], [1, 2]),
        ([Bundle({"text/plain": "x"})], None),
        ([Bundle({"text/plain": "x"}, value=True, returned=True)], {"text/plain": "x"}),
        ([Named("token", "a")], [{"event": "token", "data": "a"}]),
    ],
)
def test_the_value_is_what_was_returned_or_what_was_yielded_together(pieces, expected):
    assert value(*pieces) == expected
