"""Runs: one execution of a call each, with a state and a journal of its chunks."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from owt.frontend.runs.journal import Journal, Lost
from owt.frontend.runs.reader import Reader
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Done, Failed, Form, Head, Stderr, Stdout

State = Literal["queued", "running", "done", "failed"]



class Run:
    """One execution of a call.

    `on_grant(bytes)` is called as readers take chunks, so that the kernel may send more; the slowest
    reader sets the pace, in steps of `grant_step` bytes, and the last one that left if there is none:
    it may come back. A run that was `detached` waits for nobody. `form` is that of the newest value.
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
        self.detached = call.detach
        self.users: set[str | None] = set()
        self.fingerprint = fingerprint(call)
        self.journal = Journal(journal_limit)
        self.sent = 0
        self.form: Form | None = None
        self.on_grant: Callable[[int], None] | None = None
        self.on_end: list[Callable[[Run], None]] = []
        self.on_abandoned: Callable[[Run], None] | None = None
        self._grant_step = grant_step
        self._granted = 0
        self._readers: list[Reader] = []
        # How far the readers had come that left: bytes, and place.
        self._left = (0, 0)

    @property
    def followed(self) -> bool:
        """Whether somebody has yet to take all of it."""
        return bool(self._readers)

    def reader(self, after: int | None = None) -> Reader:
        """Follow the run: from its first chunk, or from the event after this number.

        Raises `Lost` when the journal does not hold that place.
        """
        if after is None and not self.journal.complete:
            raise Lost
        reader = Reader(self, 0 if after is None else self.journal.place(after))
        self._readers.append(reader)
        return reader

    def detach(self) -> None:
        """Run to the end, whoever reads."""
        self.detached = True
        self.grant()

    def begin(self, kernel: str) -> None:
        """A kernel has been given the call."""
        self.state = "running"
        self.kernel = kernel
        self.started = time.time()
        self.grant()

    def feed(self, chunks: Iterable[Chunk]) -> None:
        """Chunks that the kernel sent. Those after `Done` have no meaning and are dropped."""
        if self.ended is not None:
            return
        journal = self.journal
        for chunk in chunks:
            journal.append(chunk)
            match chunk:
                case Data(body=body):
                    self.sent += len(body)
                    self.form = chunk.form
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
        if journal.bytes > journal.limit:
            self.trim()
        for reader in self._readers:
            reader.wake()
        if self.detached:
            self.grant()
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
        return "".join(chunk.text for chunk in self.journal.chunks if isinstance(chunk, kind))

    def grant(self) -> None:
        """Let the kernel send what every reader has taken by now."""
        if self.on_grant is None:
            return
        if self.detached:
            taken = self.journal.total
        else:
            taken = min((reader.taken for reader in self._readers), default=self._left[0])
        due = taken - self._granted
        if due >= self._grant_step:
            self._granted += due
            self.on_grant(due)

    def trim(self) -> None:
        """Forget the oldest chunks beyond the journal's limit, but none that a reader who sets the pace has
        yet to take."""
        keep = self.journal.end
        if not self.detached:
            keep = min((reader.place for reader in self._readers), default=self._left[1])
        self.journal.trim(keep)

    def left(self, reader: Reader) -> None:
        """A reader follows no more."""
        if reader in self._readers:
            self._readers.remove(reader)
            self._left = max(self._left, (reader.taken, reader.place))
            self.grant()
            if not self._readers and self.ended is None and self.on_abandoned is not None:
                self.on_abandoned(self)


def fingerprint(call: Call) -> int:
    """Tells whether a request asks for the same call again: by what it asks for, not by how."""
    facts = call.request
    fields = (facts.method, facts.query, facts.body) if call.endpoint is not None else None
    return hash((call.session, facts.path, call.code, call.adaptor, call.kwargs, call.fn_name, fields))


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
        together; runs that have ended are forgotten first) and `window` (of credit) in bytes; `most` ended
        runs are kept. A run whose answer is wanted for the cache keeps `cacheable` bytes, if that is more
        than `journal`."""
        self._retention = retention
        self._journal = journal
        self._cacheable = max(journal, cacheable)
        self._total = journal_total
        self._most = most
        self._grant_step = max(1, window // 4)
        self._live: dict[str, Run] = {}
        self._ended: OrderedDict[str, Run] = OrderedDict()
        self._ended_bytes = 0
        # What the journals of the live runs may hold, by their limits.
        self._limits = 0

    def create(self, call: Call) -> Run:
        """A new run of this call, with an id that nobody can guess."""
        journal = self._journal if call.caching is None else self._cacheable
        run = Run(secrets.token_hex(8), call, journal, self._grant_step)
        self._live[run.id] = run
        self._limits += journal
        if self._limits > self._total:
            self._share()
        run.on_end.append(self._keep)
        return run

    def get(self, id: str) -> Run | None:
        """The run with this id, if it is still known."""
        return self._live.get(id) or self._ended.get(id)

    @property
    def living(self) -> int:
        """How many runs have not ended."""
        return len(self._live)

    def live(self) -> list[Run]:
        """The runs that have not ended, oldest first."""
        return list(self._live.values())

    def all(self) -> list[Run]:
        """Every run that is known, oldest first."""
        self.prune()
        return [*self._ended.values(), *self._live.values()]

    def drop(self, run: Run) -> None:
        """Forget a run that never began."""
        self._out(run)

    def prune(self) -> None:
        """Forget ended runs that are past their time or over the limit."""
        horizon = time.time() - self._retention
        room = self._total - self._limits
        if self._ended_bytes > room:
            room = self._total - sum(run.journal.bytes for run in self._live.values())
        while self._ended:
            run = next(iter(self._ended.values()))
            assert run.ended is not None
            if run.ended > horizon and self._ended_bytes <= room and len(self._ended) <= self._most:
                return
            del self._ended[run.id]
            self._ended_bytes -= run.journal.bytes

    def _share(self) -> None:
        """Give each live run an equal part of what all may keep. What a reader has yet to take stays."""
        part = self._total // len(self._live)
        self._limits = 0
        for run in self._live.values():
            run.journal.limit = min(run.journal.limit, part)
            self._limits += run.journal.limit
            run.trim()

    def _out(self, run: Run) -> None:
        if self._live.pop(run.id, None) is not None:
            self._limits -= run.journal.limit

    def _keep(self, run: Run) -> None:
        self._out(run)
        # An ended run is kept for what it sent, not for what it was sent.
        facts = msgspec.structs.replace(run.call.request, body=b"", headers=(), query="")
        run.call = msgspec.structs.replace(run.call, request=facts, code=None, kwargs=None)
        self._ended[run.id] = run
        self._ended_bytes += run.journal.bytes
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
