"""Answering with a run: its chunks, as they come, to an HTTP response."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable

from tornado.httputil import HTTPOutputError
from tornado.iostream import IOStream, StreamClosedError

from owt.frontend.http.events import Events
from owt.frontend.http.handler import OwtHandler
from owt.frontend.http.responses import Plain
from owt.frontend.logs import log_output
from owt.frontend.problems import Problem
from owt.frontend.runs.journal import ChunksLost
from owt.frontend.runs.resuming import EventId, Resumed, lost_event, resume
from owt.frontend.runs.runs import Reader, Run
from owt.wire.chunk import Chunk, Done
from owt.wire.http import BODILESS

log = logging.getLogger("owt.calls")

MANY = 16 * 1024
"""Bytes that are worth a way of their own to the client."""

Renderer = Plain | Events


class AnsweringHandler(OwtHandler):
    """A handler that can answer with a run."""

    _reader: Reader | None = None
    _keepalive: asyncio.TimerHandle | None = None
    _comment: asyncio.Future[None] | None = None
    _written = 0.0
    _ends_connection = False
    gone = False

    def on_connection_close(self) -> None:
        """The client has gone: so has this reader of the run, and the rest of the body."""
        super().on_connection_close()
        self.gone = True
        self._leave()

    def breakable(self) -> bool:
        """Whether a client can see that an answer broke off, which it cannot where there are neither chunks
        nor a reset: a Unix socket knows none. Otherwise this is the answer."""
        if self._chunked or self.service.settings.unix_socket is None:
            return True
        self.finish_problem(
            Problem(
                "urn:owt:http-version",
                "HTTP/1.1 is needed",
                505,
                "this came by HTTP/1.0 over the Unix socket, where an answer that broke off would look "
                "whole; use HTTP/1.1 (nginx: proxy_http_version 1.1;)",
            )
        )
        return False

    async def answer(
        self, run: Run, reader: Reader, answer: Renderer, first: list[Chunk] | None = None
    ) -> None:
        """Send what the reader gets, after the `first` that it got, to its end or until the client leaves."""
        self._reader = reader
        try:
            await self._write(run, reader, answer, first)
        except StreamClosedError:
            pass
        except ChunksLost:
            self._lose(run, reader, answer)
        except HTTPOutputError as error:
            log.warning("run %s: %s", run.id, error)
            self._abort()
        finally:
            self._leave()

    def answer_whole(self, run: Run, reader: Reader, answer: Plain) -> Awaitable[None] | None:
        """Send what the reader has, if that is a whole answer. Otherwise gives what is to be awaited."""
        self._reader = reader
        try:
            chunks = reader.available()
            whole = bool(chunks) and isinstance(chunks[-1], Done) and run.failure is None
        except ChunksLost:
            self._lose(run, reader, answer)
            self._leave()
            return None
        if not whole or log.isEnabledFor(logging.INFO):
            return self.answer(run, reader, answer, chunks)
        try:
            pieces = [piece for chunk in chunks for piece in answer.render(chunk)]
            self._begin(answer)
            self._finish_whole(answer, pieces)
        except HTTPOutputError as error:
            log.warning("run %s: %s", run.id, error)
            self._abort()
        finally:
            self._leave()
        return None

    async def resume(self, run: Run | None, place: EventId) -> None:
        """Go on with a run's events after the last that the client has, or say that it is over (204) or
        lost (an event)."""
        found = "over" if place.number is None else "lost" if run is None else resume(run, place.number)
        match found:
            case Resumed(run=run, reader=reader, after=after):
                head, failed = run.journal.head, run.failure is not None
                events = Events(run.id, run.session, after=after, head=head, failed=failed)
                await self.answer(run, reader, events)
            case "over":
                self.set_status(204)
                self.add_header("Owt-Run", place.run)
                self.finish()
            case _:
                self._begin(Events(place.run, None))
                self.finish(lost_event(place, run is not None, self.service.settings.run_retention))

    def _lose(self, run: Run, reader: Reader, answer: Renderer) -> None:
        """The reader was too slow for a run that waits for nobody."""
        if isinstance(answer, Events):
            place = EventId(run.id, run.journal.number(reader.position))
            self.finish(lost_event(place, True, self.service.settings.run_retention))
        else:
            self._abort()

    def _leave(self) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _finish_whole(self, answer: Renderer, pieces: list[bytes]) -> None:
        self.finish(b"".join(pieces) if answer.status not in BODILESS else None)

    async def _write(self, run: Run, reader: Reader, answer: Renderer, chunks: list[Chunk] | None) -> None:
        begun = False
        if isinstance(answer, Events):
            # The client learns at once that its call was taken.
            self._begin(answer)
            begun = True
            self.write(answer.opening())
            self._keep_alive(answer)
            await self.flush()
        telling = log.isEnabledFor(logging.INFO)
        chunks = chunks or await reader.next()
        while chunks:
            if telling:
                log_output(run.id, chunks)
            pieces = [piece for chunk in chunks for piece in answer.render(chunk)]
            if answer.aborted:
                # What came before the failure, which may have come with it, reaches the client always.
                if not begun:
                    self._begin(answer)
                for piece in pieces:
                    self.write(piece)
                # A reset forgets what has not left yet.
                await self.flush()
                self._abort()
                return
            if answer.started:
                if not begun:
                    self._begin(answer)
                    begun = True
                    if answer.finished:
                        self._finish_whole(answer, pieces)
                        return
                if self._comment is not None:
                    await self._comment
                    self._comment = None
                if answer.finished:
                    for piece in pieces:
                        self.write(piece)
                    break
                self._written = time.monotonic()
                await self._pass_on(pieces)
            chunks = await reader.next()
        if begun:
            finished = self.finish()
            if self._ends_connection:
                await finished
                self._close()

    def _pass_on(self, pieces: list[bytes]) -> Awaitable[None]:
        """Send pieces of an answer that has begun.

        Many bytes become a chunk (RFC 9112, section 7.1) in one go: Tornado would copy them three times.
        """
        size = sum(map(len, pieces))
        if size >= MANY and self._headers.get("Transfer-Encoding") == "chunked":
            stream: IOStream = self.request.connection.stream  # type: ignore[union-attr]
            return stream.write(b"".join((b"%x\r\n" % size, *pieces, b"\r\n")))
        for piece in pieces:
            self.write(piece)
        return self.flush()

    def _keep_alive(self, answer: Events) -> None:
        """Send a comment whenever nothing was sent for a while, so that proxies keep the connection."""
        loop = asyncio.get_running_loop()
        interval = self.service.settings.keepalive

        def look() -> None:
            wait = self._written + interval - time.monotonic()
            if wait <= 0:
                wait = interval
                # Not after one that the client has yet to take.
                if (self._comment is None or self._comment.done()) and not self._writing():
                    self._say(answer.keepalive())
            self._keepalive = loop.call_later(wait, look)

        self._written = time.monotonic()
        self._keepalive = loop.call_later(interval, look)

    def _say(self, comment: bytes) -> None:
        if comment:
            self.write(comment)
            self._written = time.monotonic()
            self._comment = asyncio.ensure_future(self.flush())
            self._comment.add_done_callback(asyncio.Future.exception)

    def _writing(self) -> bool:
        stream = getattr(self.request.connection, "stream", None)
        return stream is not None and (stream.closed() or stream.writing())

    def _begin(self, answer: Renderer) -> None:
        self.set_status(answer.status)
        self.add_headers(answer.headers)
        if not self._chunked and not answer.finished:
            # Without chunks it ends with its connection (RFC 9112, section 6.3), whatever the client asked
            # for. Tornado would keep the connection, and say so.
            self._ends_connection = all(name != "Content-Length" for name, _ in answer.headers)
            if self._ends_connection:
                self.request.headers.pop("Connection", None)

    def _close(self) -> None:
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.close()

    @property
    def _chunked(self) -> bool:
        """Whether an answer of unknown length has chunks, the last of which is its end: as Tornado has it."""
        return self.request.version == "HTTP/1.1"

    def _abort(self) -> None:
        """End the connection so that no client takes what it got for the whole."""
        connection = self.request.connection
        stream = getattr(connection, "stream", None)
        if stream is not None and not stream.closed():
            if not self._chunked:
                # Without chunks, the end of the connection would look like the end of the answer.
                stream.reset()
            stream.close()
        self._finished = True
