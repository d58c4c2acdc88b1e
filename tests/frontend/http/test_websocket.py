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
from owt.frontend.runs.input import RunInput
from owt.testing import async_test
from owt.wire.chunk import Data, Head
from owt.wire.messages import Input, InputEnd

LOTS = 1 << 30
MASK = bytes(4)
"""Mask that changes nothing."""


def masked(code: int, data: bytes, *, final: bool = True) -> bytes:
    """Return a frame of a client."""
    head, body = frame(code, data, final=final)
    return bytes((head[0], head[1] | 0x80)) + head[2:] + MASK + body


def handshake(
    first: str = "GET /?code=1 HTTP/1.1", *more: str, body: bytes = b"", **changed: str | None
) -> bytes:
    """Return a handshake with other headers."""
    headers = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([first, *lines, *more, "", ""]).encode() + body


@asynccontextmanager
async def connected(*, events: bool = False, **settings: Any) -> AsyncIterator[tuple[CallSite, RawClient]]:
    """Yield a site, and a client whose WebSocket is open."""
    async with serving(**settings) as site:
        client = await site.connect()
        await client.send(handshake(Sec_WebSocket_Protocol="owt.events" if events else None))
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
    async with connected(keepalive=0.02) as (site, client):
        kernel = await site.invoked()
        assert (await client.receive()).startswith(bytes((0x89, 0)))
        monkeypatch.setattr(websocket, "MAX_SILENCE", 0.05)
        await client.end()
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
async def test_no_event_is_sent_between_the_pieces_of_a_value():
    async with connected(events=True) as (site, client):
        await client.send(masked(1, b'{"start": true}'))
        kernel = await site.invoked()
        kernel.request_input(LOTS)
        kernel.send(Head(200, ()), Data(b"one", "text", more=True))
        while not (await client.receive()).endswith(b"one"):
            pass
        await client.send(masked(1, b"x") * 64)
        await until(lambda: len([m for m in kernel.messages if isinstance(m, Input)]) == 64)
        kernel.send(Data(b"two", "text"))
        received = b""
        while b'"event":"received"' not in received:
            received += await client.receive()
        assert received.startswith(b"\x00\x03two\x80")


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


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"".join(frame(1, b"x")), 1002, id="unmasked"),
        pytest.param(b"".join(frame(9, b"x")), 1002, id="unmasked ping"),
        pytest.param(masked(1, b"a") + b"".join(frame(1, b"x")), 1002, id="unmasked after masked"),
        pytest.param(b"\xc1\x81" + MASK + b"x", 1002, id="reserved bit"),
        pytest.param(masked(9, b"x", final=False), 1002, id="fragmented ping"),
        pytest.param(masked(9, bytes(126)), 1002, id="long ping"),
        pytest.param(masked(0, b"x"), 1002, id="continuation of nothing"),
        pytest.param(masked(1, b"x", final=False) + masked(1, b"y"), 1002, id="message in a message"),
        pytest.param(masked(3, b"x"), 1002, id="unknown code"),
        pytest.param(masked(11, b"x"), 1002, id="unknown control code"),
        pytest.param(masked(8, b"\x00\x01"), 1002, id="end with code 1"),
        pytest.param(masked(8, b"\x03\xed"), 1002, id="end with code 1005"),
        pytest.param(masked(8, b"\x03\xe8\xff"), 1007, id="end without UTF-8"),
        pytest.param(masked(1, b"\xff"), 1007, id="text without UTF-8"),
        pytest.param(masked(1, b"\xc3", final=False) + masked(0, b"x"), 1007, id="fragments without UTF-8"),
        pytest.param(b"\x82\xff" + bytes(7) + b"\xff", 1009, id="larger than --max-body"),
        pytest.param(b"\x82\xff" + b"\xff" * 8, 1009, id="as large as can be"),
        pytest.param(masked(8, b"\x0f\xa0"), 4000, id="end with a code of the client"),
    ],
)
@async_test
async def test_a_violation_of_the_protocol_ends_the_connection_with_its_code(data, code):
    async with connected(max_body=250) as (site, client):
        kernel = await site.invoked()
        kernel.request_input(LOTS)
        await client.send(data)
        end = await client.end()
        assert (end[-4:-3] or b"", end[-2:]) == (b"\x88", code.to_bytes(2, "big")) or (
            code == 1009 and end.endswith(b"\x88\x11\x03\xf1message too big")
        )
        await until(lambda: kernel.cancelled)
        assert None not in ends(site)


@async_test
async def test_a_fault_of_the_server_ends_the_connection_with_its_code(monkeypatch):
    async with connected() as (site, client):
        await site.invoked()
        monkeypatch.setattr(RunInput, "push", lambda *_: 1 / 0)
        await client.send(masked(1, b"x"))
        assert await client.end() == b"\x88\x02\x03\xf3"


