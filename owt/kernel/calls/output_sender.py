"""Where the chunks of one run leave the kernel: in order, counted against the run's credit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Literal

from owt.kernel.calls.connection import FrontendConnection
from owt.kernel.calls.interrupts import Interrupts
from owt.kernel.calls.iopub import RunMirror
from owt.wire.chunk import Chunk, Stderr, Stdout, size
from owt.wire.messages import Output

StreamName = Literal["stdout", "stderr"]

FLUSH_AFTER = 0.001
"""Seconds that text without a newline, or text that follows other text closely, may wait."""
TEXT_LIMIT = 16 * 1024
"""Characters of text that are sent without waiting any longer."""
PIECE = 6 * TEXT_LIMIT
"""Characters of text in one chunk: all that may wait, so that a late flush, which must not block, is
one chunk even if each of its characters is a lone surrogate, which is carried as six."""


class OutputSender:
    """A run's way out. Chunks of several threads are kept whole and in order.

    Sending blocks while the run has no credit left, which pauses the generator or the `print` that
    sends. Credit may be overdrawn by one chunk.
    """

    def __init__(
        self,
        run: str,
        lane: FrontendConnection,
        window: int,
        interrupts: Interrupts,
        later: Callable[[float, Callable[[], None]], None],
        reflection: RunMirror | None = None,
    ) -> None:
        """`later(seconds, function)` calls a function in a thread that user code does not hold up;
        `reflection` shows the run to those who are attached to the kernel."""
        self.run = run
        self.reflection = reflection
        self.stopped: str | None = None
        self._lane = lane
        self._credit = window
        self._more = threading.Condition(threading.Lock())
        self._interrupts = interrupts
        self._later = later
        self._main = threading.main_thread().ident
        self._order = threading.RLock()
        self._text: list[str] = []
        self._text_name: StreamName = "stdout"
        self._text_size = 0
        self._text_sent = 0.0
        self._flush_due = False
        self._closed = False
        self._on_credit: Callable[[], None] | None = None

    @property
    def credit(self) -> int:
        """Bytes that may still be sent before the readers must take some."""
        return self._credit

    def grant(self, amount: int) -> None:
        """The readers have taken `amount` bytes. From any thread."""
        with self._more:
            self._credit += amount
            self._more.notify_all()
        if self._on_credit is not None:
            self._on_credit()

    def stop(self, reason: str) -> None:
        """The run is to end: a thread that waits for credit raises KeyboardInterrupt instead."""
        with self._more:
            self.stopped = reason
            self._more.notify_all()

    def on_credit(self, callback: Callable[[], None] | None) -> None:
        """What to call, in the granting thread, when there is credit again (for async senders)."""
        self._on_credit = callback

    def send(self, chunks: Iterable[Chunk]) -> None:
        """Send chunks, after any text written before them. Blocks while there is no credit."""
        was = self._shield()
        try:
            with self._order:
                self._flush_text()
                for chunk in chunks:
                    self._send(chunk)
        finally:
            self._unshield(was)

    def finish(self, chunks: Iterable[Chunk]) -> None:
        """Send the run's last chunks, in one frame and whatever the credit, and close."""
        was = self._shield()
        try:
            with self._order:
                text = self._take_text()
                self._closed = True
                last = (*text, *chunks)
                self._lane.send(Output(self.run, last))
                if self.reflection is not None:
                    self.reflection.show(last)
                    self.reflection.end()
        finally:
            self._unshield(was)

    def write(self, name: StreamName, text: str) -> bool:
        """Text of the run's stdout or stderr. False when the run has ended and cannot take it.

        A first line leaves at once; text that follows it closely is collected for a millisecond.
        """
        was = self._shield()
        try:
            with self._order:
                if self._closed:
                    return False
                if name != self._text_name and self._text:
                    self._flush_text()
                self._text_name = name
                self._text.append(text)
                self._text_size += len(text)
                if self._text_size >= TEXT_LIMIT or (
                    "\n" in text and time.monotonic() - self._text_sent > FLUSH_AFTER
                ):
                    self._flush_text()
                elif not self._flush_due:
                    self._flush_due = True
                    self._later(FLUSH_AFTER, self._flush_late)
            return True
        finally:
            self._unshield(was)

    def flush(self) -> None:
        """Send the text that was written so far."""
        self.send(())

    def _flush_late(self) -> None:
        # Runs in the control thread, which must stay free to receive credit and cancels: it never
        # waits for the lock or for credit, but tries again.
        if self._order.acquire(blocking=False):
            try:
                self._flush_due = False
                if self._closed or not self._text:
                    return
                if self._credit > 0:
                    self._flush_text()
                    return
                self._flush_due = True
            finally:
                self._order.release()
        self._later(0.005, self._flush_late)

    def _take_text(self) -> tuple[Chunk, ...]:
        if not self._text:
            return ()
        text = carried("".join(self._text))
        self._text.clear()
        self._text_size = 0
        self._text_sent = time.monotonic()
        kind = Stdout if self._text_name == "stdout" else Stderr
        return tuple(kind(text[at : at + PIECE]) for at in range(0, len(text), PIECE))

    def _flush_text(self) -> None:
        for chunk in self._take_text():
            self._send(chunk)

    def _send(self, chunk: Chunk) -> None:
        if self._credit <= 0:
            self._wait()
        if self._closed:
            return
        with self._more:
            self._credit -= size(chunk)
        self._lane.send(Output(self.run, (chunk,)))
        if self.reflection is not None:
            self.reflection.show((chunk,))

    def _wait(self) -> None:
        main = threading.get_ident() == self._main and self._interrupts.run == self.run
        with self._more:
            while self._credit <= 0 and not self._closed:
                if self.stopped is not None:
                    raise KeyboardInterrupt
                if main:
                    # The one place outside user code where an interrupt may land.
                    self._interrupts.enter()
                try:
                    self._more.wait()
                finally:
                    if main:
                        self._interrupts.leave()

    def _shield(self) -> bool:
        return threading.get_ident() == self._main and self._interrupts.shield()

    def _unshield(self, was: bool) -> None:
        if was:
            self._interrupts.unshield(was)


def carried(text: str) -> str:
    """`text` as UTF-8 can carry it: lone surrogates are written as escapes, as Python's stderr does."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()
