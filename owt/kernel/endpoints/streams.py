"""Items that stream into a parameter of an endpoint: `Iterator[...]` or `AsyncIterator[...]`.

Of a body, `bytes` are the parts as they come, `str` its lines without their ends, and values of other types
its lines of JSON, without empty ones. By WebSocket, each message is an item.
"""

from __future__ import annotations

import typing
from collections import abc
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from owt.errors import Unprocessable
from owt.kernel.body import PART


@dataclass(frozen=True)
class StreamType:
    """Type of a parameter that is fed from the body: that of its items, and True if it `is_async`."""

    item: Any
    is_async: bool

    @property
    def media_type(self) -> str:
        """Media type of a body of such items."""
        if self.item is bytes:
            return "application/octet-stream"
        return "text/plain" if self.item is str else "application/x-ndjson"


def stream_type(annotation: Any) -> StreamType | None:
    """Return the type of a parameter with this annotation if it is fed from the body, else None."""
    origin = typing.get_origin(annotation) or annotation
    # Annotations are any values, so they are not compared by `==`.
    is_async = origin is abc.AsyncIterator
    if not is_async and origin is not abc.Iterator:
        return None
    items = typing.get_args(annotation)
    return StreamType(items[0] if items else bytes, is_async)


def items_of_body(kind: StreamType, stream: Any, convert: Callable[[Any], Any], name: str) -> Any:
    """Return an iterator over the items of a stream, or an asynchronous one.

    `convert` converts what a line of JSON is. The iterator raises `Unprocessable`, with the parameter's
    `name`, for a line that is no item.
    """
    if kind.item is bytes:
        return stream.__aiter__() if kind.is_async else iter(lambda: stream.read(PART), b"")

    def item(number: int, line: bytes) -> Any:
        line = line[:-1] if line.endswith(b"\r") else line
        return _converted(kind, line, convert, (name, f"line {number}"))

    lines = _async_lines(stream) if kind.is_async else (line.removesuffix(b"\n") for line in stream)
    return _numbered(kind, lines, item, lambda line: kind.item is str or bool(line.strip()))


def items_of_messages(kind: StreamType, messages: Any, convert: Callable[[Any], Any], name: str) -> Any:
    """Return an iterator over the messages of a WebSocket, or an asynchronous one.

    `convert` converts what a message of JSON is. The iterator raises `Unprocessable`, with the parameter's
    `name`, for a message that is no item.
    """

    def item(number: int, message: bytes | str) -> Any:
        data = message.encode() if isinstance(message, str) else message
        if kind.item is bytes:
            return data
        return _converted(kind, data, convert, (name, f"message {number}"))

    return _numbered(kind, messages, item, lambda _: True)


def _converted(kind: StreamType, data: bytes, convert: Callable[[Any], Any], place: tuple[str, str]) -> Any:
    """Return a text, or what a document of JSON is. Raises `Unprocessable`, which names the place."""
    try:
        return data.decode() if kind.item is str else convert(msgspec.json.decode(data))
    except (ValueError, RecursionError) as error:
        name, part = place
        raise Unprocessable([(name, f"{part}: {error}")], "") from None


def _numbered(
    kind: StreamType, sources: Any, item: Callable[[int, Any], Any], has_item: Callable[[Any], bool]
) -> Any:
    """Return an iterator over the items of the sources that have one, or an asynchronous one. `item` gets the
    number of its source, from 1."""
    if kind.is_async:
        return _numbered_async(sources, item, has_item)
    return (item(number, source) for number, source in enumerate(sources, 1) if has_item(source))


async def _numbered_async(
    sources: AsyncIterator[Any], item: Callable[[int, Any], Any], has_item: Callable[[Any], bool]
) -> AsyncIterator[Any]:
    number = 0
    async for source in sources:
        number += 1
        if has_item(source):
            yield item(number, source)


async def _async_lines(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines of a stream of parts, without their ends."""
    beginning: list[bytes] = []
    async for part in stream:
        *lines, rest = part.split(b"\n")
        for line in lines:
            yield b"".join([*beginning, line])
            beginning = []
        if rest:
            beginning.append(rest)
    if beginning:
        yield b"".join(beginning)


def items_of_list(kind: StreamType, values: Iterable[Any]) -> Any:
    """Return an iterator over values that did not come as a stream, or an asynchronous one."""
    return _async_values(values) if kind.is_async else iter(values)


async def _async_values(values: Iterable[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value

