"""owt.frontend.routing: which handler answers at which path."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from owt.frontend.api.control import UnknownHandler
from owt.frontend.api.directory import EndpointsHandler, OpenApiHandler
from owt.frontend.api.directory import routes as of_endpoints
from owt.frontend.config.settings import Settings
from owt.frontend.routing import OutsideHandler, routes
from owt.frontend.service import Service


def handler(path: str, base: str) -> Any:
    """Who answers at this path of a server with this base URL, where no call does."""
    service = cast("Service", SimpleNamespace(settings=Settings(base_url=base)))
    found = routes(service, of_endpoints(service))
    return next(each for pattern, each, _ in found if re.fullmatch(pattern, path))


@pytest.mark.parametrize("base", ["", "/owt", "/a.b"])
def test_pages_lie_under_the_base_url(base):
    assert handler(f"{base}/_owt/endpoints", base) is EndpointsHandler
    assert handler(f"{base}/_owt/openapi.json", base) is OpenApiHandler
    assert handler(f"{base}/_owt/nothing", base) is UnknownHandler


@pytest.mark.parametrize("path", ["/", "/owty/_owt/endpoints", "/_owt/endpoints", "/aXb/_owt/endpoints"])
def test_all_else_is_outside(path):
    assert handler(path, "/a.b" if "X" in path else "/owt") is OutsideHandler
