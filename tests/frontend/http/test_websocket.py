"""owt.frontend.http.websocket: calls by WebSocket, on scripted kernels."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from call_site import CallSite, serving, until
from http_site import RawClient

from owt.frontend.http import websocket
from owt.frontend.http.messages import frame
from owt.testing import async_test
from owt.wire.messages import Input, InputEnd

LOTS = 1 << 30
MASK = bytes(4)
"""Mask that changes nothing."""


def masked(code: int, data: bytes) -> bytes:
    """Return a frame of a client."""
    head, body = frame(code, data)
    return bytes((head[0], head[1] | 0x80)) + head[2:] + MASK + body


@asynccontextmanager
async def connected(
    *, events: bool = False, **settings: Any
) -> AsyncIterator[tuple[CallSite, RawClient]]:
    """Yield a site, and a client whose WebSocket is open."""
    async with serving(**settings) as site:
        client = await site.connect()
        protocol = ["Sec-WebSocket-Protocol: owt.events"] if events else []
        lines = ["GET /?code=1 HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *protocol]
        await client.send("\r\n".join([*lines, "", ""]).encode())
        assert b" 101 " in await client.receive()
        yield site, client


def ends(site: CallSite) -> list[str | None]:
    """Return the errors of the ends of input that the kernel has received."""
    return [message.error for message in site.kernel.messages if isinstance(message, InputEnd)]


@pytest.mark.parametrize("code", [b"", b"\x03\xe8"], ids=["no code", "1000"])
@async_test
async def test_the_clients_end_of_the_connection_ends_the_input(code):
    """`Protocol` tells the end without a code from a lost connection."""
    async with connected() as (site, client):
        kernel = await site.invoked()
        kernel.request_input(LOTS)
        await client.send(masked(1, b"one") + masked(2, b"two") + masked(8, code))
        await until(lambda: ends(site) == [None])
        items = [(m.data, m.text) for m in kernel.messages if isinstance(m, Input)]
        assert items == [(b"one", True), (b"two", False)]
        assert kernel.cancelled == []


@pytest.mark.parametrize("last", [masked(8, b"\x03\xe9"), b""], ids=["going away", "no end"])
@async_test
async def test_a_client_that_vanishes_cancels_its_call(last):
    async with connected() as (site, client):
        kernel = await site.invoked()
        kernel.request_input(LOTS)
        await client.send(last)
        client.sock.close()
        await until(lambda: kernel.cancelled)
        assert None not in ends(site)


@async_test
async def test_a_client_that_vanishes_while_the_server_does_not_read_is_noticed():
    async with connected() as (site, client):
        kernel = await site.invoked()
        # The adaptor takes neither.
        await client.send(masked(1, b"one") + masked(1, b"two"))
        client.sock.close()
        await until(lambda: kernel.cancelled)


@async_test
async def test_a_client_that_vanishes_behind_unread_messages_is_noticed():
    async with connected(keepalive=0.02) as (site, client):
        kernel = await site.invoked()
        message = masked(2, bytes(60_000))
        with suppress(TimeoutError):
            # Until the buffers are full.
            while True:
                async with asyncio.timeout(0.3):
                    await asyncio.get_running_loop().sock_sendall(client.sock, message)
        client.sock.close()
        await until(lambda: kernel.cancelled)


@async_test
async def test_a_silent_client_gets_pings_and_is_disconnected(monkeypatch):
    monkeypatch.setattr(websocket, "MAX_SILENCE", 0.05)
    async with connected(keepalive=0.02) as (site, client):
        kernel = await site.invoked()
        assert (await client.end()).startswith(bytes((0x89, 0)))
        await until(lambda: kernel.cancelled)


@async_test
async def test_a_client_of_events_is_asked_for_its_first_message(monkeypatch):
    monkeypatch.setattr(websocket, "FIRST_MESSAGE", 0.01)
    async with connected(events=True) as (site, client):
        received = await client.receive()
        while b"\x88" not in received:
            received += await client.receive()
        assert b'"status":408' in received
        assert (4408).to_bytes(2, "big") in received
        assert site.scripted.kernels.all == []


@async_test
async def test_values_are_frames():
    async with connected() as (site, client):
        kernel = await site.invoked()
        kernel.answer(body=b"value")
        received = b""
        while b"\x88\x02\x03\xe8" not in received:
            received += await client.receive()
        assert b"value" in received


@pytest.mark.parametrize(
    ("message", "count", "due"),
    [
        ("x", 63, []),
        ("x", 130, [64, 128]),
        ("x" * 64_512, 2, [1, 2]),
        ("x" * 30_000, 5, [3]),
        ("\u20ac" * 10_000, 2, [2]),
        (b"x" * 64_512, 1, [1]),
    ],
)
@async_test
async def test_a_client_of_events_learns_how_many_of_its_messages_have_come(
    message: str | bytes, count: int, due: list[int]
):
    async with connected(events=True) as (site, client):
        await client.send(masked(1, b'{"start": true}'))
        kernel = await site.invoked()
        kernel.request_input(LOTS)
        code, data = (2, message) if isinstance(message, bytes) else (1, message.encode())
        for _ in range(count):
            await client.send(masked(code, data))
        await until(lambda: len([m for m in kernel.messages if isinstance(m, Input)]) == count)
        kernel.answer(body=b"value")
        received = b""
        while b"\x88\x02\x03\xe8" not in received:
            received += await client.receive()
        assert [int(m) for m in re.findall(rb'"event":"received","data":(\d+)', received)] == due


@async_test
async def test_the_message_that_the_client_has_chosen_ends_the_input():
    async with connected(events=True) as (site, client):
        await client.send(masked(1, b'{"start": true, "end": "over"}'))
        kernel = await site.invoked()
        kernel.request_input(LOTS)
        await client.send(masked(1, b"one") + masked(2, b"over") + masked(1, b"over"))
        await until(lambda: ends(site) == [None])
        assert [m.data for m in kernel.messages if isinstance(m, Input)] == [b"one", b"over"]
        kernel.answer(body=b"value")
        received = b""
        while b"\x88\x02\x03\xe8" not in received:
            received += await client.receive()
        assert b"value" in received
        assert kernel.cancelled == []
