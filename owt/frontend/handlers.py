"""A call's way in and out: an HTTP request to a run, and the run's chunks to an HTTP response."""

from __future__ import annotations

import logging
import socket
import struct
from typing import Any
from urllib.parse import unquote

from tornado.httputil import HTTPOutputError
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from owt.errors import OwtError
from owt.frontend import pages, requests
from owt.frontend.auth import REALM
from owt.frontend.problems import Answer, Problem, problem_response
from owt.frontend.responses import Renderer, renderer
from owt.frontend.runs import Reader, Run
from owt.frontend.service import Service
from owt.wire.call import RequestFacts
from owt.wire.chunk import Chunk, Stderr, Stdout

log = logging.getLogger("owt.calls")

BODILESS = (204, 304)
LONGEST_LENGTH = 20
"""Digits of a Content-Length that are read as a number; Python refuses to read thousands."""


@stream_request_body
class OwtHandler(RequestHandler):
    """What all of owt's handlers share: the door, the body, and errors as problem documents.

    The body is taken as it comes: so whoever may not come in, or brings too much, is told before
    it has been read, and Tornado does not parse forms that are parsed once already.
    """

    service: Service

    def initialize(self, service: Service) -> None:
        """`service`: the parts of the server."""
        self.service = service
        self._body: list[bytes] = []
        self._body_size = 0

    @property
    def body(self) -> bytes:
        """The request's body."""
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    def data_received(self, chunk: bytes) -> None:
        """A part of the body."""
        self._body_size += len(chunk)
        if self._body_size > self.service.settings.max_body:
            self._body.clear()
            if not self._finished:
                self._too_large("more")
        else:
            self._body.append(chunk)

    def set_default_headers(self) -> None:
        """No Server header, and no Content-Type before there is a content."""
        self.clear_header("Server")
        self.clear_header("Content-Type")

    def compute_etag(self) -> str | None:
        """None: the answer of a call is not a document that stays."""
        return None

    def prepare(self) -> None:
        """Turn away whoever may not come in, and bodies that say themselves that they are too large."""
        if not self.service.doorkeeper.admits(self.request.headers.get("Authorization")):
            self.set_header("WWW-Authenticate", REALM)
            # The body has not been read, so the connection ends with this answer.
            self.set_header("Connection", "close")
            problem = Problem(
                "urn:owt:unauthorized", "not authorized", 401,
                "this server needs a user and a password: curl -u user:password ...",
            )
            self.finish_problem(problem)
            return
        limit = self.service.settings.max_body
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and len(length) > LONGEST_LENGTH:
            self._too_large("more")
        elif length.isdecimal() and int(length) > limit:
            self._too_large(f"{int(length)} bytes")

    def _too_large(self, size: str) -> None:
        limit = self.service.settings.max_body
        self.finish_problem(
            Problem(
                "urn:owt:body-too-large", "the body is too large", 413,
                f"the request's body has {size}; the limit is {limit} bytes (--max-body)",
            )
        )

    def finish_problem(self, problem: Problem) -> None:
        """Answer with a problem."""
        content_type, body = problem.body(self.request.headers.get("Accept", "*/*"))
        self.finish_answer(Answer(problem.status, [("Content-Type", content_type)], body))

    def finish_answer(self, answer: Answer) -> None:
        """Answer with what is complete already."""
        self.set_status(answer.status)
        for name, value in answer.headers:
            self.add_header(name, value)
        if not self.request._body_future.done():
            # Tornado closes the connection rather than read the rest, and a client must not use it again.
            self.set_header("Connection", "close")
        self.finish(answer.body)

    def finish_error(self, error: OwtError, session: str | None = None, run: str | None = None) -> None:
        """Answer with an error of ours."""
        accept = self.request.headers.get("Accept", "*/*")
        self.finish_answer(problem_response(error, accept, session, run))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tornado's own errors, as problems; those of our making never say how the server works."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        detail = (error.log_message or "") if isinstance(error, HTTPError) else ""
        title = self._reason or "error"
        if status_code == 405:
            detail = f"{self.request.method} is not answered at {self.request.path}"
        elif status_code >= 500:
            detail = "this is a fault in owt's frontend; its log says more"
        self.finish_problem(Problem("about:blank", title, status_code, detail))


class CallHandler(OwtHandler):
    """Any path that is not the server's own: runs an adaptor."""

    SUPPORTED_METHODS = ("GET", "POST")
    _reader: Reader | None = None

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
            self.finish()

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