@async_test
async def test_control_frames_may_come_between_fragments():
    async with connected() as (site, client):
        kernel = await site.invoked()
        kernel.request_input(LOTS)
        await client.send(masked(1, b"\xc3", final=False) + masked(9, b"p") + masked(0, b"\xa9"))
        assert await client.receive() == b"\x8a\x01p"
        await until(lambda: any(isinstance(m, Input) and m.data == "é".encode() for m in kernel.messages))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(handshake(Connection="keep-alive, Upgrade"), 101, id="two connection options"),
        pytest.param(handshake(Upgrade="WebSocket"), 101, id="upper case"),
        pytest.param(handshake(Content_Length="0"), 101, id="empty body"),
        pytest.param(handshake(Sec_WebSocket_Protocol="chat, owt.messages"), 101, id="another, too"),
        pytest.param(handshake(Sec_WebSocket_Extensions="permessage-deflate"), 101, id="compression"),
        pytest.param(handshake("GET /nothing HTTP/1.1"), 101, id="no endpoint"),
        pytest.param(handshake("GET /favicon.ico HTTP/1.1"), 101, id="static file"),
        pytest.param(handshake(Sec_WebSocket_Key=None), 400, id="no key"),
        pytest.param(handshake(Sec_WebSocket_Key=""), 400, id="empty key"),
        pytest.param(handshake(Connection=None), 400, id="no connection option"),
        pytest.param(handshake(Sec_WebSocket_Version=None), 426, id="no version"),
        pytest.param(handshake(Sec_WebSocket_Version="8"), 426, id="old version"),
        pytest.param(handshake("GET /?code=1 HTTP/1.0"), 200, id="HTTP/1.0"),
        pytest.param(handshake(Upgrade="h2c"), 200, id="another protocol"),
        pytest.param(handshake(Content_Length="1", body=b"x"), 200, id="body"),
        pytest.param(handshake(Transfer_Encoding="chunked", body=b"0\r\n\r\n"), 200, id="chunked body"),
        pytest.param(handshake("POST /?code=1 HTTP/1.1", Content_Length="0"), 200, id="POST"),
        pytest.param(handshake("GET /_owt/health HTTP/1.1"), 200, id="page"),
        pytest.param(handshake("GET /_owt/runs/x/input HTTP/1.1"), 405, id="page of another method"),
        pytest.param(handshake("GET /_owt/nothing HTTP/1.1"), 404, id="no page"),
    ],
)
@async_test
async def test_a_handshake_gets_its_status(data, status):
    async with serving() as site:
        client = await site.connect()
        await client.send(data)
        if b"code=1" in data and status == 200:
            (await site.invoked()).answer()
        head = (await client.receive()).decode("latin-1")
        assert head.split()[1] == str(status)
        assert "permessage" not in head
        assert ("Sec-Websocket-Version: 13" in head) == (status == 426)


@pytest.mark.parametrize("protocols", ["chat.v1", "chat, owt.authorization.c2VjcmV0"])
@async_test
async def test_a_handshake_with_only_unknown_subprotocols_is_refused(protocols):
    async with serving() as site:
        client = await site.connect()
        await client.send(handshake(Sec_WebSocket_Protocol=protocols))
        answer = await client.receive()
        assert b" 400 " in answer
        assert b"must have owt.events or owt.messages" in answer
        assert b"c2VjcmV0" not in answer


@pytest.mark.parametrize(
    "changed",
    [{"Sec_WebSocket_Key": None}, {"Sec_WebSocket_Version": None}, {"Origin": "http://elsewhere.example"}],
)
@async_test
async def test_a_client_that_leaves_after_its_refused_handshake_logs_no_fault(caplog, changed):
    async with serving() as site:
        client = await site.connect()
        await client.send(handshake(**changed))
        assert b" 4" in await client.receive()
        client.sock.close()
        await site.count(0)
    assert [record for record in caplog.records if record.exc_info] == []


@async_test
async def test_one_of_several_subprotocols_is_chosen():
    async with serving() as site:
        client = await site.connect()
        await client.send(
            handshake("GET / HTTP/1.1", "Sec-WebSocket-Protocol: c", Sec_WebSocket_Protocol="a, owt.events,b")
        )
        assert b"\r\nSec-Websocket-Protocol: owt.events\r\n" in await client.receive()


@pytest.mark.parametrize("when", ["before", "after"])
@async_test
async def test_a_client_of_events_gets_the_code_of_a_shutdown_around_its_first_message(when):
    async with connected(events=True) as (site, client):
        site.service.draining = True
        if when == "after":
            await client.send(masked(1, b'{"start": true}'))
        else:
            await site.listener.close_all_connections()
        assert (await client.end()).endswith(b"\x88\x1d\x03\xe9the server is shutting down")
