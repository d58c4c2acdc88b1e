"""Steps that turn items into Server-Sent Events."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import numpy as np
import pytest

from owt.summat import WrongValue, pipe
from owt.summat.events import event


def test_items_become_events_and_done_comes_last():
    stream, headers = pipe().stream(lambda: iter(["a", {"b": 1}, [2], 3, None])).sse()()
    assert list(stream) == [
        "data: a\n\n",
        'data: {"b":1}\n\n',
        "data: [2]\n\n",
        "data: 3\n\n",
        "data: null\n\n",
        "data: [DONE]\n\n",
    ]
    assert headers == {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


def test_every_line_of_a_text_gets_its_own_field():
    assert event("a\nb\r\nc\rd\n") == "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"


def test_text_keeps_line_ends_that_only_python_knows():
    assert event("a\u2028b\x0bc") == "data: a\u2028b\x0bc\n\n"


def test_bytes_are_an_event_in_base64():
    assert event(b"\x00\xff") == "event: bytes\ndata: AP8=\n\n"


def test_dataclasses_and_arrays_are_json():
    @dataclass
    class Point:
        x: int

    assert event({"p": Point(1), "a": np.arange(2), "f": np.float32(0.5)}) == (
        'data: {"p":{"x":1},"a":[0,1],"f":0.5}\n\n'
    )


def test_text_in_json_stays_readable():
    line = event({"text": "ä\n"})
    assert "ä" in line
    assert json.loads(line.removeprefix("data: ")) == {"text": "ä\n"}


def test_value_that_json_cannot_hold_is_an_error_with_the_steps_place():
    stream, _ = pipe().stream(lambda: iter([object()])).sse()()
    with pytest.raises(TypeError, match="an event cannot carry object") as caught:
        next(stream)
    assert ">>>.sse()<<<" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="JSON"):
        event({"x": float("nan")})


def test_events_are_lazy():
    numbers = []

    def items():
        for i in range(3):
            numbers.append(i)
            yield i

    stream, _ = pipe().stream(items).sse()()
    next(stream)
    assert numbers == [0]


def test_async_stream_gives_async_events():
    async def items():
        yield "a"

    async def collect():
        stream, _ = pipe().stream(items).sse()()
        return [item async for item in stream]

    assert asyncio.run(collect()) == ["data: a\n\n", "data: [DONE]\n\n"]


def test_stream_that_fails_ends_without_done():
    def items():
        yield 1
        raise ValueError("broken")

    stream, _ = pipe().stream(items).sse()()
    messages = []
    with pytest.raises(ValueError, match="broken"):
        messages.extend(iter(lambda: messages.append(next(stream)), "never"))
    assert messages[0] == "data: 1\n\n"
    assert "data: [DONE]\n\n" not in messages


def test_closing_events_closes_their_source():
    ended = []

    def items():
        try:
            yield from range(10)
        finally:
            ended.append(True)

    stream, _ = pipe().stream(items).sse()()
    next(stream)
    stream.close()
    assert ended == [True]


def test_list_may_be_sent_as_events():
    stream, _ = pipe().const([1]).sse()()
    assert list(stream) == ["data: 1\n\n", "data: [DONE]\n\n"]


@pytest.mark.parametrize("wrong", ["text", b"x", {"a": 1}, 5, None])
def test_value_that_is_no_stream_is_refused(wrong):
    with pytest.raises(WrongValue, match=r"sse\(\) needs items to stream, as \.stream\(fn\) gives them"):
        pipe().const(wrong).sse()()
