"""HTTP exchange: one request and its response, without Tornado's handlers.

    headers_received   access gate, then `on_headers`
    data_received      body, up to its limit
    finish             `on_body`, which responds with `writer` or delivers a run
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)

from owt.errors import MethodNotAllowed, OwtError
from owt.frontend.access.origins import is_browser
from owt.frontend.access.proxies import apply_forwarded
from owt.frontend.http import gate
from owt.frontend.http.delivery import Delivery, Unshared
from owt.frontend.http.events import Events
from owt.frontend.http.responses import Plain
from owt.frontend.http.writer import ResponseWriter
from owt.frontend.problems import Problem, WholeResponse
from owt.frontend.runs.resuming import EventId, Resumed, lost_event, resume
from owt.frontend.runs.runs import Reader, Run
from owt.frontend.service import Service
from owt.wire.chunk import Head


class Exchange(HTTPMessageDelegate):
    """One request and its response. Subclasses define `on_body`.

    `base` is the path of the whole server ("" or such as `/owt`), `user` the name of the authenticated user,
    and `disconnected` is True when the client has closed the connection.
    """

    user: str | None = None
    disconnected = False
    _delivery: Delivery | None = None

    def __init__(self, request: HTTPServerRequest, service: Service) -> None:
        self.request = request
        self.service = service
        self.writer = ResponseWriter(request, service.counters)
        self.body = gate.Body(service.settings.max_body)
        self.base = service.settings.base_url
        apply_forwarded(request, service.settings)
        if self.base:
            # A client that knows only a longer path needs it to find the pages under /_owt/.
            self.writer.headers.append(("Owt-Base", self.base))
        cast(HTTP1Connection, request.connection).set_close_callback(self.on_connection_close)

    def on_headers(self) -> Awaitable[None] | None:
        """Respond now if that needs no body. Called when the access gate has let the request pass.

        The result, if there is one, is done when the body is to be read.
        """
        return None

    def on_body(self) -> None:
        """Respond to the whole request."""
        raise NotImplementedError

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Pass the access gate, which may take time."""
        access = gate.check(self.service, self.request)
        if isinstance(access, gate.Access):
            return self._pass_gate(access)
        return self._wait_for(access)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Keep a part of the body."""
        if self.body.compressed:
            return self._decompress(chunk)
        problem = self.body.add(chunk)
        if problem is not None and not self.writer.ended:
            self._refuse_body(problem)
        return None

    async def _decompress(self, chunk: bytes) -> None:
        if not self.writer.ended and (problem := await self.body.add_compressed(chunk)) is not None:
            self._refuse_body(problem)

    def finish(self) -> None:
        """Respond, as the whole request has been received."""
        self.writer.request_complete = True
        if not self.writer.ended:
            try:
                if self.body.compressed and (problem := self.body.complete(self.request.headers)):
                    self._refuse_body(problem)
                else:
                    self.on_body()
            except Exception:
                self.writer.fail()
        if self.writer.closed:
            # The client disconnected right after its request: Tornado reports only what happens later.
            self.on_connection_close()

    def on_connection_close(self) -> None:
        """Stop, as the client has disconnected."""
        self.disconnected = True
        self.body.drop()
        if self._delivery is not None:
            self._delivery.stop()

    def deliver(
        self,
        run: Run,
        reader: Reader,
        renderer: Plain | Events,
        unshared: Unshared | None = None,
        events: Events | None = None,
    ) -> None:
        """Respond with a run's chunks, with `events` instead of `renderer` if the adaptor streams."""
        keepalive = self.service.settings.keepalive
        self._delivery = Delivery(run, reader, renderer, self.writer, keepalive, unshared, events)
        self._delivery.start()

    def events(
        self, run: Run, *, after: int = 0, head: Head | None = None, failed: bool = False
    ) -> Events:
        """Return the renderer of a run's events for this client."""
        by_browser = is_browser(self.request.headers)
        return Events(run.id, run.session, after=after, head=head, failed=failed, by_browser=by_browser)

    def resume(self, run: Run | None, last: EventId) -> None:
        """Respond with the events of a run after the last one that the client has. If none can follow,
        respond with 204, which stops a browser; if they are lost, with an event that says so."""
        resumed = "over" if last.number is None else "lost" if run is None else resume(run, last.number)
        match resumed:
            case Resumed(run=run, reader=reader, after=after):
                head, failed = run.journal.head, run.failure is not None
                self.deliver(run, reader, self.events(run, after=after, head=head, failed=failed))
            case "over":
                self.writer.send(WholeResponse(204, [("Owt-Run", last.run)], b""))
            case "lost":
                event = lost_event(last, run, self.service.settings.run_retention)
                self.writer.send(WholeResponse(200, Events(last.run, None).headers, event))

    def at_endpoint(self) -> bool:
        """Return True if the path is that of an endpoint, whose clients get errors as JSON by default."""
        return False

    def _refuse_body(self, problem: Problem) -> None:
        self.writer.json_by_default = self.at_endpoint()
        self.writer.send_problem(problem)

    def refuse(self, error: OwtError) -> None:
        """Respond with an error, but to OPTIONS with the methods of the path (RFC 9110, section 9.3.7)."""
        if self.request.method == "OPTIONS" and isinstance(error, MethodNotAllowed):
            self.writer.send(WholeResponse(204, [("Allow", error.allow)], b""))
        else:
            self.writer.json_by_default = self.at_endpoint()
            self.writer.send_error(error)

    def can_show_aborts(self) -> bool:
        """Return True if the client can see that a response was aborted, and respond with 505 otherwise.

        HTTP/1.0 has no chunks, and a Unix socket has no reset.
        """
        if self.writer.chunked or self.service.settings.unix_socket is None:
            return True
        self.writer.send_problem(
            Problem(
                "urn:owt:http-version",
                "HTTP/1.1 is needed",
                505,
                "this came by HTTP/1.0 over the Unix socket, where an answer that broke off would look "
                "whole; use HTTP/1.1 (nginx: proxy_http_version 1.1;)",
            )
        )
        return False

    async def _wait_for(self, access: Awaitable[gate.Access]) -> None:
        result = await access
        if not self.disconnected and (waiting := self._pass_gate(result)) is not None:
            await waiting

    def _pass_gate(self, access: gate.Access) -> Awaitable[None] | None:
        self.writer.headers += access.headers
        self.user = access.user
        try:
            if access.refusal is not None:
                self.writer.refuse(access.refusal)
            elif (problem := self.body.check_head(self.request.headers)) is not None:
                self._refuse_body(problem)
            else:
                return self.on_headers()
        except Exception:
            self.writer.fail()
        return None
