"""owt.frontend.http.handler: behaviour that all pages share."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tornado.testing import bind_unused_port
from tornado.web import Application, HTTPError

from owt.frontend.access.authentication import Authenticator
from owt.frontend.access.origins import Origins
from owt.frontend.config.credentials import Credentials
from owt.frontend.config.settings import Settings
from owt.frontend.counters import Counters
from owt.frontend.descriptors import Descriptors
from owt.frontend.http.handler import PageHandler
from owt.frontend.http.listener import Listener
from owt.frontend.service import Service
from owt.testing import async_test

TOKEN = "0123456789abcdef"


class Handler(PageHandler):
    """Handler that responds with the user's name, or does what the path says."""

    def get(self) -> None:
        match self.request.path:
            case "/fault":
                raise ZeroDivisionError("by zero")
            case "/error":
                raise HTTPError(400, "secret")
        self.finish(repr(self.user))


async def answer(
    uri: str, *headers: str, credentials: Credentials, method: str = "GET", **options: Any
) -> str:
    """Return the whole response of a server with this handler and these settings."""
    settings = Settings(**options)
    parts = {"authenticator": Authenticator(credentials), "origins": Origins(settings)}
    parts["counters"] = Counters()
    service = cast("Service", SimpleNamespace(settings=settings, **parts))
    arguments: dict[str, Any] = {"service": service}
    application = Application([(r".*", Handler, arguments)], log_function=lambda handler: None)
    server = Listener(application, settings=settings, descriptors=Descriptors())
    socket, port = bind_unused_port()
    server.add_socket(socket)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {uri} HTTP/1.1", "Host: localhost", *headers, "Connection: close", "", ""]
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(10):
        text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    server.stop()
    await server.close_all_connections()
    return text


@async_test
async def test_a_handler_knows_the_authenticated_user() -> None:
    bearer = f"Authorization: Bearer {TOKEN}"
    assert (await answer("/", bearer, credentials=Credentials({}, [TOKEN]))).endswith("\r\n\r\n'token'")
    assert (await answer("/", bearer, credentials=Credentials())).endswith("\r\n\r\nNone")


@async_test
async def test_a_request_without_credentials_gets_401_and_runs_no_method() -> None:
    text = await answer("/fault", credentials=Credentials({}, [TOKEN]))
    assert text.startswith("HTTP/1.1 401 ")
    assert '\r\nWww-Authenticate: Bearer realm="owt"\r\n' in text
    assert "\r\nConnection: close\r\n" in text


@pytest.mark.parametrize(("path", "status", "logged"), [("/fault", 500, True), ("/error", 400, False)])
def test_faults_are_logged_without_query_and_headers(
    caplog: pytest.LogCaptureFixture, path: str, status: int, logged: bool
) -> None:
    with caplog.at_level(logging.DEBUG):
        text = asyncio.run(answer(f"{path}?secret=1", "Cookie: secret", credentials=Credentials()))
    assert text.startswith(f"HTTP/1.1 {status} ")
    assert ("ZeroDivisionError: by zero" in caplog.text) == logged
    assert (f"GET {path}\n" in caplog.text) == logged
    assert "secret" not in caplog.text


@async_test
async def test_an_unsupported_method_gets_405_with_the_supported_ones() -> None:
    text = await answer("/x", credentials=Credentials(), method="PUT")
    assert text.startswith("HTTP/1.1 405 ")
    assert "\r\nAllow: GET, HEAD, OPTIONS\r\n" in text


@async_test
async def test_a_body_beyond_the_limit_gets_413_before_it_has_been_read() -> None:
    text = await answer("/x", f"Content-Length: {10**12}", credentials=Credentials())
    assert text.startswith("HTTP/1.1 413 ")
    assert f"has {10**12} bytes" in text
    assert "\r\nConnection: close\r\n" in text


@pytest.mark.parametrize("base_url", ["", "/owt"])
@async_test
async def test_a_preflight_of_an_allowed_origin_gets_its_headers_with_and_without_a_base_url(
    base_url: str,
) -> None:
    preflight = ("Origin: https://app.example", "Access-Control-Request-Method: DELETE")
    options = {"base_url": base_url, "allow_origin": ["https://app.example"]}
    text = await answer("/x", *preflight, credentials=Credentials(), method="OPTIONS", **options)
    assert text.startswith("HTTP/1.1 204 ")
    assert text.count("\r\nAccess-Control-Allow-Origin: https://app.example\r\n") == 1
    assert text.count("\r\nAccess-Control-Allow-Credentials: true\r\n") == 1
