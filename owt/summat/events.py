"""`.sse()`: a stream's items as Server-Sent Events.

Format: the HTML standard, section "Server-sent events", the event-stream grammar. Every item is one
message: text unchanged, each of its lines in a `data` field; bytes as event `bytes` in base64; everything
else as one line of JSON. The last message is `[DONE]`; a stream that fails ends without it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator, Iterable
from dataclasses import asdict, is_dataclass
from typing import Any

from owt.summat.flow import Flow
from owt.summat.later import aclosing
from owt.summat.step import Step
from owt.summat.streams import has_items, mapped

DONE = "data: [DONE]\n\n"
CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-cache"}

_LINE_END = re.compile("\r\n|\n|\r")
_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda value: _plain(value)
)


def event(item: object) -> str:
    """Return the message for `item`. Raises `TypeError` or `ValueError` for values that JSON cannot hold."""
    if isinstance(item, (bytes, bytearray, memoryview)):
        return f"event: bytes\ndata: {base64.b64encode(item).decode('ascii')}\n\n"
    lines = _LINE_END.split(item) if isinstance(item, str) else [_encoder.encode(item)]
    return "".join(f"data: {line}\n" for line in lines) + "\n"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, and tensors
        return value.tolist()
    raise TypeError(f"an event cannot carry {type(value).__name__}: JSON has nothing for it")


def sse(step: Step, flow: Flow) -> Flow:
    """Turn the streamed items into Server-Sent Events, `[DONE]` last: a pair of stream and headers."""
    if not has_items(flow.value):
        raise flow.wrong(step, "items to stream, as .stream(fn) gives them")
    messages = mapped(event, flow.value)
    stream = finished(messages) if isinstance(messages, Generator) else _finished_async(messages)
    return flow.giving((stream, dict(HEADERS)))


def finished(messages: Iterable[str]) -> Generator[str, None, None]:
    """Yield these messages, and the one that ends the stream."""
    yield from messages
    yield DONE


async def _finished_async(messages: Any) -> Any:
    async with aclosing(messages):
        async for message in messages:
            yield message
    yield DONE
