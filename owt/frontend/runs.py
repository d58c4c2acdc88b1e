"""Runs: one execution of a call each, with a state and a journal of its chunks."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Done, Failed, Head, Stderr, Stdout, size

State = Literal["queued", "running", "done", "failed"]


class Reader:
    """One follower of a run. It gets every chunk from where it began, and says what it has taken."""

    def __init__(self, run: Run, pending: list[Chunk], taken: int) -> None:
        self._run = run
        self._pending = pending
        self._wake: asyncio.Future[None] | None = None
        self._closed = False
        self.taken = taken

    async def next(self) -> list[Chunk]:
        """The chunks since the last call, at least one; an empty list after the last.

        The caller takes them, then calls `next` again, which tells the kernel that they are taken.
        """
        run = self._run
        if run.on_grant is not None:
            self.taken = run.bytes - sum(map(size, self._pending))
            run.grant()
        while not self._pending:
            if run.ended is not None or self._closed:
                return []
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        chunks, self._pending = self._pending, []
        return chunks

    def add(self, chunk: Chunk) -> None:
        """The run has a new chunk."""
        self._pending.append(chunk)

    def wake(self) -> None:
        """There is something new."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close(self) -> None:
        """Follow no more: `next` gives an empty list from now on, also to who waits for it. A run that
        has lost its last reader is told so."""
        self._closed = True
        self._pending = []
        self.wake()
        self._run.left(self)


class Run:
    """One execution of a call.

    `on_grant(bytes)` is called as readers take chunks, so that the kernel may send more; the slowest
    reader sets the pace, in steps of `grant_step` bytes. The journal keeps the newest `journal_limit`
    bytes of chunks.
    """

    def __init__(self, id: str, call: Call, journal_limit: int, grant_step: int = 1) -> None:
        self.id = id
        self.call = call
        self.state: State = "queued"
        self.session: str | None = call.session
        self.kernel: str | None = None
        self.created = time.time()
        self.started: float | None = None
        self.answered: float | None = None
        self.ended: float | None = None
        self.status: int | None = None
        self.failure: Failed | None = None
        self.cancelled: str | None = None
        self.bytes = 0
        self.sent = 0
        self.complete = True
        self.on_grant: Callable[[int], None] | None = None
        self.on_end: list[Callable[[Run], None]] = []
        self.on_abandoned: Callable[[Run], None] | None = None
        self._limit = journal_limit
        self._journal: deque[tuple[Chunk, int]] = deque()
        self._journal_bytes = 0
        self._grant_step = grant_step
        self._granted = 0
        self._readers: list[Reader] = []

    @property
    def chunks(self) -> list[Chunk]:
        """What the journal holds."""
        return [chunk for chunk, _ in self._journal]

    @property
    def journal_bytes(self) -> int:
        """What the journal counts."""
        return self._journal_bytes

    @property
    def followed(self) -> bool:
        """Whether somebody has yet to take all of it."""
        return bool(self._readers)

    def reader(self) -> Reader:
        """Follow the run from its first chunk. Raises LookupError when the journal has lost it."""
        if not self.complete:
            raise LookupError(f"the journal of run {self.id} no longer holds its beginning")
        reader = Reader(self, self.chunks, 0)
        self._readers.append(reader)
        return reader

    def begin(self, kernel: str) -> None:
        """A kernel has been given the call."""
        self.state = "running"
        self.kernel = kernel
        self.started = time.time()

    def feed(self, chunks: Iterable[Chunk]) -> None:
        """Chunks that the kernel sent. Those after `Done` have no meaning and are dropped."""
        if self.ended is not None:
            return
        for chunk in chunks:
            amount = size(chunk)
            self._journal.append((chunk, amount))
            self._journal_bytes += amount
            self.bytes += amount
            for reader in self._readers:
                reader.add(chunk)
            match chunk:
                case Data(body=body):
                    self.sent += len(body)
                case Head():
                    self.answered = time.time()
                case Failed():
                    self.failure = chunk
                case Done(status=status):
                    self.status = status
                    self.ended = time.time()
                    self.state = "failed" if self.failure else "done"
                    break
                case _:
                    pass
        self._trim()
        for reader in self._readers:
            reader.wake()
        if self.ended is not None:
            self.on_grant = None
            callbacks, self.on_end = self.on_end, []
            for callback in callbacks:
                callback(self)

    def fail(self, failure: Failed) -> None:
        """End the run from outside of its kernel."""
        began = self.started or time.time()
        self.feed((failure, Done(failure.status, time.time() - began)))

    def text(self, kind: type[Stdout] | type[Stderr]) -> str:
        """The text of all chunks of one kind in the journal."""
        return "".join(chunk.text for chunk, _ in self._journal if isinstance(chunk, kind))

    def grant(self) -> None:
        """Let the kernel send what every reader has taken by now."""
        if self.on_grant is None:
            return
        due = min((reader.taken for reader in self._readers), default=self.bytes) - self._granted
        if due >= self._grant_step:
            self._granted += due
            self.on_grant(due)

    def left(self, reader: Reader) -> None:
        """A reader follows no more."""
        if reader in self._readers:
            self._readers.remove(reader)
            self.grant()
            if not self._readers and self.ended is None and self.on_abandoned is not None:
                self.on_abandoned(self)

    def _trim(self) -> None:
        journal = self._journal
        while self._journal_bytes > self._limit and journal:
            _, amount = journal.popleft()
            self._journal_bytes -= amount
            self.complete = False


