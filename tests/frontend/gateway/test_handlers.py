"""owt.frontend.gateway.handlers: a client that disconnects before its WebSocket is open."""

from __future__ import annotations

from typing import Any

import pytest
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from tornado.web import HTTPError

from owt.frontend.gateway.handlers import Channels
from owt.testing import async_test


class StubConnection:
    disconnected = False

    def disconnect(self) -> None:
        self.disconnected = True


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> Channels:
    channels = Channels.__new__(Channels)
    monkeypatch.setattr(channels, "get_argument", lambda *_: "id", raising=False)
    return channels


@async_test
async def test_client_that_disconnects_while_the_kernel_starts_leaves_no_connection(channels, monkeypatch):
    connection = StubConnection()

    async def leave(handler: Any) -> None:
        handler.connection = connection
        handler.on_close()

    monkeypatch.setattr(KernelWebsocketHandler, "pre_get", leave)
    with pytest.raises(HTTPError, match="499"):
        await channels.pre_get()
    assert connection.disconnected


@async_test
async def test_client_that_has_disconnected_gets_no_connection(channels, monkeypatch):
    async def connect(handler: Any) -> None:
        raise AssertionError("a connection whose end would not be reported")

    monkeypatch.setattr(KernelWebsocketHandler, "pre_get", connect)
    # While its password was verified, for example.
    channels.on_close()
    with pytest.raises(HTTPError, match="499"):
        await channels.pre_get()
