"""Which handler answers at which path: everything lies under the base URL, and calls wherever else nothing
does (`delegate`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tornado.routing import Router
from tornado.web import RequestHandler

from owt.frontend.api import control
from owt.frontend.api.control import Page
from owt.frontend.http.handler import OwtHandler
from owt.frontend.problems import Problem
from owt.frontend.service import Service


class OutsideHandler(OwtHandler):
    """A path that does not lie under the base URL."""

    def _outside(self) -> None:
        """Say where the server is, to those who may come in."""
        self.finish_problem(
            Problem(
                "about:blank", "not found", 404,
                f"this server lies under {self.base}/ (--base-url), and {self.request.path[:80]!r} does not",
            )
        )

    get = head = post = put = patch = delete = options = _outside


Route = tuple[str, type[RequestHandler] | Router, dict[str, Any]]


def routes(service: Service, more: Sequence[Page] = ()) -> list[Route]:
    """All paths that are no calls, in the order in which they are tried; `more` are further pages of the
    server's own."""
    base = re.escape(service.settings.base_url)
    own_pages = control.routes(service, more)
    own: list[Route] = [(base + pattern, handler, each) for pattern, handler, each in own_pages]
    return [*own, (r".*", OutsideHandler, {"service": service})]
