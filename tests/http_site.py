"""Listener in the test's own process, and clients that send and receive bytes."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tornado.netutil import bind_sockets

from owt.frontend.config.settings import Settings
from owt.frontend.descriptors import Descriptors
from owt.frontend.http.listener import Listener

PATIENCE = 10


class RawAnswer:
    """HTTP response as a client received it; names and values of headers are in lower case."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *headers = head.decode().split("\r\n")
        self.status = int(line.split()[1])
        self.headers = dict(header.lower().split(": ", 1) for header in headers)
        self.text = body.decode()


class RawClient:
    """HTTP client on a socket of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._loop.sock_recv(self.sock, 65536)

    async def answer(self) -> RawAnswer:
        """Receive one response with a Content-Length."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        answer = RawAnswer(head, b"")
        while len(body) < int(answer.headers["content-length"]):
            body += await self._more()
        return RawAnswer(head, body)

    async def end(self) -> bytes:
        """Receive until the server has closed the connection."""
        data = b""
        while more := await self.receive():
            data += more
        return data

    async def _more(self) -> bytes:
        data = await self.receive()
        assert data, "the connection ended before the answer did"
        return data


class HttpSite:
    """Listener that serves an application, and its clients."""

    def __init__(
        self, application: Any, settings: Settings, descriptors: Descriptors | None = None, *, tls: Any = None
    ) -> None:
        self.descriptors = descriptors or Descriptors()
        self.listener = Listener(
            application,
            settings=settings,
            descriptors=self.descriptors,
            ssl_options=tls,
        )
        self._client_sockets: list[socket.socket] = []
        sockets = bind_sockets(0, "127.0.0.1")
        self.address = sockets[0].getsockname()
        self.listener.add_sockets(sockets)

    async def connect(self, sock: socket.socket | None = None) -> RawClient:
        """Connect a client, with an existing socket if no descriptor is free."""
        sock = sock or socket.socket()
        self._client_sockets.append(sock)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        return RawClient(sock)

    async def ask(self, request: bytes) -> RawAnswer:
        """Return the response to a request on a connection of its own."""
        client = await self.connect()
        await client.send(request)
        return await client.answer()

    async def count(self, number: int) -> None:
        """Wait until this number of clients is connected."""
        async with asyncio.timeout(PATIENCE):
            while self.listener.connections != number:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Close the listener, its connections and the clients."""
        self.listener.stop()
        await self.listener.close_all_connections()
        for sock in self._client_sockets:
            sock.close()