class Runs:
    """The runs that are known: all that have not ended, and those that ended not long ago."""

    def __init__(
        self,
        *,
        retention: float,
        journal: int,
        journal_total: int,
        window: int,
        cacheable: int = 0,
        most: int = 10_000,
    ) -> None:
        """`retention` in seconds after a run's end; `journal` (of each run), `journal_total` (of all
        that have ended) and `window` (of credit) in bytes; `most` ended runs are kept. A run whose
        answer is wanted for the cache keeps `cacheable` bytes, if that is more than `journal`."""
        self._retention = retention
        self._journal = journal
        self._cacheable = max(journal, cacheable)
        self._total = journal_total
        self._most = most
        self._grant_step = max(1, window // 4)
        self._live: dict[str, Run] = {}
        self._ended: OrderedDict[str, Run] = OrderedDict()
        self._ended_bytes = 0

    def create(self, call: Call) -> Run:
        """A new run of this call, with an id that nobody can guess."""
        journal = self._journal if call.caching is None else self._cacheable
        run = Run(secrets.token_hex(8), call, journal, self._grant_step)
        self._live[run.id] = run
        run.on_end.append(self._keep)
        return run

    def get(self, id: str) -> Run | None:
        """The run with this id, if it is still known."""
        return self._live.get(id) or self._ended.get(id)

    def live(self) -> list[Run]:
        """The runs that have not ended, oldest first."""
        return list(self._live.values())

    def all(self) -> list[Run]:
        """Every run that is known, oldest first."""
        self.prune()
        return [*self._ended.values(), *self._live.values()]

    def drop(self, run: Run) -> None:
        """Forget a run that never began."""
        self._live.pop(run.id, None)

    def prune(self) -> None:
        """Forget ended runs that are past their time or over the limit."""
        horizon = time.time() - self._retention
        while self._ended:
            run = next(iter(self._ended.values()))
            assert run.ended is not None
            if run.ended > horizon and self._ended_bytes <= self._total and len(self._ended) <= self._most:
                return
            del self._ended[run.id]
            self._ended_bytes -= run.journal_bytes

    def _keep(self, run: Run) -> None:
        self._live.pop(run.id, None)
        # An ended run is kept for what it sent, not for what it was sent.
        facts = msgspec.structs.replace(run.call.request, body=b"", headers=(), query="")
        run.call = msgspec.structs.replace(run.call, request=facts, code=None, kwargs=None)
        self._ended[run.id] = run
        self._ended_bytes += run.journal_bytes
        self.prune()


def first_error(chunks: Iterable[Chunk]) -> int | None:
    """The status that shows an answer to be no success, or None: only successes are cached."""
    for chunk in chunks:
        match chunk:
            case Failed(status=status):
                return status
            case Head(status=status) if status >= 400:
                return status
            case _:
                pass
    return None
