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
    is_text = kind.item is str

    def item(number: int, line: bytes) -> Any:
        try:
            return line.decode() if is_text else convert(msgspec.json.decode(line))
        except (ValueError, RecursionError) as error:
            raise Unprocessable([(name, f"line {number}: {error}")], "") from None

    def has_item(line: bytes) -> bool:
        return is_text or bool(line.strip())

    if kind.is_async:
        return _async_items(stream, item, has_item)
    lines = (line[:-1] if line.endswith(b"\n") else line for line in stream)
    return (item(number, _without_return(line)) for number, line in enumerate(lines, 1) if has_item(line))


async def _async_items(
    stream: AsyncIterator[bytes], item: Callable[[int, bytes], Any], has_item: Callable[[bytes], bool]
) -> AsyncIterator[Any]:
    number = 0
    async for line in _async_lines(stream):
        number += 1
        if has_item(line):
            yield item(number, _without_return(line))


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


def items_of_messages(
    kind: StreamType, messages: Any, convert: Callable[[Any], Any], name: str
) -> Any:
    """Return an iterator over the messages of a WebSocket, or an asynchronous one.

    `convert` converts what a message of JSON is. The iterator raises `Unprocessable`, with the parameter's
    `name`, for a message that is no item.
    """

    def item(number: int, message: bytes | str) -> Any:
        data = message.encode() if isinstance(message, str) else message
        try:
            if kind.item is bytes:
                return data
            return data.decode() if kind.item is str else convert(msgspec.json.decode(data))
        except (ValueError, RecursionError) as error:
            raise Unprocessable([(name, f"message {number}: {error}")], "") from None

    if kind.is_async:
        return _async_messages(messages, item)
    return (item(number, message) for number, message in enumerate(messages, 1))


async def _async_messages(
    messages: AsyncIterator[bytes | str], item: Callable[[int, bytes | str], Any]
) -> AsyncIterator[Any]:
    number = 0
    async for message in messages:
        number += 1
        yield item(number, message)


def _without_return(line: bytes) -> bytes:
    return line[:-1] if line.endswith(b"\r") else line


def items_of_list(kind: StreamType, values: Iterable[Any]) -> Any:
    """Return an iterator over values that did not come as a stream, or an asynchronous one."""
    return _async_values(values) if kind.is_async else iter(values)


async def _async_values(values: Iterable[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value

