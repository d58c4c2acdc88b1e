"""owt.frontend.http.delegate: which requests are calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from owt.frontend.application import CallDelegate, Owt
from owt.frontend.config.settings import Settings
from owt.frontend.service import Service


def is_call(path: str, method: str = "GET", base: str = "") -> bool:
    service = cast("Service", SimpleNamespace(settings=Settings(base_url=base)))
    application = Owt(service)
    connection: Any = SimpleNamespace(set_close_callback=lambda callback: None)
    request = HTTPServerRequest(
        start_line=RequestStartLine(method, path, "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "localhost"}),
        connection=connection,
    )
    return isinstance(application.find_handler(request), CallDelegate)


@pytest.mark.parametrize("path", ["/", "/hello", "/a/b/c", "/_owtful", "/x/_owt/", "*"])
def test_every_path_but_the_servers_own_is_a_call(path: str) -> None:
    assert is_call(path)


@pytest.mark.parametrize("path", ["/_owt", "/_owt/", "/_owt/sessions", "/_owt/no/such/page"])
def test_the_servers_own_pages_are_no_calls(path: str) -> None:
    assert not is_call(path)


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "BREW"])
def test_a_call_is_one_whatever_its_method(method: str) -> None:
    # The handler then says which methods there are, after who may come in has been seen.
    assert is_call("/hello", method)


@pytest.mark.parametrize(
    ("path", "call"),
    [("/owt", True), ("/owt/x", True), ("/owt/_owt/runs", False), ("/owtful", False), ("/", False)],
)
def test_calls_lie_under_the_base_url(path: str, call: bool) -> None:
    assert is_call(path, base="/owt") is call
