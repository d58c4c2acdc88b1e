"""owt.jupyter.output_items: items of events and of chunks, and the result."""

from __future__ import annotations

import pytest

from owt.client.events import Event
from owt.jupyter.output_items import (
    AdaptorEvent,
    Blob,
    ChunkReader,
    ClearOutput,
    End,
    JsonValue,
    MimeBundle,
    OutputItem,
    Printed,
    ResultCollector,
    RunInfo,
    TextValue,
    item_of_event,
)
from owt.wire.chunk import FACTS, Chunk, Data, Display, Head

HTML = "text/html; charset=utf-8"


def info(type: str = HTML) -> RunInfo:
    """Return what the server knows about a run whose response has this Content-Type."""
    info = RunInfo(lambda run: {"content_type": type})
    info.run = "r1"
    return info


def head(type: str) -> Head:
    return Head(200, (("Content-Type", type),))


def value(*items: OutputItem | None) -> object:
    collector = ResultCollector()
    for item in items:
        if item is not None:
            collector.add(item)
    return collector.value


@pytest.mark.parametrize(
    ("event", "run_info", "item"),
    [
        (Event("stdout", "a\n"), info(), Printed("stdout", "a\n")),
        (Event("stderr", "a\n"), info(), Printed("stderr", "a\n")),
        (Event("message", "one"), info(), TextValue("one")),
        (Event("message", '{"a":1}'), info(), JsonValue({"a": 1})),
        (Event("message", "1"), info(), TextValue("1")),
        (Event("message", "1"), info("application/x-ndjson"), JsonValue(1)),
        (Event("message", "text"), info("application/x-ndjson"), TextValue("text", line=True)),
        (Event("bytes", b"a"), info("audio/wav"), Blob(b"a", "audio/wav")),
        (Event("result", "done"), info(), TextValue("done", returned=True, type=HTML)),
        (Event("result", '{"a":1}'), info(), TextValue('{"a":1}', returned=True, type=HTML)),
        (Event("result", '{"a":1}', is_json=True), info(), JsonValue({"a": 1}, returned=True)),
        (Event("result", "2", is_json=True), info(), JsonValue(2, returned=True)),
        (Event("result", "null", is_json=True), info(), None),
        (Event("result", b"abc"), info("image/png"), Blob(b"abc", "image/png", returned=True)),
        (Event("result", "null"), info(""), TextValue("null", returned=True)),
        (Event("result", '{"a":1}\n'), info("application/json"), JsonValue({"a": 1}, returned=True)),
        (Event("result", "{"), info("a/b+json"), TextValue("{", returned=True, type="a/b+json")),
        (Event("done", {"status": 418, "seconds": 1.0}), info(), End(418)),
        (Event("message", "hello"), info("text/event-stream"), TextValue("hello", line=True)),
        (Event("token", "hello"), info("text/event-stream"), AdaptorEvent("token", "hello")),
    ],
)
def test_an_event_becomes_an_item(event, run_info, item):
    assert item_of_event(event, run_info) == item


def test_a_table_or_figure_is_a_bundle_and_a_value():
    event = Event("result", '{"text/html":"<b>a</b>","text/plain":"a"}', is_json=True)
    bundle = {"text/html": "<b>a</b>", "text/plain": "a"}
    expected = MimeBundle(bundle, value=True, returned=True)
    assert item_of_event(event, info("application/json")) == expected


def test_a_display_with_an_id_may_update_an_earlier_one():
    bundle = {"text/plain": "a", FACTS: {"display_id": "d", "update": True, "metadata": {"x": 1}}}
    expected = MimeBundle({"text/plain": "a"}, metadata={"x": 1}, id="d", update=True)
    assert item_of_event(Event("display", bundle), info()) == expected
    assert list(ChunkReader().feed(Display(bundle))) == [expected]


def test_a_remote_widget_becomes_its_text():
    view = {"version_major": 2, "version_minor": 0, "model_id": "7b8e"}
    bundle = {"text/plain": "0%", "application/vnd.jupyter.widget-view+json": view}
    assert item_of_event(Event("display", bundle), info()) == MimeBundle({"text/plain": "0%"})
    # In the kernel of its model, the widget is unchanged.
    assert list(ChunkReader().feed(Display(bundle))) == [MimeBundle(bundle)]


@pytest.mark.parametrize(("clear", "wait"), [("now", False), ("wait", True)])
def test_a_display_may_clear_earlier_output(clear: str, wait: bool):
    bundle = {FACTS: {"clear": clear}}
    assert item_of_event(Event("display", bundle), info()) == ClearOutput(wait)
    assert list(ChunkReader().feed(Display(bundle))) == [ClearOutput(wait)]


def of(*chunks: Chunk) -> list[OutputItem]:
    reader = ChunkReader()
    return [piece for chunk in chunks for piece in reader.feed(chunk)]


def test_chunks_become_the_same_items():
    texts = [TextValue("one"), TextValue("two")]
    assert of(head("text/html"), Data(b"one", "text"), Data(b"two", "text")) == texts
    returned = JsonValue({"a": 1}, returned=True)
    assert of(head("application/json"), Data(b'{"a":1}', "json", True)) == [returned]
    assert of(head("image/png"), Data(b"abc", "bytes", True)) == [Blob(b"abc", "image/png", returned=True)]
    assert of(head("application/x-ndjson"), Data(b"1", "json")) == [JsonValue(1)]


def test_a_value_in_several_chunks_is_one_item():
    assert of(
        head("text/html"), Data("ä".encode()[:1], "text", more=True), Data("ä".encode()[1:], "text")
    ) == [TextValue("ä")]


def test_an_adaptors_own_events_are_read_from_its_text():
    stream = b'data: {"a": 1}\n\nevent: token\ndata: b\n\nda'
    assert of(head("text/event-stream"), Data(stream, "text"), Data(b"ta: c\n\n", "text")) == [
        JsonValue({"a": 1}),
        AdaptorEvent("token", "b"),
        TextValue("c", line=True),
    ]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], None),
        ([Printed("stdout", "a")], None),
        ([TextValue("a", returned=True)], "a"),
        ([JsonValue([1], returned=True)], [1]),
        ([JsonValue([1])], [[1]]),
        ([TextValue("a"), TextValue("b")], "ab"),
        ([Blob(b"a", ""), Blob(b"b", "")], b"ab"),
        ([TextValue("a"), JsonValue({"b": 1})], ["a", {"b": 1}]),
        ([TextValue("a", line=True), TextValue("b", line=True)], ["a", "b"]),
        ([JsonValue(1), JsonValue(2, returned=True)], [1, 2]),
        ([MimeBundle({"text/plain": "x"})], None),
        ([MimeBundle({"text/plain": "x"}, value=True, returned=True)], {"text/plain": "x"}),
        ([AdaptorEvent("token", "a")], [{"event": "token", "data": "a"}]),
        (
            [
                MimeBundle({"image/png": "UE5H"}, id="value-1"),
                MimeBundle({"image/svg+xml": "<svg/>"}, id="value-2"),
                MimeBundle({"text/plain": "x", "text/html": "x"}, id="mine"),
                MimeBundle({"application/json": {}}, id="mine"),
                JsonValue({"a": ["cid:value-1", "cid:value-2", "cid:mine"]}, returned=True),
            ],
            {"a": ["data:image/png;base64,UE5H", "data:image/svg+xml;base64,PHN2Zy8+", "cid:mine"]},
        ),
    ],
)
def test_the_result_is_the_returned_value_or_the_yielded_values_together(pieces, expected):
    assert value(*pieces) == expected
