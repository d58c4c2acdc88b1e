"""A follower of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from owt.wire.chunk import Chunk

if TYPE_CHECKING:
    from owt.frontend.runs.runs import Run

BATCH = 256 * 1024
"""Bytes that a reader is given at once, so that what is on its way to a slow client stays bounded."""


class Reader:
    """One follower of a run. It gets every chunk from where it began, and says what it has taken:
    everything before `place`, where `taken` bytes of the run have been sent."""

    def __init__(self, run: Run, place: int) -> None:
        self.place = place
        self.taken = run.journal.before(place)
        self._run = run
        # What it was given last, and has yet to take: chunks, and bytes.
        self._given = (0, 0)
        self._wake: asyncio.Future[None] | None = None
        self._on_news: Callable[[], None] | None = None
        self._closed = False

    async def next(self) -> list[Chunk]:
        """The chunks since the last call, at least one; an empty list after the last.

        The caller takes them, then calls `next` again, which tells the kernel that they are taken. No
        more than `BATCH` bytes come at once. Raises `Lost` where the journal has lost what comes next,
        which happens only to readers that do not set the pace.
        """
        run, journal = self._run, self._run.journal
        self._take_note()
        while self.place == journal.end or self._closed:
            if run.ended is not None or self._closed:
                return []
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        return self._give()

    def now(self) -> list[Chunk]:
        """As `next`, without waiting: an empty list where there is nothing yet, too."""
        self._take_note()
        return [] if self._closed or self.place == self._run.journal.end else self._give()

    def on_news(self, callback: Callable[[], None]) -> None:
        """Have the event loop call this once, soon after there is something to take, or the end."""
        if self._closed or self.place < self._run.journal.end or self._run.ended is not None:
            asyncio.get_running_loop().call_soon(callback)
        else:
            self._on_news = callback

    def _take_note(self) -> None:
        """What was given last is taken."""
        run = self._run
        self.place += self._given[0]
        self.taken += self._given[1]
        self._given = (0, 0)
        if run.on_grant is not None:
            run.grant()
        if run.journal.bytes > run.journal.limit:
            run.trim()

    def _give(self) -> list[Chunk]:
        chunks, amount = self._run.journal.take(self.place, BATCH)
        self._given = (len(chunks), amount)
        return chunks

    def wake(self) -> None:
        """There is something new."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        if self._on_news is not None:
            callback, self._on_news = self._on_news, None
            asyncio.get_running_loop().call_soon(callback)

    def close(self) -> None:
        """Follow no more: `next` gives an empty list from now on, also to who waits for it. A run that
        has lost its last reader is told so."""
        self._closed = True
        self.wake()
        self._run.left(self)
