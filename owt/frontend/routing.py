"""Which handler answers at which path: everything lies under the base URL."""

from __future__ import annotations

import re

from tornado.web import RequestHandler

from owt.frontend import control
from owt.frontend.handler import OwtHandler
from owt.frontend.handlers import CallHandler
from owt.frontend.problems import Problem
from owt.frontend.service import Service


class OutsideHandler(OwtHandler):
    """A path that does not lie under the base URL."""

    async def prepare(self) -> None:
        """Say where the server is, to those who may come in."""
        await super().prepare()
        if self._finished:
            return
        self.finish_problem(
            Problem(
                "about:blank", "not found", 404,
                f"this server lies under {self.base}/ (--base-url), and {self.request.path[:80]!r} does not",
            )
        )


Route = tuple[str, type[RequestHandler], dict[str, Service]]


def routes(service: Service) -> list[Route]:
    """All paths, in the order in which they are tried."""
    given = {"service": service}
    base = re.escape(service.settings.base_url)
    own: list[Route] = [(base + pattern, handler, each) for pattern, handler, each in control.routes(service)]
    if not base:
        return [*own, (r".*", CallHandler, given)]
    return [*own, (base + r"(?:/.*)?", CallHandler, given), (r".*", OutsideHandler, given)]
