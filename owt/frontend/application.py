"""Routes: the server's pages under /_owt/, and calls at all other paths under the base URL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from owt.frontend import logs
from owt.frontend.api import control
from owt.frontend.api.control import Page
from owt.frontend.http.calls import CallExchange
from owt.frontend.http.handler import PageHandler
from owt.frontend.problems import Problem
from owt.frontend.service import Service

Route = tuple[str, type[RequestHandler] | Router, dict[str, Any]]


class OutsideHandler(PageHandler):
    """Any path that is not under the base URL."""

    def _outside(self) -> None:
        self.finish_problem(
            Problem(
                "about:blank", "not found", 404,
                f"this server lies under {self.base}/ (--base-url), and {self.request.path[:80]!r} does not",
            )
        )

    get = head = post = put = patch = delete = options = _outside


class Owt(Application):
    """Tornado's application, which gives calls to `CallExchange`."""

    def __init__(self, service: Service, more: Sequence[Page] = ()) -> None:
        """`more` are further pages under /_owt/."""
        super().__init__(list(routes(service, more)), log_function=logs.log_request)
        self._service = service
        self._base = service.settings.base_url
        self._pages = f"{self._base}/_owt"

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return what handles this request."""
        base, path = self._base, request.path
        inside = not base or path == base or path.startswith(base + "/")
        if inside and path != self._pages and not path.startswith(self._pages + "/"):
            return CallExchange(request, self._service)
        return super().find_handler(request, **kwargs)


def routes(service: Service, more: Sequence[Page] = ()) -> list[Route]:
    """Return all routes except those of calls, in the order in which they are tried; `more` are further pages
    under /_owt/."""
    base = re.escape(service.settings.base_url)
    pages: list[Route] = [
        (base + pattern, handler, arguments) for pattern, handler, arguments in control.routes(service, more)
    ]
    return [*pages, (r".*", OutsideHandler, {"service": service})]
