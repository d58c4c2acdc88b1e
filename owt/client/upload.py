"""Bodies of calls that stream to the server: iterators and open files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

from owt.errors import CannotSend, shortened

BODY = "data"
"""Name of the argument that is the body if it is an iterator or an open file."""
PART = 64 * 1024
"""Maximum size in bytes of a part that is sent. The server permits a body of any size, but messages of at
most `--max-body`."""
_END = object()


def split_body(kwargs: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the arguments without the body, and the body, or None if there is none."""
    body = kwargs.get(BODY)
    kind = type(body)
    if not any(hasattr(kind, method) for method in ("__next__", "__anext__", "readinto")):
        return kwargs, None
    return {name: value for name, value in kwargs.items() if name != BODY}, body


def parts(body: Any) -> Iterator[bytes]:
    """Yield the parts of a body. Raises `CannotSend` for what is not bytes or text."""
    if hasattr(type(body), "__anext__"):
        raise CannotSend(f"{BODY}: an asynchronous iterator needs an AsyncClient")
    read = getattr(body, "read1", getattr(body, "read", None))
    for part in iter(body if read is None else _read(read)):
        yield from _pieces(part)


async def parts_async(body: Any) -> AsyncIterator[bytes]:
    """Yield the parts of a body; one that may block is read in threads. Raises `CannotSend`."""
    if hasattr(type(body), "__anext__"):
        async for part in body:
            for piece in _pieces(part):
                yield piece
        return
    waiting = parts(body)
    while (part := await asyncio.to_thread(next, waiting, _END)) is not _END:
        yield cast(bytes, part)


def _read(read: Any) -> Iterator[Any]:
    while part := read(PART):
        yield part


def _pieces(part: Any) -> Iterator[bytes]:
    data = _encoded(part)
    return (data[start : start + PART] for start in range(0, len(data), PART))


def _encoded(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    raise CannotSend(f"{BODY}: the parts of a body are bytes or str; got {shortened(part)}")
