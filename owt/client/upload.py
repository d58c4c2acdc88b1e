"""Bodies of calls that stream to the server: iterators and open files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from owt.errors import CannotSend, shortened

BODY = "data"
"""Name of the argument that is the body if it is an iterator or an open file."""
PART = 64 * 1024
"""Maximum size in bytes of what is read at once from a file."""
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
        yield _encoded(part)


async def parts_async(body: Any) -> AsyncIterator[bytes]:
    """Yield the parts of a body; one that may block is read in threads. Raises `CannotSend`."""
    if hasattr(type(body), "__anext__"):
        async for part in body:
            yield _encoded(part)
        return
    waiting = parts(body)
    while (part := await asyncio.to_thread(next, waiting, _END)) is not _END:
        yield _encoded(part)


def _read(read: Any) -> Iterator[Any]:
    while part := read(PART):
        yield part


def _encoded(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    raise CannotSend(f"{BODY}: the parts of a body are bytes or str; got {shortened(part)}")
