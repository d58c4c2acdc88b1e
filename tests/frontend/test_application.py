"""owt.frontend.application: routes of pages and calls."""

from __future__ import annotations

import re
from typing import Any

import pytest
from scripted_service import ScriptedService
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from owt.frontend.api.control import UnknownPageHandler
from owt.frontend.api.directory import EndpointsHandler, OpenApiHandler
from owt.frontend.application import Owt, routes
from owt.frontend.gateway.mount import Mount
from owt.frontend.http.calls import CallExchange
from owt.testing import async_test


class Unconnected(HTTP1Connection):
    """Connection that only gets a callback."""

    def __init__(self) -> None:
        self.context = None

    def set_close_callback(self, callback: Any) -> None:
        """Ignore the callback."""


def handler_of(path: str, method: str = "GET", **settings: Any) -> Any:
    """Return what handles a request."""
    request = HTTPServerRequest(
        start_line=RequestStartLine(method, path, "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "localhost"}),
        connection=Unconnected(),
    )
    return Owt(ScriptedService(**settings).service).find_handler(request)


def page_of(path: str, base: str) -> Any:
    """Return the handler of a page."""
    service = ScriptedService(base_url=base).service
    all_routes = routes(service, Mount(service), lambda: 0)
    return next(handler for pattern, handler, _ in all_routes if re.fullmatch(pattern, path))


@async_test
async def test_every_path_outside_of_the_servers_pages_is_a_call() -> None:
    for path in ("/", "/hello", "/a/b/c", "/_owtful", "/x/_owt/", "*"):
        assert isinstance(handler_of(path), CallExchange), path


@async_test
async def test_paths_of_the_servers_pages_are_not_calls() -> None:
    for path in ("/_owt", "/_owt/", "/_owt/sessions", "/_owt/no/such/page"):
        assert not isinstance(handler_of(path), CallExchange), path


@async_test
async def test_the_method_does_not_decide_whether_a_request_is_a_call() -> None:
    for method in ("POST", "PUT", "OPTIONS", "BREW"):
        assert isinstance(handler_of("/hello", method), CallExchange), method


@async_test
async def test_calls_are_under_the_base_url() -> None:
    for path, is_call in (
        ("/owt", True), ("/owt/x", True), ("/owt/_owt/runs", False), ("/owtful", False), ("/", False),
    ):
        assert isinstance(handler_of(path, base_url="/owt"), CallExchange) is is_call, path


@pytest.mark.parametrize("base", ["", "/owt", "/a.b"])
def test_pages_are_under_the_base_url(base: str) -> None:
    assert page_of(f"{base}/_owt/endpoints", base) is EndpointsHandler
    assert page_of(f"{base}/_owt/openapi.json", base) is OpenApiHandler
    assert page_of(f"{base}/_owt/nothing", base) is UnknownPageHandler


@pytest.mark.parametrize("path", ["/", "/owty/_owt/endpoints", "/_owt/endpoints", "/aXb/_owt/endpoints"])
def test_all_other_paths_are_outside_of_the_base_url(path: str) -> None:
    assert page_of(path, "/a.b" if "X" in path else "/owt") is UnknownPageHandler
