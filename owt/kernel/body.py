"""Input of a call as its adaptor sees it: `request.stream`, the body, and `request.messages`.

Both kinds of bodies can be read by `read`, line by line, and part by part by `async for`.
"""

from __future__ import annotations

import io
from typing import Any, Protocol

from owt.wire.call import UNKNOWN_SIZE
from owt.wire.collector import Collector

PART = 256 * 1024
"""Maximum size in bytes of the parts of a body that is here already."""


class Items(Protocol):
    """The input of a run (`owt.kernel.calls.input`). `whole` is all of it, once one reader has read that."""

    whole: bytes | None

    def next_item(self) -> bytes | str | None:
        """Wait for the next item, and return it; None after the last one."""

    async def next_item_async(self) -> bytes | str | None:
        """Do what `next_item` does, but wait on the event loop."""


class Messages:
    """Messages that the client sends while the call runs, in order: an iterator, and an asynchronous one."""

    def __init__(self, items: Items) -> None:
        self._items = items

    def __iter__(self) -> Messages:
        return self

    def __next__(self) -> bytes | str:
        """Return the next message. Waits for it."""
        if (item := self._items.next_item()) is None:
            raise StopIteration
        return item

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> bytes | str:
        """Do what `__next__` does, but wait on the event loop."""
        if (item := await self._items.next_item_async()) is None:
            raise StopAsyncIteration
        return item


class WholeBody(io.BytesIO):
    """Body that came with the call."""

    def __aiter__(self) -> WholeBody:
        return self

    async def __anext__(self) -> bytes:
        """Return the next part."""
        if part := self.read(PART):
            return part
        raise StopAsyncIteration


class InputStream(io.RawIOBase):
    """Body that is the run's input. `read` returns what has come, at least one byte before the end.

    Streams of the same input share what comes, except that each one returns all of it if one has read it by
    a single `read()`, as `get_data` does.
    """

    def __init__(self, items: Items, size: int = UNKNOWN_SIZE) -> None:
        """`size` is that of the whole body."""
        self._items = items
        self._size = size
        self._part = b""
        self._start = 0
        self._begun = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes that have come, or all until the end. Waits for at least one byte."""
        if size is None or size < 0:
            return self.readall()
        if size == 0 or not self._fill():
            return b""
        return self._cut(self._start + size)

    def readall(self) -> bytes:
        """Return everything until the end of the body."""
        is_whole = not self._begun
        # A list of parts and the joined bytes would need the memory of both.
        collector = Collector(max(self._size, 0) if is_whole else 0)
        while self._fill():
            collector.add(self._cut(len(self._part)))
        data = collector.value()
        if is_whole:
            self._items.whole = data
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Read bytes that have come into `buffer`, and return their number."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line with its end, or up to `size` bytes of it."""
        left = -1 if size is None else size
        parts = []
        while left and self._fill():
            end = self._part.find(b"\n", self._start) + 1 or len(self._part)
            parts.append(self._cut(end if left < 0 else min(end, self._start + left)))
            left -= len(parts[-1]) if left > 0 else 0
            if parts[-1].endswith(b"\n"):
                break
        return b"".join(parts)

    def __aiter__(self) -> InputStream:
        return self

    async def __anext__(self) -> bytes:
        """Return the next part, as it came."""
        while self._start == len(self._part):
            if not self._refill(await self._items.next_item_async()):
                raise StopAsyncIteration
        return self._cut(len(self._part))

    def _fill(self) -> bool:
        """Wait for bytes. Returns False at the end of the body."""
        while self._start == len(self._part):
            known = None if self._begun else self._items.whole
            if not self._refill(self._items.next_item() if known is None else known):
                return False
        return True

    def _refill(self, item: bytes | str | None) -> bool:
        self._begun = True
        self._part = item.encode() if isinstance(item, str) else item or b""
        self._start = 0
        return item is not None

    def _cut(self, end: int) -> bytes:
        """Return the bytes up to a position in the part that has come."""
        part, start = self._part, self._start
        if start == 0 and end >= len(part):
            self._part = b""
            return part
        self._start = min(end, len(part))
        return part[start:end]
