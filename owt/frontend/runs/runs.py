"""Runs: executions of calls, and their readers.

    call -> Runs.create -> Run.enqueue -> Run.start -> Run.feed ... -> ended
                              |              |            |
                           session         kernel      readers, observers

A run owns its state and its journal. The session (or pool) that has queued it and the kernel that executes it
are its collaborators: it asks the first to cancel it, and gives the second credit for more output as its
readers take chunks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Literal, Protocol

from msgspec import Struct, field

from owt.frontend.runs.budget import JournalBudget
from owt.frontend.runs.claims import Claim
from owt.frontend.runs.input import RunInput
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Done, Failed, Head, Prompt, Stderr, Stdout
from owt.wire.journal import ChunksLost, Journal
from owt.wire.messages import Forget, Input, InputEnd, JournalLimit, Keep, KeptRun

BATCH = 520 * 1024
"""Maximum size, in bytes, of what a reader gets at once, which bounds what is buffered for a slow client."""

CancelReason = Literal["cancelled", "disconnected", "timeout", "interrupted"]
"""Reason for the cancellation of a run. A run that is `disconnected` has lost its last reader: it is
interrupted, and a later cancel for another reason takes its place."""


class RunState(StrEnum):
    """State of a run; the last two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class RunQueue(Protocol):
    """The session or pool that a run was submitted to."""

    def cancel(self, run: Run, reason: CancelReason) -> None:
        """Remove the run from the queue, or interrupt it."""

    def holders(self) -> list[Run]:
        """Return the runs one of which has to end before a queued one can begin."""


class RunKernel(Protocol):
    """The kernel that executes a run."""

    @property
    def id(self) -> str:
        """Return the kernel's id."""

    def credit(self, run: str, size: int) -> None:
        """Allow `size` more bytes of output of the run with this id."""

    def ask(self, message: Input | InputEnd | Forget | JournalLimit) -> None:
        """Send a message that the kernel handles while calls run."""


class RunRecord(Protocol):
    """Record of a run for the next frontend. `recorded` is done when a large one has been written."""

    recorded: asyncio.Future[None] | None

    def update(self) -> None:
        """Record that the run was sent, taken back, cancelled, or left by its readers."""

    def confirmed(self) -> None:
        """Handle that the run's kernel has the call."""

    def forget(self) -> None:
        """Remove the record."""


class RunObserver(Protocol):
    """Observer of a run. Its methods must not raise."""

    def run_ended(self, run: Run) -> None:
        """Handle the end of the run, which comes once."""


