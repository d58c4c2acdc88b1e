"""Routing of requests to the gateway, which is created with the first of them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application

from owt.errors import MissingExtra
from owt.frontend import logs
from owt.frontend.http.handler import PageHandler
from owt.frontend.problems import Problem
from owt.frontend.service import Service

ROOT = "/_owt/jupyter"
"""The path of the gateway, below the base URL."""
PACKAGE = "jupyter_server"


class MissingHandler(PageHandler):
    """All paths of the gateway, if the packages that it needs are not installed."""

    def _missing(self, **_: str) -> None:
        detail = str(MissingExtra(PACKAGE, "notebook"))
        self.finish_problem(Problem("urn:owt:missing-extra", "not installed", 501, detail))

    get = head = post = put = patch = delete = options = _missing


class Mount(Router):
    """Router to the gateway's own application, whose handlers find Jupyter's managers in its settings."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._application: Application | None = None

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate | None:
        """Return the handler of this request."""
        return (self._application or self._create()).find_handler(request)

    def close(self) -> None:
        """Close the connections to kernels."""
        if self._application is not None:
            self._application.settings["kernel_manager"].close()

    def _create(self) -> Application:
        service = self._service
        if find_spec(PACKAGE) is None:
            # Not kept: the package may be installed while the server runs.
            missing = [(r".*", MissingHandler, {"service": service})]
            return Application(missing, log_function=logs.log_request)
        from owt.frontend.gateway.handlers import create_application

        self._application = create_application(service, service.settings.base_url + ROOT)
        return self._application
