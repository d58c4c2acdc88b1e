"""owt.frontend.http.answering: what is left of a request whose client has gone."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from owt.frontend.access.authentication import Authenticator
from owt.frontend.access.origins import Origins
from owt.frontend.config.credentials import Credentials
from owt.frontend.config.settings import Settings
from owt.frontend.counters import Counters
from owt.frontend.http.answering import AnsweringHandler
from owt.frontend.service import Service
from owt.testing import async_test, settle

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


@asynccontextmanager
async def serving(handler: type[AnsweringHandler]) -> AsyncIterator[int]:
    """The port of a server that has this handler alone."""
    parts = {"authenticator": Authenticator(Credentials()), "origins": Origins(Settings())}
    parts["counters"] = Counters()
    given: dict[str, Any] = {"service": cast("Service", SimpleNamespace(settings=Settings(), **parts))}
    server = HTTPServer(Application([(r".*", handler, given)], log_function=lambda handler: None))
    socket, port = bind_unused_port()
    server.add_socket(socket)
    try:
        yield port
    finally:
        server.stop()
        await server.close_all_connections()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await settle()


@pytest.mark.parametrize("sent", [HEAD, HEAD + b"x" * 99])
def test_nothing_is_left_of_a_client_that_goes_in_its_body(sent: bytes) -> None:
    handlers: list[weakref.ref[AnsweringHandler]] = []

    class Handler(AnsweringHandler):
        def initialize(self, service: Service) -> None:
            super().initialize(service)
            handlers.append(weakref.ref(self))

        def post(self) -> None:
            raise AssertionError("the body was never whole")

    @async_test
    async def come_and_go() -> None:
        async with serving(Handler) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            await until(lambda: handlers)
            writer.close()
            await writer.wait_closed()
            await until(lambda: gc.collect() >= 0 and handlers[0]() is None)

    come_and_go()
