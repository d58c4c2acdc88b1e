"""Where the gateway hangs in the server. It is made when somebody first asks for it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application

from owt.errors import MissingExtra
from owt.frontend import logs
from owt.frontend.http.handler import OwtHandler
from owt.frontend.problems import Problem
from owt.frontend.service import Service

ROOT = "/_owt/jupyter"
"""The path of the gateway, below the base URL."""
PACKAGE = "jupyter_server"


class MissingHandler(OwtHandler):
    """All of the gateway, where the packages that it needs are not installed."""

    def _missing(self, **_: str) -> None:
        detail = str(MissingExtra(PACKAGE, "notebook"))
        self.finish_problem(Problem("urn:owt:missing-extra", "not installed", 501, detail))

    get = head = post = put = patch = delete = _missing


class Mount(Router):
    """Passes requests on to an application of their own, whose handlers find Jupyter's managers in its
    settings."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._application: Application | None = None
        self._close: Any = None

    @property
    def pattern(self) -> str:
        """The paths that are the gateway's, below the base URL."""
        return ROOT + r"(?:/.*)?"

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate | None:
        """The handler of this request."""
        return (self._application or self._make()).find_handler(request)

    def close(self) -> None:
        """Let go of all kernels."""
        if self._close is not None:
            self._close()

    def _make(self) -> Application:
        service = self._service
        if find_spec(PACKAGE) is None:
            # Not kept: it may be installed while the server runs.
            missing = [(r".*", MissingHandler, {"service": service})]
            return Application(missing, log_function=logs.log_request)
        from owt.frontend.gateway.handlers import Gateway

        gateway = Gateway(service, service.settings.base_url + ROOT)
        self._application, self._close = gateway.application, gateway.close
        return gateway.application
