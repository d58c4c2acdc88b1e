"""Journal of a run: its newest chunks, for readers that come and go.

A *position* is the index of a chunk, counted from the run's beginning; it stays valid when older chunks are
dropped. An *event number* is what a client sends as `Last-Event-ID`. The head is no event and has no number,
so the first event has number 1. A value of several chunks has the number of its last one, so that a client
that resumes after a number has received whole events only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Optional

from msgspec import Struct

from owt.wire import sse
from owt.wire.chunk import Chunk, Data, Head, size

COMPACT = 1024
"""Number of dropped chunks from which the list is shortened."""

MAX_COUNT = 2000
"""Maximum number of chunks that are read at once: each takes the event loop some microseconds."""


class ChunksLost(LookupError):
    """A position that the journal no longer holds, or that does not exist."""


class DroppedChunks(Struct, frozen=True, array_like=True):
    """Facts about the chunks that a journal holds no longer: how many there were, and their size in bytes.

    `head` is the head, and `head_position` its position, if it is among them. `inside` is True if the last
    one is continued by the first chunk that is left.
    """

    count: int = 0
    bytes: int = 0
    head: Optional[Head] = None
    head_position: Optional[int] = None
    inside: bool = False


class Journal(Struct, eq=False):
    """The newest chunks of one run.

    If the adaptor sends an event stream of its own, its chunks are cut at the ends of its events;
    `Data.more` then says that the event continues.
    """

    head: Optional[Head] = None
    first: int = 0
    end: int = 0
    bytes: int = 0
    total: int = 0
    _chunks: list[Chunk] = []
    _sizes: list[int] = []
    _dropped: int = 0  # chunks at the beginning of both lists
    _head_position: Optional[int] = None
    _inside: bool = False  # the last dropped chunk is continued by the first one that is left
    _splitter: Optional[sse.Splitter] = None

    @classmethod
    def after(cls, dropped: DroppedChunks) -> Journal:
        """Return a journal for the chunks that followed these, as another journal has held them."""
        new = cls(head=dropped.head, first=dropped.count, end=dropped.count, total=dropped.bytes)
        new._head_position, new._inside = dropped.head_position, dropped.inside
        return new

    @property
    def dropped(self) -> DroppedChunks:
        """Return the facts about the chunks that were dropped."""
        head, position, size = self.head, self._head_position, self.total - self.bytes
        if position is not None and position >= self.first:
            head = position = None
        return DroppedChunks(self.first, size, head, position, self._inside)

    @property
    def cuts(self) -> bool:
        """Return True if the chunks that follow are cut at the ends of events."""
        return self._splitter is not None

    @property
    def complete(self) -> bool:
        """Return True if no chunk was dropped."""
        return self.first == 0

    @property
    def chunks(self) -> list[Chunk]:
        """Return all chunks that are left."""
        return self._chunks[self._dropped :]

    def extend(self, chunks: Sequence[Chunk]) -> None:
        """Add chunks."""
        for index, chunk in enumerate(chunks):
            if isinstance(chunk, Head):
                self.head = chunk
                self._head_position = self.end + index
                if sse.is_event_stream(chunk.headers):
                    self._splitter = sse.Splitter()
        if self._splitter is not None:
            chunks = [part for chunk in chunks for part in _split(chunk, self._splitter)]
        sizes = list(map(size, chunks))
        amount = sum(sizes)
        self._chunks += chunks
        self._sizes += sizes
        self.end += len(sizes)
        self.bytes += amount
        self.total += amount

    def bytes_before(self, position: int) -> int:
        """Return the size of all chunks before `position`."""
        return self.total - sum(self._sizes[position - self.first + self._dropped :])

    def read(self, position: int, max_size: int) -> tuple[list[Chunk], int]:
        """Return the chunks from `position` on, up to `max_size` bytes and `MAX_COUNT` chunks but at least
        one, and their size.

        Raises `ChunksLost` if the chunk at `position` was dropped.
        """
        if position < self.first:
            raise ChunksLost
        start = position - self.first + self._dropped
        amounts = list(accumulate(self._sizes[start : start + MAX_COUNT]))
        count = max(1, bisect_right(amounts, max_size))
        return self._chunks[start : start + count], amounts[count - 1] if amounts else 0

    def since(self, position: int, max_size: int = 1 << 62) -> Iterator[list[Chunk]]:
        """Yield the chunks from `position` on, as `read` returns them."""
        while position < self.end:
            chunks, _ = self.read(position, max_size)
            position += len(chunks)
            yield chunks

    def trim(self, limit: int, keep: int, delivered: int = 1 << 62) -> None:
        """Drop the oldest chunks until `limit` bytes are left, but none from position `keep` on, and none
        beyond the first `delivered` bytes."""
        chunks, sizes = self._chunks, self._sizes
        while self.bytes > limit and self.first < keep:
            index = self._dropped
            if self.total - self.bytes + sizes[index] > delivered:
                return
            chunk = chunks[index]
            self._inside = isinstance(chunk, Data) and chunk.more
            self.bytes -= sizes[index]
            # Free the chunk at once, and shorten the list when there are many.
            chunks[index] = _DROPPED
            self._dropped += 1
            self.first += 1
        if self._dropped > COMPACT and self._dropped > len(chunks) // 2:
            del chunks[: self._dropped], sizes[: self._dropped]
            self._dropped = 0

    def number(self, position: int) -> int:
        """Return the number of the last event before `position`."""
        return position - (self._head_position is not None and self._head_position < position)

    def position(self, number: int) -> int:
        """Return the position after the event with this number.

        Raises `ChunksLost` if a reader cannot continue from there.
        """
        position = number
        if self._head_position is not None and self._head_position <= number:
            position += 1
        if not self.first <= position <= self.end:
            raise ChunksLost
        index = position - self.first + self._dropped
        if position < self.end and isinstance(self._chunks[index], Data):
            before = self._chunks[index - 1] if position > self.first else None
            if self._inside if position == self.first else isinstance(before, Data) and before.more:
                # In the middle of a value: no event ended here.
                raise ChunksLost
        return position


_DROPPED = Head(0, ())


def _split(chunk: Chunk, splitter: sse.Splitter) -> list[Chunk]:
    """Return a chunk of an adaptor's event stream, cut at the ends of its events."""
    if not isinstance(chunk, Data):
        return [chunk]
    body = chunk.body + b"\n" if chunk.form == "json" and not chunk.more else chunk.body
    return [Data(part, "text", chunk.result, not ends) for part, ends in splitter.feed(body)]
