"""The short way of a call through Tornado, which has a longer one that fits every page."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Sequence
from typing import Any

from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

from owt.frontend import logs
from owt.frontend.api.control import Page
from owt.frontend.http.calls import CallHandler
from owt.frontend.routing import routes
from owt.frontend.service import Service


class Owt(Application):
    """Tornado's application, which gives calls a delegate of their own and does not try every page's
    pattern for them."""

    def __init__(self, service: Service, more: Sequence[Page] = ()) -> None:
        """`more` are further pages under /_owt/."""
        super().__init__(routes(service, more), log_function=logs.log_request)
        self._service = service
        self._base = service.settings.base_url
        self._pages = f"{self._base}/_owt"
        self._tasks: set[asyncio.Future[None]] = set()

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Who answers this request."""
        base, path = self._base, request.path
        inside = not base or path == base or path.startswith(base + "/")
        if inside and path != self._pages and not path.startswith(self._pages + "/"):
            return CallDelegate(self, request, self._service)
        return super().find_handler(request, **kwargs)

    def go_on(self, waiting: Awaitable[None]) -> None:
        """Have a task await this; nobody else holds it."""
        task = asyncio.ensure_future(waiting)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class CallDelegate(HTTPMessageDelegate):
    """What `tornado.web` does for a handler whose body comes in parts, for calls alone.

    A call that is answered at once, as most are, is read in one step of the event loop and answered in
    another, without a task. Tornado's own way, whose tasks and futures serve any handler, takes five.
    """

    def __init__(self, application: Owt, request: HTTPServerRequest, service: Service) -> None:
        self._application = application
        self._request = request
        self._service = service

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """The head is here: whoever may not come in is told so."""
        # Where Tornado has it, which sets an error when the client leaves in the middle of the body.
        self._request._body_future = Future()
        self._handler = CallHandler(self._application, self._request, service=self._service)
        self._handler.go_on = self._application.go_on
        # No handler of ours transforms its output.
        self._handler._transforms = []
        return self._handler.enter()

    def data_received(self, chunk: bytes) -> None:
        """A part of the body."""
        self._handler.data_received(chunk)

    def finish(self) -> None:
        """All of the request is here."""
        if not self._request._body_future.done():
            self._request._body_future.set_result(None)
        if (waiting := self._handler.take()) is not None:
            self._application.go_on(waiting)

    def on_connection_close(self) -> None:
        """The client has left before all of the request was here."""
        self._handler.on_connection_close()