class Run(Struct, eq=False):
    """One execution of a call.

    The kernel gets credit as readers take chunks, so that it may send more. The slowest reader sets the pace,
    in steps of `grant_step` bytes. If no reader is left, the position of the last one counts, since it may
    come back. A detached run waits for no reader.

    When its last reader leaves, a run is cancelled: at once, or after `resume_window` seconds if it is
    `resumable`: if it answers with events, or its client has chosen its id. Times are seconds since 1970.

    `journal_limit` is in bytes; `budget` is what the run shares with others (by default nothing). With
    `outlives`, the kernel keeps the run for the next frontend if its answer can still be asked for then.
    """

    id: str
    call: Call
    journal_limit: int
    budget: JournalBudget = field(default_factory=lambda: JournalBudget(0))
    grant_step: int = 1
    resume_window: float = 0
    outlives: bool = False
    state: RunState = RunState.QUEUED
    session: str | None = None
    kernel: str | None = None
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    failure: Failed | None = None
    cancel_reason: CancelReason | None = None
    kernel_loss: str | None = None
    caller: Run | None = None
    nested: frozenset[Run] = frozenset()
    detached: bool = False
    resumable: bool = False
    sent_to: str | None = None  # id of the kernel that was sent the call
    number: int = 0  # of the message with which it was sent
    unread_since: float = 0.0  # 0: a reader has yet to come, or has not left
    is_outline: bool = False  # only its kernel, of an earlier frontend, has the call
    known_end: float | None = None  # time of the end, if an earlier frontend was there
    record: RunRecord | None = None
    user: str | None = None
    claim: Claim | None = None
    shared_by: int = 1  # calls, without those that were cancelled
    fingerprint: int | None = None  # only of a run with events, which can be resumed
    input: RunInput | None = None
    journal: Journal = field(default_factory=Journal)
    kept_bytes: int = 0
    sent: int = 0
    _queue: RunQueue | None = None
    _executor: RunKernel | None = None
    _observers: list[RunObserver] = field(default_factory=list)
    _granted: int = 0
    _readers: list[Reader] = field(default_factory=list)
    _left_at: int = 0  # bytes that the furthest reader that has left had taken
    _keeper: RunKernel | None = None  # the kernel that keeps the output
    _sent_keep: Keep | None = None  # sent with the call
    _kept_limit: int = 0  # bytes that it keeps at most
    _abandoned: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        call = self.call
        self.session, self.detached = call.session, call.detach
        self.resumable = call.sse or self.claim is not None
        self.fingerprint = call.fingerprint() if call.sse or call.sse_streams else None

    @property
    def ended(self) -> bool:
        """Return True if the run is in a final state."""
        return self.ended_at is not None

    @property
    def abandoned(self) -> bool:
        """Return True if the run continues although its last reader has left and it was interrupted."""
        return self.cancel_reason == "disconnected" and not self.ended

    @property
    def has_readers(self) -> bool:
        """Return True if a reader has yet to take all chunks."""
        return bool(self._readers)

    def observe(self, observer: RunObserver) -> None:
        """Notify this observer, after those that were added before."""
        self._observers.append(observer)

    # Life: queued, running, ended.

    def enqueue(self, queue: RunQueue) -> None:
        """Record that the run waits for its turn in this session or pool."""
        self._queue = queue

    def start(self, kernel: RunKernel) -> None:
        """Record that this kernel executes the run."""
        self.state = RunState.RUNNING
        self.kernel = kernel.id
        self.started_at = time.time()
        self._executor = kernel
        if self.outlives and self.keep is not None:
            self._keeper, self._kept_limit = kernel, self._kept_limit or self.journal_limit
            self.share(self.budget.limit_of(self))

    @property
    def keep(self) -> Keep | None:
        """Return what the next frontend has to know of the run; None if it does not outlive this one."""
        if not self.outlives:
            return None
        call, claim = self.call, self.claim
        if not (self.detached or self.resumable or call.sse_streams):
            return None
        digest, user = None if claim is None else claim.digest or b"", call.request.user or self.user
        return Keep(self.journal_limit, self.created_at, user, self.fingerprint, digest)

    def resume(self, kept: KeptRun) -> None:
        """Become a run that a kernel has from an earlier frontend, and whose output follows."""
        self.journal, self._sent_keep = Journal.after(kept.dropped), kept.keep
        self._granted, self._left_at, self.known_end = kept.granted, kept.granted, kept.ended
        if kept.keep is None:
            self.cancel_reason = "disconnected"
        else:
            self.created_at, self.user = kept.keep.created, kept.keep.user
            self._kept_limit = 0 if kept.started is None else kept.keep.journal
            self.fingerprint = kept.keep.fingerprint
        facts = kept.call.request
        if kept.received or facts.input_size or facts.scheme in ("ws", "wss"):
            self.input = RunInput.restore(kept)
            self.observe(self.input)

    def note_sent(self, kernel: str, number: int) -> Keep | None:
        """Record in which message to which kernel the call is sent; return what goes with it."""
        self.sent_to, self.number, self._sent_keep = kernel, number, self.keep
        self.note()
        return self._sent_keep

    def forget(self) -> None:
        """Have the kernel keep the output no longer."""
        if self._keeper is not None:
            self._keeper.ask(Forget(self.id))
            self._keeper = None
        if self.record is not None:
            self.record.forget()

    def share(self, limit: int) -> None:
        """Have the kernel keep so many bytes of the output, unless that is about what it does."""
        if self._keeper is not None and not self._kept_limit * 0.95 <= limit <= self._kept_limit * 1.25:
            self._kept_limit = limit
            self._keeper.ask(JournalLimit(self.id, limit))

    def take_back(self) -> None:
        """Record that the kernel has not begun the run, so that it waits in its session's queue again."""
        self.state = RunState.QUEUED
        self.kernel = self.started_at = self.sent_to = self._executor = self._keeper = None
        self._granted = self._kept_limit = self.number = 0
        self.note()

    def note(self) -> None:
        """Record for the next frontend what has changed."""
        if self.record is not None:
            self.record.update()

    def cancel(self, reason: CancelReason) -> None:
        """Have the session end the run, unless it has ended."""
        if self._queue is not None and not self.ended:
            self._queue.cancel(self, reason)
            if self.abandoned:
                # From now on its output is dropped.
                self.grant()
                self.trim()

    def withdraw(self) -> bool:
        """Cancel the run if no other call shares it, and return True, or leave it to the others."""
        self.shared_by -= 1
        if self.shared_by <= 0:
            self.cancel("cancelled")
        return self.shared_by <= 0

    def feed(self, chunks: Sequence[Chunk], *, wake: bool = True) -> None:
        """Add chunks that the kernel sent. Chunks after `Done` are ignored.

        Without `wake`, the caller continues with `wake_readers`.
        """
        if self.ended:
            return
        before = self.journal.bytes
        for chunk in chunks:
            match chunk:
                case Data(body=body):
                    self.sent += len(body)
                case Head():
                    self.answered_at = time.time()
                case Prompt():
                    self.open_input().ask(chunk)
                case Done(status=status):
                    self.status = status
                    self.ended_at = self.known_end or time.time()
                    self.state = RunState.FAILED if self.failure else RunState.DONE
                    if chunk is not chunks[-1]:
                        chunks = chunks[: chunks.index(chunk) + 1]
                    break
                case Failed():
                    self.failure = chunk
        self.journal.extend(chunks)
        self.budget.count(self, self.journal.bytes - before)
        self.trim()
        self.budget.reclaim()
        if wake:
            self.wake_readers()
        if self.detached or self.abandoned:
            self.grant()
        if self.ended:
            self._end()

    def fail(self, failure: Failed) -> None:
        """End the run with a failure that its kernel did not report."""
        began = self.started_at or time.time()
        self.feed((failure, Done(failure.status, time.time() - began)))

    def open_input(self) -> RunInput:
        """Return the input of the run, which is complete if it is a body that is here already."""
        if self.input is None:
            self.input = RunInput.of_call(self.id, self.call, self._sent_keep)
            self.observe(self.input)
        return self.input

    def leave_caller(self) -> None:
        """Record that the caller waits no longer."""
        if self.caller is not None:
            self.caller.nested -= {self}
            self.caller = None

    @property
    def waits_for(self) -> list[Run]:
        """Return the runs one of which has to end before this one begins; empty once it has begun."""
        return self._queue.holders() if self._queue is not None and self.state is RunState.QUEUED else []

    def _end(self) -> None:
        self._queue = self._executor = None
        self.leave_caller()
        self._keep_running()
        observers, self._observers = self._observers, []
        for observer in observers:
            observer.run_ended(self)

    # Readers, and the credit that they give.

    def follow(self, after: int | None = None) -> Reader:
        """Return a new reader that begins with the first chunk, or after the event with this number.

        Raises `ChunksLost` if the journal does not hold the chunk there.
        """
        if after is None and not self.journal.complete:
            raise ChunksLost
        position = 0 if after is None else self.journal.position(after)
        reader = Reader(self, position, self.journal.bytes_before(position) if position else 0)
        self._readers.append(reader)
        if self.unread_since:
            self.unread_since = 0.0
            self.note()
        self._keep_running()
        return reader

    def wake_readers(self, *, now: bool = False) -> None:
        """Continue the readers, in the next step of the event loop, or with `now` in this one."""
        for reader in tuple(self._readers):
            reader.wake(now=now)

    def remove_reader(self, reader: Reader) -> None:
        """Follow the pace of the other readers; without any, cancel the run, perhaps later."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if self.ended:
            return
        self._left_at = max(self._left_at, reader.consumed)
        self.grant()
        if not self._readers:
            self.unread_since = time.time()
            self.note()
        self.wait_for_reader()

    def wait_for_reader(self) -> None:
        """Cancel a run that has no reader and needs one, as it has not ended in its kernel; perhaps later."""
        if self.ended or self.known_end is not None or self._readers or self.detached:
            return
        self._keep_running()
        if self.resumable and self.resume_window > 0:
            rest = self.resume_window - (max(0, time.time() - self.unread_since) if self.unread_since else 0)
            self._abandoned = asyncio.get_running_loop().call_later(rest, self.cancel, "disconnected")
        else:
            self.cancel("disconnected")

    def detach(self) -> None:
        """Run to the end, with or without readers."""
        self.detached = True
        self._keep_running()
        self.grant()

    def grant(self) -> None:
        """Give the kernel credit for what every reader has taken."""
        if self._executor is None:
            return
        if self.detached or self.abandoned:
            consumed = self.journal.total
        else:
            consumed = min((reader.consumed for reader in self._readers), default=self._left_at)
        due = consumed - self._granted
        if due >= self.grant_step:
            self._granted += due
            self._executor.credit(self.id, due)

    def trim(self) -> None:
        """Drop the oldest chunks beyond the journal's limit, but none that a reader has yet to take and
        that the kernel has no credit for."""
        journal, limit = self.journal, 0 if self.abandoned else self.budget.limit_of(self)
        if self._keeper is not None and limit != self._kept_limit:
            self.share(limit)
        if journal.bytes <= limit:
            return
        keep, delivered = journal.end, journal.total
        if not self.detached and self._readers:
            keep = min(reader.position for reader in self._readers)
        elif not self.detached and not self.abandoned:
            delivered = self._left_at
        before = journal.bytes
        journal.trim(limit, keep, delivered)
        self.budget.count(self, journal.bytes - before)

    def text(self, kind: type[Stdout] | type[Stderr]) -> str:
        """Return the text of all chunks of one kind in the journal."""
        return "".join(chunk.text for chunk in self.journal.chunks if isinstance(chunk, kind))

    def _keep_running(self) -> None:
        if self._abandoned is not None:
            self._abandoned.cancel()
            self._abandoned = None


class Reader(Struct, eq=False):
    """Reader of a run's chunks, in order, from the one where it began. Made by `Run.follow`.

    `position` is that of the next chunk, and `consumed` the size of all chunks of the run before it.
    """

    _run: Run
    position: int
    consumed: int
    _pending: tuple[int, int] = (0, 0)  # number and size of the chunks that were returned last
    _waiter: asyncio.Future[None] | None = None
    _callback: Callable[[], None] | None = None
    _closed: bool = False

    async def next(self) -> list[Chunk]:
        """Return the chunks since the last call, up to `BATCH` bytes; an empty list after the last chunk.

        Waits for at least one chunk. The next call of `next` or `available` confirms that they were sent.
        Raises `ChunksLost` if the journal has dropped the next chunk, as it may if the run is detached.
        """
        journal = self._run.journal
        self._confirm()
        while self.position == journal.end or self._closed:
            if self._run.ended or self._closed:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._read()

    def available(self) -> list[Chunk]:
        """Return what `next` does, but an empty list where that would wait."""
        self._confirm()
        return [] if self._closed or self.position == self._run.journal.end else self._read()

    def notify(self, callback: Callable[[], None]) -> None:
        """Have the event loop call `callback` once, when there are chunks or the run has ended."""
        if self._closed or self.position < self._run.journal.end or self._run.ended:
            asyncio.get_running_loop().call_soon(callback)
        else:
            self._callback = callback

    def wake(self, *, now: bool = False) -> None:
        """Continue `next`, and call back, soon or `now`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._callback is not None:
            callback, self._callback = self._callback, None
            if now:
                callback()
            else:
                asyncio.get_running_loop().call_soon(callback)

    def close(self) -> None:
        """Stop reading: `next` returns an empty list from now on, also where it waits."""
        self._closed = True
        self.wake()
        self._run.remove_reader(self)

    def _confirm(self) -> None:
        count, amount = self._pending
        if count:
            self._pending = (0, 0)
            self.position += count
            self.consumed += amount
            self._run.grant()
            self._run.trim()

    def _read(self) -> list[Chunk]:
        chunks, amount = self._run.journal.read(self.position, BATCH)
        self._pending = (len(chunks), amount)
        return chunks
