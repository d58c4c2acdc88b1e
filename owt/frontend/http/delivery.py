"""Delivery of a run's chunks to a client, for all answers: whole, streamed, resumed and cached."""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from tornado.httputil import HTTPOutputError

from owt.frontend.http.events import Events
from owt.frontend.http.messages import Messages
from owt.frontend.http.responses import Plain
from owt.frontend.logs import OutputLog
from owt.frontend.problems import Headers, Problem, WholeResponse
from owt.frontend.runs.resuming import EventId, is_stream, lost_event
from owt.frontend.runs.runs import Reader, Run
from owt.wire.chunk import Chunk
from owt.wire.journal import ChunksLost

log = logging.getLogger("owt.calls")


MAX_REASON = 300
"""Maximum number of characters of a reason in a header."""


class Unshared(NamedTuple):
    """Condition of a delivery that has not begun: `instead` is called if a chunk fails `may_share`."""

    may_share: Callable[[Chunk], bool]
    instead: Callable[[], None]


class Writer(Protocol):
    """Writer of one answer: of an HTTP response, or of messages of a WebSocket. See `ResponseWriter`."""

    has_body: bool
    begun: bool

    @property
    def busy(self) -> bool:
        """Return True if the client has yet to take data that was written, or has disconnected."""

    def resumable(self) -> None:
        """Record that the client can resume the answer by another connection."""

    def send(self, answer: WholeResponse) -> None:
        """Send the whole answer."""

    def begin(self, status: int, headers: Headers, pieces: Sequence[bytes]) -> Future[None]:
        """Send the beginning; the result is done when the client has it."""

    def write(self, pieces: Sequence[bytes]) -> Future[None]:
        """Send more; the result is done when the client has it."""

    def end(self) -> None:
        """End the answer."""

    def abort(self) -> None:
        """End the connection so that the client does not take the answer for complete."""

    def send_problem(self, problem: Problem) -> None:
        """Send a problem as the whole answer."""

    def fail(self) -> None:
        """Log the current exception, and end the answer with a problem."""


class Delivery:
    """Driver that renders a run's chunks and writes them, until the run ends or `stop`.

    It runs in callbacks of the event loop: when there are chunks, and when the client has taken what was
    written. So a call that is answered at once needs no task, and a slow client slows down its run.
    """

    _stopped = False
    _timer: asyncio.TimerHandle | None = None
    _written: Future[None] | None = None
    _written_at = 0.0

    def __init__(
        self,
        run: Run,
        reader: Reader,
        renderer: Plain | Events | Messages,
        writer: Writer,
        keepalive: float,
        unshared: Unshared | None = None,
        events: Events | None = None,
    ) -> None:
        """After `keepalive` seconds of silence, events get a comment, so that proxies keep the connection.
        `unshared` is for a call that has joined another's run. `events`, if there are any, replace `renderer`
        if the adaptor streams."""
        self._run = run
        self._reader = reader
        self._renderer = renderer
        self._events = events
        self._writer = writer
        self._keepalive = keepalive
        self._unshared = unshared
        self._output_log = OutputLog(run.id) if OutputLog.enabled() else None

    def start(self) -> None:
        """Begin the response: of events now, of other answers when the run's first chunks say what it is."""
        renderer = self._renderer
        if isinstance(renderer, Events):
            self._writer.resumable()
            self._write(renderer.opening())
            self._timer = asyncio.get_running_loop().call_later(self._keepalive, self._keep_alive, renderer)
        # Also if there are chunks already: the caller has more to do.
        self._reader.notify(self._proceed)

    def stop(self) -> None:
        """Stop reading the run."""
        self._stopped = True
        if self._output_log is not None:
            self._output_log.close()
        if self._timer is not None:
            self._timer.cancel()
        self._reader.close()

    def _proceed(self, _: Future[None] | None = None) -> None:
        """Write what the run has sent, as far as the client takes it."""
        try:
            while not self._stopped:
                if self._written is not None and not self._written.done():
                    self._written.add_done_callback(self._proceed)
                    return
                if self._renderer.aborted:
                    self._abort()
                    return
                chunks = self._reader.available()
                if not chunks and not self._run.ended:
                    self._reader.notify(self._proceed)
                    return
                self._deliver(chunks)
        except ChunksLost:
            self._lose()
        except HTTPOutputError as error:
            log.warning("run %s: %s", self._run.id, error)
            if self._writer.begun:
                self._abort()
            else:
                self._writer.send_problem(Problem("urn:owt:bad-answer", "bad answer", 500, str(error)))
                self.stop()
        except Exception:
            self._writer.fail()
            self.stop()

    def _deliver(self, chunks: list[Chunk]) -> None:
        unshared = self._unshared
        if unshared is not None and not self._writer.begun and not all(map(unshared.may_share, chunks)):
            self.stop()
            unshared.instead()
            return
        if self._events is not None and not self._writer.begun and is_stream(chunks):
            self._start_events()
            return
        if self._output_log is not None:
            self._output_log.write(chunks)
        renderer, writer = self._renderer, self._writer
        pieces = [piece for chunk in chunks for piece in renderer.render(chunk)]
        if self._run.kernel_loss is not None and not writer.begun:
            self._tell_loss(self._run.kernel_loss)
        if renderer.finished and not writer.begun:
            writer.send(WholeResponse(renderer.status, renderer.headers, b"".join(pieces)))
            self.stop()
            return
        if any(pieces) or (renderer.started and not writer.begun):
            self._write(*pieces)
        if renderer.finished or (writer.begun and not writer.has_body):
            writer.end()
            self.stop()
        elif not chunks:
            # The run has ended without its last chunk.
            self._abort()

    def _tell_loss(self, reason: str) -> None:
        """Add the header that says why the call has run in a fresh kernel."""
        line = reason.partition("\n")[0][:MAX_REASON].encode("ascii", "backslashreplace").decode()
        header = ("Owt-Restarted", f"the kernel {line}")
        if header not in self._renderer.headers:
            self._renderer.headers.append(header)

    def _start_events(self) -> None:
        """Answer with events, from the beginning of the run."""
        assert self._events is not None
        self._renderer, self._events = self._events, None
        self._run.resumable = True
        left, self._reader = self._reader, self._run.follow()
        left.close()
        self.start()

    def _write(self, *pieces: bytes) -> None:
        renderer, writer = self._renderer, self._writer
        if writer.begun:
            self._written = writer.write(pieces)
        else:
            self._written = writer.begin(renderer.status, renderer.headers, pieces)
        self._written_at = time.monotonic()

    def _lose(self) -> None:
        """End the response of a client that was too slow for a run that waits for no client."""
        if isinstance(self._renderer, Events):
            last = EventId(self._run.id, self._run.journal.number(self._reader.position))
            self._write(lost_event(last, self._run, 0))
            self._writer.end()
            self.stop()
        else:
            self._abort()

    def _abort(self) -> None:
        self._writer.abort()
        self.stop()

    def _keep_alive(self, events: Events) -> None:
        silence = time.monotonic() - self._written_at
        if silence < self._keepalive:
            delay = self._keepalive - silence
        else:
            delay = self._keepalive
            # Not while the client has yet to take what was written.
            if not self._writer.busy and (comment := events.keepalive()):
                self._write(comment)
        self._timer = asyncio.get_running_loop().call_later(delay, self._keep_alive, events)
