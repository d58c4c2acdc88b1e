"""A call's way in and out: an HTTP request to a run, and the run's chunks to an HTTP response."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from urllib.parse import unquote

from tornado.httputil import HTTPOutputError
from tornado.iostream import StreamClosedError

from owt.errors import OwtError
from owt.frontend import pages, requests
from owt.frontend.handler import OwtHandler
from owt.frontend.responses import Renderer, renderer
from owt.frontend.runs import Reader, Run
from owt.wire.call import RequestFacts
from owt.wire.chunk import Chunk, Stderr, Stdout

log = logging.getLogger("owt.calls")

BODILESS = (204, 304)

LARGE = 1024 * 1024
"""Bytes of a body that take so long to parse that the event loop must not wait for it."""


class CallHandler(OwtHandler):
    """Any path that is not the server's own: runs an adaptor."""

    SUPPORTED_METHODS = ("GET", "POST")
    _reader: Reader | None = None
    _ends_connection = False
    _gone = False

    async def get(self) -> None:
        """Run what the query says; a plain GET of `/` gets the page that explains owt."""
        facts = self._facts()
        if requests.is_blank(facts):
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(pages.welcome(f"{facts.scheme}://{facts.host}"))
            return
        await self._answer(facts)

    async def post(self) -> None:
        """Run what the body and the query say."""
        if self._finished:
            return
        await self._answer(self._facts())

    def on_connection_close(self) -> None:
        """The client has gone: so has this reader of the run."""
        self._gone = True
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _facts(self) -> RequestFacts:
        request = self.request
        path = request.path
        return RequestFacts(
            method=request.method or "GET",
            path=unquote(path) if "%" in path else path,
            query=request.query,
            headers=tuple(request.headers.get_all()),
            body=self.body,
            host=request.host,
            remote=request.remote_ip or "",
            scheme=request.protocol,
        )

    async def _answer(self, facts: RequestFacts) -> None:
        session = None
        try:
            if len(facts.body) > LARGE:
                call = await asyncio.to_thread(requests.parse, facts)
                if self._gone:
                    return
            else:
                call = requests.parse(facts)
            session = call.session
            run, cached = self.service.submit(call)
        except OwtError as error:
            refused = self.service.refuse(facts, session, error)
            self.finish_error(error, session, refused.id)
            return
        answer = renderer(call, run.id, call.session)
        if cached is not None:
            answer.headers.append(("Owt-Cache", cached))
        self._reader = reader = run.reader()
        try:
            await self._write(run, reader, answer)
        except StreamClosedError:
            pass
        except HTTPOutputError as error:
            log.warning("run %s: %s", run.id, error)
            self._abort()
        finally:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    async def _write(self, run: Run, reader: Reader, answer: Renderer) -> None:
        begun = False
        if answer.started:
            # Events: the client learns at once that its call was taken.
            self._begin(answer)
            begun = True
            self._without_delay()
            await self.flush()
        telling = log.isEnabledFor(logging.INFO)
        while chunks := await reader.next():
            if telling:
                tell(run, chunks)
            pieces = [piece for chunk in chunks for piece in answer.render(chunk)]
            if answer.aborted:
                # What came before the failure, which may have come with it, reaches the client always.
                if not begun:
                    self._begin(answer)
                for piece in pieces:
                    self.write(piece)
                await self.flush()
                self._abort()
                return
            if not answer.started:
                continue
            if not begun:
                self._begin(answer)
                begun = True
                if answer.finished:
                    self.finish(b"".join(pieces) if answer.status not in BODILESS else None)
                    return
                self._without_delay()
            for piece in pieces:
                self.write(piece)
            if answer.finished:
                break
            await self.flush()
        if begun:
            finished = self.finish()
            if self._ends_connection:
                await finished
                self._close()

    def _without_delay(self) -> None:
        """Have each piece leave when it is written. Tornado turns this off again after a response, and
        Nagle's algorithm would hold the second piece until the client's delayed acknowledgement."""
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.set_nodelay(True)

    def _begin(self, answer: Renderer) -> None:
        self.set_status(answer.status)
        for name, value in answer.headers:
            self.add_header(name, value)
        if self.request.version != "HTTP/1.1" and not answer.finished:
            # Without chunks it ends with its connection (RFC 9112, section 6.3), whatever the client asked
            # for. Tornado would keep the connection, and say so.
            self._ends_connection = all(name != "Content-Length" for name, _ in answer.headers)
            if self._ends_connection:
                self.request.headers.pop("Connection", None)

    def _close(self) -> None:
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.close()

    def _abort(self) -> None:
        """End the connection so that no client takes what it got for the whole."""
        connection = self.request.connection
        stream = getattr(connection, "stream", None)
        if stream is not None and not stream.closed():
            if self.request.version == "HTTP/1.0":
                # Without chunks, the end of the connection would look like the end of the answer.
                linger = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            stream.close()
        self._finished = True


def tell(run: Run, chunks: list[Chunk]) -> None:
    """What a call prints, for the server's log."""
    for chunk in chunks:
        match chunk:
            case Stdout(text=text):
                name = "stdout"
            case Stderr(text=text):
                name = "stderr"
            case _:
                continue
        for line in text.splitlines():
            log.info("run %s %s: %s", run.id, name, line)
