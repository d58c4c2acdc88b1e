"""owt.frontend.http.connection: what is too large in a head, and how a connection ends."""

from __future__ import annotations

import asyncio
import socket

import pytest

from owt.frontend.http.connection import MOST_LINES, SLACK, Connection, HeadLimits
from owt.frontend.http.lingering import Lingering
from owt.testing import async_test, settle

LIMITS = HeadLimits(url=10, header=20)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /123456789 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n12345678: 01234567\r\n\r\n",
        b"GET / HTTP/1.1\n12345678: 012345678\n\n",
        b"\r\n\r\nGET /123456789 HTTP/1.1\r\n12345678: 01234567\r\n\r\n",
        b"GET /123456789\r\n\r\n",
        b"rubbish\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_a_head_within_the_limits_is_let_pass(head: bytes) -> None:
    assert LIMITS.complaint(head) is None


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (414, b"GET /1234567890 HTTP/1.1\r\n\r\n"),
        (414, b"\r\n\r\nGET /1234567890 HTTP/1.1\r\n\r\n"),
        (414, b"GET /1234567890"),
        (414, b"G" * (10 + SLACK + 1)),
        (414, b"GET /1234567890 HTTP/1.1\r\n" + b"h" * 100),
        (431, b"GET / HTTP/1.1\r\n12345678: 012345678\r\n\r\n"),
        (431, b"GET / HTTP/1.1\n12345678: 0123456789\n\n"),
        (431, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4 + b"\r\n"),
        (431, b"GET / HTTP/1.1\r\n" + b"h" * LIMITS.together),
    ],
)
def test_a_head_past_a_limit_is_told_which(status: int, head: bytes) -> None:
    problem = LIMITS.complaint(head)
    assert problem is not None
    assert problem.status == status
    assert {414: "10 bytes (--max-url)", 431: "20 bytes for all"}[status] in problem.detail


def test_a_head_has_at_most_so_many_lines() -> None:
    limits = HeadLimits(url=10, header=1 << 20)
    assert limits.complaint(b"GET / HTTP/1.1\r\n" + b"A:\r\n" * (MOST_LINES - 1) + b"\r\n") is None
    problem = limits.complaint(b"GET / HTTP/1.1\r\n" + b"A:\r\n" * MOST_LINES + b"\r\n")
    assert problem is not None
    assert (problem.status, problem.detail) == (431, "the request has more than 2000 header lines")


async def ended(how: str) -> bytes | type[BaseException]:
    """What a client reads whose connection was ended so, with something of it unread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    lingering = Lingering(lambda: 10, lambda: None)
    gone: list[Connection] = []
    connection = Connection(ours, limits=LIMITS, lingering=lingering, on_close=gone.append)
    client.sendall(b"unread")
    await connection.write(b"the last words")
    getattr(connection, how)()
    assert gone == [connection]
    await settle()
    client.settimeout(10)
    try:
        with client:
            data = b""
            while more := await asyncio.to_thread(client.recv, 100):
                data += more
            return data
    except ConnectionError as error:
        return type(error)
    finally:
        lingering.close()


@async_test
async def test_the_last_words_can_be_read() -> None:
    assert await ended("close") == b"the last words"


@async_test
async def test_after_a_reset_nothing_looks_complete() -> None:
    assert await ended("reset") is ConnectionResetError
