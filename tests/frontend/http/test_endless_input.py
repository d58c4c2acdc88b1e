"""Senders that never end, to adaptors that never read: nothing is left of them when either goes."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest
from call_site import serving, until
from http_site import RawClient

from owt.frontend.http.calls import CallExchange
from owt.frontend.http.delivery import Delivery
from owt.frontend.http.messages import frame
from owt.frontend.http.streamed_calls import StreamedCallExchange
from owt.frontend.http.websocket import CallSocket
from owt.frontend.http.websocket_protocol import Protocol
from owt.frontend.runs.input import InputState
from owt.testing import async_test
from owt.wire.chunk import Done, Failed

UPGRADE = (
    "GET /?code=1&session=s HTTP/1.1",
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
BODY = ("POST /?code=1&session=s HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked")
DETACHED = ("GET /?code=1&session=s&detach=1 HTTP/1.1", "Host: localhost")
POST = "POST /_owt/runs/RUN/input HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"


def masked(data: bytes) -> bytes:
    head, body = frame(1, data)
    return bytes((head[0], head[1] | 0x80)) + head[2:] + bytes(4) + body


REQUESTS = (CallSocket, Protocol, StreamedCallExchange, CallExchange, Delivery)
SENDERS = {
    "WebSocket": (UPGRADE, b"", masked(b"x" * 60_000)),
    "tiny messages": (UPGRADE, b"", masked(b"x") * 10_000),
    "unfinished message": (UPGRADE, masked(b"x" * 60_000)[:-1], b""),
    "events": (
        (*UPGRADE, "Sec-WebSocket-Protocol: owt.events"), masked(b'{"start": true}'), masked(b"x" * 60_000)
    ),
    "body": (BODY, b"", b"ea60\r\n" + b"x" * 60_000 + b"\r\n"),
    "tiny chunks": (BODY, b"", b"1\r\nx\r\n" * 10_000),
    "posts": (DETACHED, b"", b""),
}


@pytest.fixture(autouse=True, scope="module")
def _no_collector() -> Iterator[None]:
    """Let nothing hide that objects refer to each other, and look at new objects only."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


def left(*, collect: bool) -> list[object]:
    """Return what is left of requests, after a collection of garbage with `collect`."""
    if collect:
        # Tornado's error for a connection that ends in the middle of a body refers to its own frames.
        gc.collect()
    return [o for o in gc.get_objects() if type(o) in REQUESTS]


class Sender:
    """Client that sends to a call without end."""

    def __init__(self, client: RawClient, name: str) -> None:
        self.head, self.first, self.part = SENDERS[name]
        self.client = client
        self.task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        with suppress(ConnectionError):
            await self.client.send("\r\n".join([*self.head, "", ""]).encode() + self.first)
            while self.part:
                await asyncio.get_running_loop().sock_sendall(self.client.sock, self.part)

    async def post(self, run: str) -> None:
        """Post ten messages."""
        assert (await self.client.answer()).status == 202
        for _ in range(10):
            await self.client.send(POST.replace("RUN", run).encode())
            assert (await self.client.answer()).status == 200

    async def receive_end(self) -> None:
        """Receive until the server closes the connection."""
        with suppress(ConnectionError):
            while data := await self.client.receive():
                if b"\x88" in data:
                    # The end of a WebSocket. Tornado waits for the client's for 5 s.
                    break

    async def leave(self) -> None:
        """Disconnect."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        if self.head is BODY:
            # Otherwise the server cannot see the end of the connection behind what it does not read.
            self.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.sock.close()


@pytest.mark.parametrize("end", ["client", "kernel", "session", "cancel", "answer"])
@pytest.mark.parametrize("name", SENDERS)
@async_test
async def test_nothing_is_left_of_a_sender_without_end(name, end):
    async with serving(resume_window=0.01, window=100_000, keepalive=0.05) as site:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        sender = Sender(await site.connect(sock), name)
        kernel = await site.invoked()
        [run] = site.service.runs.live()
        if sender.head is DETACHED:
            await sender.post(run.id)
        if name != "unfinished message":
            kernel.request_input(1)
            await until(lambda: kernel.messages)
        match end:
            case "client":
                await sender.leave()
                if sender.head is DETACHED:
                    run.cancel("disconnected")
            case "kernel":
                kernel.die()
            case "session":
                await site.service.sessions.delete("s")
            case "cancel":
                run.cancel("cancelled")
            case "answer":
                kernel.answer()
        if end in ("client", "cancel"):
            await until(lambda: kernel.cancelled)
            kernel.send(Failed(499, "cancelled", "cancelled", ""), Done(499, 0.0))
        if end != "client":
            if sender.head is not DETACHED:
                await sender.receive_end()
            await sender.leave()
        await until(lambda: not site.service.runs.live())
        assert run.input is not None
        assert run.input.state is InputState.CLOSED
        await site.count(0)
        await until(lambda: not left(collect=sender.head is BODY))
        await site.service.sessions.close()
        await until(lambda: len(asyncio.all_tasks()) == 1)
