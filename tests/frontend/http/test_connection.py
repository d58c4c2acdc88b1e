"""owt.frontend.http.connection: limits on heads, and how connections end."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError

from owt.frontend.http import connection as module
from owt.frontend.http.connection import PART, Connection, Gate, SecureConnection, linger
from owt.frontend.http.heads import SLACK, HeadLimits
from owt.testing import async_test, settle

PATIENCE = 10
LIMITS = HeadLimits(url=10, headers=20)
MESSAGES = {414: "10 bytes (--max-url)", 431: "20 bytes for all"}


@pytest.mark.parametrize(
    ("url", "header", "status"),
    [
        ("/123456789", "01234567", None),
        ("/1234567890", "", 414),
        ("/", "012345678", 431),
        ("/1234567890", "012345678", 414),
    ],
)
def test_a_received_head_is_checked_against_both_limits(url: str, header: str, status: int | None) -> None:
    head = f"GET {url} HTTP/1.1\r\nX-345678: {header}\r\n\r\n"
    problem = LIMITS.check(url, HTTPHeaders({"X-345678": header}), len(head))
    assert (problem and problem.status) == status
    assert problem is None or MESSAGES[problem.status] in problem.detail


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (414, b"GET /1234567890 HTTP/1.1\r\n" + b"h" * LIMITS.head),
        (414, b"\r\n\r\nGET /1234567890 HTTP/1.1\r\n" + b"h" * LIMITS.head),
        (414, b"GET /" + b"u" * LIMITS.head),
        (414, b"G" * (10 + SLACK + 1)),
        (431, b"GET / HTTP/1.1\r\n" + b"h" * LIMITS.head),
        (431, b"\r\n\r\nGET / HTTP/1.1\n" + b"a: b\n" * LIMITS.head),
    ],
)
def test_the_beginning_of_an_oversized_head_shows_which_limit_it_exceeds(status: int, head: bytes) -> None:
    problem = LIMITS.problem(head)
    assert problem.status == status
    assert MESSAGES[status] in problem.detail


@async_test
async def test_a_request_does_not_begin_on_a_connection_that_was_released() -> None:
    head = b"GET / HTTP/1.1\r\n\r\n"
    gate = Gate()
    gate.closed = asyncio.get_running_loop().create_future()
    client, server = socket.socketpair()
    with client:
        connection = Connection(
            server, limits=LIMITS, gate=gate, linger=socket.socket.close, on_close=lambda _: None, data=head
        )
        request = asyncio.ensure_future(connection.read_until_regex(rb"\r\n\r\n"))
        await settle()
        sock, data = connection.release()
        sock.close()
        assert data == head
        gate.closed.set_result(None)
        with pytest.raises(StreamClosedError):
            await request


async def received_after(method: str) -> bytes | type[BaseException]:
    """Return what a client reads whose connection was ended by `method` with received data unread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    closed: list[Connection] = []
    connection = Connection(
        accepted,
        limits=LIMITS,
        gate=Gate(),
        linger=lambda sock: linger(sock, lambda: None),
        on_close=closed.append,
    )
    client.sendall(b"unread")
    await connection.write(b"the last words")
    getattr(connection, method)()
    assert closed == [connection]
    await settle()
    client.settimeout(PATIENCE)
    try:
        with client:
            data = b""
            while more := await asyncio.to_thread(client.recv, 100):
                data += more
            return data
    except ConnectionError as error:
        return type(error)


@async_test
async def test_a_client_can_read_the_response_after_close() -> None:
    assert await received_after("close") == b"the last words"


@async_test
async def test_a_client_gets_an_error_after_reset() -> None:
    assert await received_after("reset") is ConnectionResetError


@contextmanager
def lingering() -> Iterator[tuple[socket.socket, socket.socket, list[str]]]:
    """A socket that lingers, its client, and a list that gets an item when the socket is closed."""
    sock, client = socket.socketpair()
    sock.setblocking(False)
    client.setblocking(False)
    closed: list[str] = []
    close = linger(sock, lambda: closed.append("closed"))
    try:
        yield sock, client, closed
    finally:
        close()
        client.close()


@async_test
async def test_a_lingering_socket_discards_data_until_its_client_closes() -> None:
    with lingering() as (sock, client, closed):
        assert client.recv(1) == b""
        for _ in range(3):
            client.send(b"more")
            await settle()
        assert sock.fileno() >= 0
        client.close()
        await settle()
        assert sock.fileno() == -1
        assert closed == ["closed"]


@async_test
async def test_a_lingering_socket_is_closed_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER", 0.01)
    with lingering() as (sock, _, closed):
        async with asyncio.timeout(PATIENCE):
            while not closed:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert sock.fileno() == -1


@async_test
async def test_a_socket_whose_client_has_closed_does_not_linger() -> None:
    sock, client = socket.socketpair()
    sock.setblocking(False)
    client.close()
    closed: list[str] = []
    linger(sock, lambda: closed.append("closed"))
    await settle()
    assert sock.fileno() == -1
    assert closed == ["closed"]


@async_test
async def test_a_read_after_one_that_emptied_the_socket_waits_for_the_event_loop() -> None:
    server, client = socket.socketpair()
    connection = Connection(
        server, limits=LIMITS, gate=Gate(), linger=socket.socket.close, on_close=lambda _: None
    )
    buffer = bytearray(10)
    with client:
        client.sendall(b"first")
        assert connection.read_from_fd(buffer) == 5
        client.sendall(b"exactly 10")
        assert connection.read_from_fd(buffer) is None
        # The event loop reports the socket again.
        assert connection.read_from_fd(buffer) == 10
        client.sendall(b"more")
        # A full buffer does not show that the socket is empty.
        assert connection.read_from_fd(buffer) == 4
        connection.close()


def test_a_read_of_a_tls_connection_never_waits_for_the_event_loop() -> None:
    # TLS may have decrypted more than it has returned.
    assert Connection._reports_data
    assert not SecureConnection._reports_data


@async_test
async def test_a_large_body_is_read_in_large_parts() -> None:
    server, client = socket.socketpair()
    connection = Connection(
        server, limits=LIMITS, gate=Gate(), linger=socket.socket.close, on_close=lambda _: None
    )
    body = random.Random(0).randbytes(150_000)
    parts: list[bytes] = []
    with client:
        client.sendall(b"POST / HTTP/1.1\r\n\r\n" + body)
        await connection.read_until_regex(b"\r\n\r\n")
        while sum(map(len, parts)) < len(body):
            parts.append(await connection.read_bytes(PART, partial=True))
        connection.close()
    assert b"".join(parts) == body
    # What was read with the head, and everything else.
    assert len(parts) == 2
