"""A run's journal: the newest of its chunks, each with its place, for readers that come and go.

Places count chunks from the run's beginning, and go on counting when the oldest are forgotten. Numbers
are places for clients: what an event is called in `Last-Event-ID`. The head, which is no event, has none,
so the first event is number 1; a value in several pieces has the number of its last one, so that a reader
who comes back with a number has always seen whole events.
"""

from __future__ import annotations

from owt.wire import sse
from owt.wire.chunk import Chunk, Data, Head, size

COMPACT = 1024
"""Forgotten chunks that may lie in the list before it is made shorter."""


class Lost(LookupError):
    """The journal holds the place no more, or it never was one."""


class Journal:
    """The newest chunks of one run, at least `limit` bytes of them where there are so many.

    Of an adaptor's own event stream, the chunks are cut where its events end: `Data.more` then says that
    the event goes on.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.head: Head | None = None
        self.first = 0
        self.end = 0
        self.bytes = 0
        self.total = 0
        self._chunks: list[Chunk] = []
        self._sizes: list[int] = []
        self._gone = 0
        # The place of the head, and whether the last chunk that was forgotten left a value open.
        self._head_at: int | None = None
        self._inside = False
        self._splitter: sse.Splitter | None = None

    @property
    def complete(self) -> bool:
        """Whether the beginning is there."""
        return self.first == 0

    @property
    def chunks(self) -> list[Chunk]:
        """All that it holds."""
        return self._chunks[self._gone :]

    def append(self, chunk: Chunk) -> None:
        """The run has sent one more."""
        match chunk:
            case Data() if self._splitter is not None:
                self._split(chunk, self._splitter)
                return
            case Head():
                self.head = chunk
                self._head_at = self.end
                if sse.announced(chunk.headers):
                    self._splitter = sse.Splitter()
            case _:
                pass
        self._append(chunk)

    def before(self, place: int) -> int:
        """Bytes of all chunks before `place`."""
        held = self._sizes[place - self.first + self._gone :]
        return self.total - sum(held)

    def take(self, place: int, most: int) -> tuple[list[Chunk], int]:
        """Chunks from `place` on, at least one if there is one, up to `most` bytes; and what they count.

        Raises `Lost` for a place before the first.
        """
        if place < self.first:
            raise Lost
        start = stop = place - self.first + self._gone
        sizes, amount = self._sizes, 0
        while stop < len(sizes) and (amount + sizes[stop] <= most or stop == start):
            amount += sizes[stop]
            stop += 1
        return self._chunks[start:stop], amount

    def trim(self, keep: int) -> None:
        """Forget the oldest while there are more bytes than the limit, but nothing from place `keep` on."""
        chunks, sizes = self._chunks, self._sizes
        while self.bytes > self.limit and self.first < keep:
            at = self._gone
            chunk = chunks[at]
            self._inside = isinstance(chunk, Data) and chunk.more
            self.bytes -= sizes[at]
            # Its memory is free at once; its place in the list when there are many.
            chunks[at] = _FORGOTTEN
            self._gone += 1
            self.first += 1
        if self._gone > COMPACT and self._gone > len(chunks) // 2:
            del chunks[: self._gone], sizes[: self._gone]
            self._gone = 0

    def number(self, place: int) -> int:
        """The number of the last event before `place`."""
        return place - (self._head_at is not None and self._head_at < place)

    def place(self, number: int) -> int:
        """The place after the event of this number. Raises `Lost` where that cannot be gone on from."""
        place = number
        if self._head_at is not None and self._head_at <= number:
            place += 1
        if not self.first <= place <= self.end:
            raise Lost
        at = place - self.first + self._gone
        if place < self.end and isinstance(self._chunks[at], Data):
            before = self._chunks[at - 1] if place > self.first else None
            if self._inside if place == self.first else isinstance(before, Data) and before.more:
                # In the middle of a value: no event ended here.
                raise Lost
        return place

    def _split(self, data: Data, splitter: sse.Splitter) -> None:
        body = data.body + b"\n" if data.form == "json" and not data.more else data.body
        for part, ends in splitter.feed(body):
            self._append(Data(part, "text", data.result, not ends))

    def _append(self, chunk: Chunk) -> None:
        amount = size(chunk)
        self._chunks.append(chunk)
        self._sizes.append(amount)
        self.end += 1
        self.bytes += amount
        self.total += amount


_FORGOTTEN = Head(0, ())
