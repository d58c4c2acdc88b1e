"""Sender of one run's chunks: in order, and limited by the run's credit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from owt.kernel.calls.connection import FrontendConnection, KeptOutput
from owt.kernel.calls.interrupts import Interrupts
from owt.kernel.calls.iopub import RunMirror
from owt.kernel.calls.recording import Recording
from owt.wire.chunk import Chunk, Display, Head, Stderr, Stdout, size
from owt.wire.messages import Credit, Output
from owt.wire.unsent import Region, StreamName

FLUSH_DELAY = 0.001
"""Seconds that text without a newline, or text that follows other text closely, may wait."""
RETRY_DELAY = 0.005
"""Seconds after which a delayed flush tries again if it could not send."""
MAX_WAITING_TEXT = 16 * 1024
"""Number of characters of text that are sent without any delay."""
MAX_TEXT_CHUNK = 6 * MAX_WAITING_TEXT
"""Maximum number of characters of text in one chunk. All text that may wait fits, so that a delayed flush,
which must not block, is one chunk even if each character is a lone surrogate, whose escape has six."""


class OutputSender:
    """Sender of a run's chunks, for all of its threads: chunks stay whole and in order.

    Sending blocks while the run has no credit, which pauses the generator or the `print` that sends. Credit
    may be overdrawn by one chunk.
    """

    def __init__(
        self,
        run: str,
        connection: FrontendConnection,
        window: int,
        interrupts: Interrupts,
        call_later: Callable[[float, Callable[[], None]], None],
        mirror: RunMirror | None = None,
    ) -> None:
        """Create a sender with `window` bytes of credit.

        `call_later(seconds, function)` calls a function in a thread that user code does not block; `mirror`
        shows the run in attached notebooks.
        """
        self.run = run
        self.mirror = mirror
        self.kept: KeptOutput | None = None
        # All credit that was given beyond the window.
        self.granted = 0
        self.stop_reason: str | None = None
        self._abandoned = False
        self.recording: Recording | None = None
        self.has_shown = False
        # True once the client has got, or will get, the headers of its answer.
        self.answer_begun = False
        self._connection = connection
        self._credit = window
        self.window = window
        self._lock = threading.Lock()
        # Most runs never wait.
        self._changed: threading.Condition | None = None
        self._waiting: tuple[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]], ...] = ()
        self._interrupts = interrupts
        self._call_later = call_later
        self._order = threading.RLock()
        self._text: list[str] = []
        self._text_name: StreamName = "stdout"
        self._text_size = 0
        self._text_sent = 0.0
        # The text that waits, where it outlives this process.
        self._region: Region | None = None
        self._flush_scheduled = False
        self._closed = False
        self._captured: list[str] | None = None
        self._records_text = False

    @property
    def closed(self) -> bool:
        """True once the last chunks are sent, or about to be."""
        return self._closed

    @property
    def credit(self) -> int:
        """Number of bytes that may still be sent before the readers must take some."""
        return self._credit

    def grant(self, amount: int) -> None:
        """Add `amount` bytes of credit. Thread-safe."""
        with self._lock:
            self._credit += amount
            self.granted += amount
        self.notify()

    def stop(self, reason: str) -> None:
        """Stop the run: a thread that waits for credit, or for input, raises KeyboardInterrupt."""
        with self._lock:
            self.stop_reason = reason
            if self._changed is not None:
                self._changed.notify_all()

    def abandon(self) -> None:
        """Let the main thread, which no signal stops a second time, send without credit from now on: no
        client reads the run. Other threads raise KeyboardInterrupt where they would wait."""
        self._abandoned = True
        self.notify()

    def send(self, chunks: Iterable[Chunk]) -> None:
        """Send chunks, after any text written before them. Blocks while there is no credit."""
        allowed = self._shield()
        try:
            with self._order:
                self._flush_text()
                for chunk in chunks:
                    self._send(chunk)
        finally:
            if allowed:
                self._interrupts.unshield(allowed)

    def request_input(self, amount: int) -> None:
        """Allow the frontend to send `amount` more bytes of the run's input."""
        self._connection.send(Credit(self.run, amount))

    # Waiting for the frontend: for credit, and for input

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Make interrupts pending in the block, which is owt's code below user code."""
        allowed = self._shield()
        try:
            yield
        finally:
            if allowed:
                self._interrupts.unshield(allowed)

    def notify(self) -> None:
        """Have threads and tasks that wait look at their conditions again. Thread-safe."""
        with self._lock:
            if self._changed is not None:
                self._changed.notify_all()
            waiting, self._waiting = self._waiting, ()
        for loop, future in waiting:
            # The loop of user code may have been closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, future)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Block until `ready()`, which each `notify` makes this look at. Call it while shielded.

        Raises KeyboardInterrupt if the run is stopped.
        """
        in_main = threading.get_ident() == _MAIN_THREAD and self._interrupts.run == self.run
        with self._lock:
            if self.stop_reason is not None and not ready():
                raise KeyboardInterrupt
            self._changed = self._changed or threading.Condition(self._lock)
            while not ready():
                if in_main:
                    # The only place outside of user code where KeyboardInterrupt may be raised.
                    self._interrupts.enter_user_code()
                try:
                    self._changed.wait()
                finally:
                    if in_main:
                        self._interrupts.leave_user_code()
                # In the main thread the signal does, also if there is credit by then.
                if self.stop_reason is not None and not in_main:
                    raise KeyboardInterrupt

    async def wait_until_async(self, ready: Callable[[], bool]) -> None:
        """Do what `wait_until` does, but wait on the event loop. A run is stopped by cancelling its task."""
        loop = asyncio.get_running_loop()
        while not ready():
            with self._lock:
                if ready():
                    return
                future: asyncio.Future[None] = loop.create_future()
                self._waiting = (*self._waiting, (loop, future))
            await future

    def _has_credit(self) -> bool:
        return (
            self._credit > 0
            or self._closed
            or (self._abandoned and threading.get_ident() == _MAIN_THREAD)
        )

    async def wait_for_credit(self) -> None:
        """Wait on the event loop until there is credit."""
        if self._credit <= 0:
            await self.wait_until_async(self._has_credit)

    def finish(self, chunks: Iterable[Chunk]) -> None:
        """Send the run's last chunks in one frame, whatever the credit, and close."""
        allowed = self._shield()
        try:
            with self._order:
                last = (*self._pop_text(), *chunks) if self._text else tuple(chunks)
                self._closed = True
                regions = self._regions() if self._region else ()
                self._connection.send(Output(self.run, last), regions, self.kept)
                if self._region is not None:
                    assert self._connection.unsent is not None
                    self._region.clear()
                    self._connection.unsent.release(self._region)
                    self._region = None
                if self.mirror is not None:
                    self.mirror.show(last)
                    self.mirror.end()
        finally:
            if allowed:
                self._interrupts.unshield(allowed)

    def write(self, name: StreamName, text: str, source: Region | None = None) -> bool:
        """Send text of the run's stdout or stderr. Returns False if the run has ended.

        A first line is sent immediately; text that follows it closely is collected for a millisecond.
        `source` is the region with the text, which is cleared if the text is safe elsewhere.
        """
        allowed = self._shield()
        try:
            with self._order:
                if self._closed:
                    return False
                if self._captured is not None and name == "stdout":
                    self._captured.append(text)
                    return True
                if self._records_text and name == "stdout":
                    assert self.recording is not None
                    self.recording.write(text)
                if name != self._text_name and self._text:
                    self._flush_text()
                self._text_name = name
                self._text.append(text)
                self._text_size += len(text)
                if (
                    self._text_size >= MAX_WAITING_TEXT
                    or ("\n" in text and time.monotonic() - self._text_sent > FLUSH_DELAY)
                    or not self._keep(text)
                ):
                    self._flush_text(source)
                    return True
                if source is not None:
                    source.clear()
                if not self._flush_scheduled:
                    self._flush_scheduled = True
                    self._call_later(FLUSH_DELAY, self._flush_later)
            return True
        finally:
            if allowed:
                self._interrupts.unshield(allowed)

    @contextmanager
    def captured(self) -> Iterator[list[str]]:
        """Return a list that receives the run's stdout in the block, instead of its reader."""
        output: list[str] = []
        self._captured = output
        try:
            yield output
        finally:
            self._captured = None

    def record_text(self, accept: str) -> None:
        """Record what is written to stdout from now on, beside sending it."""
        self.recording = Recording(accept)
        self._records_text = True

    def forget_text(self) -> None:
        """Record no more, and forget the record."""
        self.recording, self._records_text = None, False

    def show(self, display: Display, accept: str | None) -> None:
        """Send a display, and record it for a client with this Accept header, if it has one. `has_shown` is
        True from the first display on."""
        self.has_shown = True
        allowed = self._shield()
        try:
            with self._order:
                if accept is not None:
                    self.recording = self.recording or Recording(accept)
                    self.recording.show(display.bundle)
                self._flush_text()
                self._send(display)
        finally:
            if allowed:
                self._interrupts.unshield(allowed)

    def flush(self) -> None:
        """Send the text that was written so far."""
        self.send(())

    def _flush_later(self) -> None:
        # This runs in the control thread, which receives credit and cancels. It never waits for the lock or
        # for credit, but tries again.
        if self._order.acquire(blocking=False):
            try:
                self._flush_scheduled = False
                if self._closed or not self._text:
                    return
                if self._credit > 0:
                    self._flush_text()
                    return
                self._flush_scheduled = True
            finally:
                self._order.release()
        self._call_later(RETRY_DELAY, self._flush_later)

    def _pop_text(self) -> tuple[Chunk, ...]:
        text = encodable("".join(self._text))
        self._text.clear()
        self._text_size = 0
        self._text_sent = time.monotonic()
        kind = Stdout if self._text_name == "stdout" else Stderr
        return tuple(
            kind(text[start : start + MAX_TEXT_CHUNK]) for start in range(0, len(text), MAX_TEXT_CHUNK)
        )

    def _keep(self, text: str) -> bool:
        """Put text that waits where it outlives this process. Returns False if there is no room."""
        region = self._region
        if region is None:
            unsent = self._connection.unsent
            if unsent is None:
                return True
            region = self._region = unsent.acquire()
            if region is None:
                return False
        if len(self._text) == 1:
            region.begin(self.run, self._text_name)
        return region.append(text.encode("utf-8", "backslashreplace"))

    def _regions(self, source: Region | None = None) -> tuple[Region, ...]:
        """Return the regions that hold the text that waits."""
        return tuple(region for region in (self._region, source) if region is not None)

    def _flush_text(self, source: Region | None = None) -> None:
        if not self._text:
            return
        regions = unsent = self._regions(source)
        try:
            for chunk in self._pop_text():
                self._send(chunk, unsent)
                # All that was in a region is in the first chunk.
                unsent = ()
        finally:
            for region in regions:
                region.clear()

    def _send(self, chunk: Chunk, regions: Sequence[Region] = ()) -> None:
        if self._credit <= 0:
            self.wait_until(self._has_credit)
        if self._closed:
            return
        amount = size(chunk)
        # A chunk that cannot be encoded takes no credit.
        self._connection.send(Output(self.run, (chunk,)), regions, self.kept)
        with self._lock:
            self._credit -= amount
        if isinstance(chunk, Head):
            self.answer_begun = True
        if self.mirror is not None:
            self.mirror.show((chunk,))

    def _shield(self) -> bool:
        return threading.get_ident() == _MAIN_THREAD and self._interrupts.shield()


_MAIN_THREAD = threading.main_thread().ident


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def encodable(text: str) -> str:
    """Return `text` as UTF-8 can encode it: lone surrogates become escapes, as on Python's stderr."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()
