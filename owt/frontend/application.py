"""Routes: the server's pages under /_owt/, and calls at all other paths under the base URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

from owt.frontend import logs
from owt.frontend.api import control, directory, health, metrics
from owt.frontend.api.followers import AnswerExchange, EventsExchange, RunRouter
from owt.frontend.api.input import InputHandler
from owt.frontend.gateway.mount import ROOT, Mount
from owt.frontend.http.calls import CallExchange
from owt.frontend.http.streamed_calls import StreamedCallExchange, may_stream
from owt.frontend.http.websocket import CallSocket
from owt.frontend.service import Service

Route = tuple[str, type[RequestHandler] | Router, dict[str, Any]]


class Owt(Application):
    """Tornado's application, which gives calls to `CallExchange`, `StreamedCallExchange` and `CallSocket`."""

    def __init__(self, service: Service, connections: Callable[[], int] = lambda: 0) -> None:
        """`connections` returns the number of open client connections."""
        self.gateway = Mount(service)
        all_routes = routes(service, self.gateway, connections)
        super().__init__(all_routes, log_function=logs.log_request, compress_response=True)
        self._service = service
        self._base = service.settings.base_url
        self._max_body = service.settings.max_body
        self._pages = f"{self._base}/_owt"

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return what handles this request."""
        base, path = self._base, request.path
        inside = not base or path == base or path.startswith(base + "/")
        if inside and path != self._pages and not path.startswith(self._pages + "/"):
            if _is_handshake(request):
                return self.get_handler_delegate(request, CallSocket, {"service": self._service})
            exchange = StreamedCallExchange if may_stream(request, self._max_body) else CallExchange
            return exchange(request, self._service)
        return super().find_handler(request, **kwargs)


def _is_handshake(request: HTTPServerRequest) -> bool:
    """Return True for the request that opens a WebSocket (RFC 6455, section 4.1).

    One by HTTP/1.0 or with a body is a plain call, without the upgrade (RFC 9110, section 7.8).
    """
    headers = request.headers
    return (
        "Upgrade" in headers
        and headers["Upgrade"].lower() == "websocket"
        and request.method == "GET"
        and request.version == "HTTP/1.1"
        and headers.get("Content-Length", "0") == "0"
        and "Transfer-Encoding" not in headers
    )


def routes(service: Service, gateway: Router, connections: Callable[[], int]) -> list[Route]:
    """Return all routes except those of calls, in the order in which they are tried."""
    options: dict[str, Any] = {"service": service}
    registry = metrics.new_registry(service, connections)
    pages: list[Route] = [
        (r"/_owt/?", control.IndexHandler, options),
        (r"/_owt/sessions", control.SessionsHandler, options),
        (r"/_owt/sessions/([^/]+)", control.SessionHandler, options),
        (r"/_owt/sessions/([^/]+)/interrupt", control.InterruptHandler, options),
        (r"/_owt/sessions/([^/]+)/restart", control.RestartHandler, options),
        (r"/_owt/runs", control.RunsHandler, options),
        (r"/_owt/runs/([^/]+)", control.RunHandler, options),
        (r"/_owt/runs/([^/]+)/events", RunRouter(service, EventsExchange), {}),
        (r"/_owt/runs/([^/]+)/answer", RunRouter(service, AnswerExchange), {}),
        (r"/_owt/runs/([^/]+)/input", InputHandler, options),
        (r"/_owt/cache", control.CacheHandler, options),
        (r"/_owt/health", health.HealthHandler, options),
        (r"/_owt/health/live", health.LiveHandler, options),
        (r"/_owt/health/ready", health.ReadyHandler, options),
        (r"/_owt/endpoints", directory.EndpointsHandler, options),
        (r"/_owt/openapi\.json", directory.OpenApiHandler, options),
        (r"/_owt/metrics", metrics.MetricsHandler, {**options, "registry": registry}),
        (ROOT + r"(?:/.*)?", gateway, {}),
    ]
    base = re.escape(service.settings.base_url)
    below = [(base + pattern, handler, arguments) for pattern, handler, arguments in pages]
    return [*below, (r".*", control.UnknownPageHandler, options)]
