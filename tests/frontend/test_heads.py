"""owt.frontend.heads: what is refused before it is parsed."""

from __future__ import annotations

import asyncio
import socket

import pytest
import strict
from tornado.http1connection import HTTP1ConnectionParameters
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import IOStream

from owt.frontend import heads


def served(sent: bytes, timeout: float | None) -> tuple[list[str], list[strict.Answer]]:
    """The paths that a bare Tornado server is asked for, and what it answers."""
    asked: list[str] = []

    def answer(request: HTTPServerRequest) -> None:
        asked.append(request.path)
        assert request.connection is not None
        request.connection.write_headers(ResponseStartLine("", 204, "No Content"), HTTPHeaders())
        request.connection.finish()

    async def scene() -> bytes:
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            server = HTTPServer(answer)
            server.conn_params = HTTP1ConnectionParameters(max_header_size=1 << 20, header_timeout=timeout)
            stream = IOStream(theirs)
            heads.bound(stream)
            server.handle_stream(stream, ("127.0.0.1", 1))
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(ours, sent)
            ours.shutdown(socket.SHUT_WR)
            received = b""
            while piece := await loop.sock_recv(ours, 1 << 16):
                received += piece
            await server.close_all_connections()
            return received

    received = asyncio.run(scene())
    return asked, strict.answers(received)


def lines(count: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode() + b"A:\r\n" * (count - 3) + b"\r\n"


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_head_of_the_most_lines_is_served_and_one_more_is_not(timeout: float | None) -> None:
    most = heads.MOST_LINES
    asked, answers = served(lines(most, "/a") + lines(most + 1, "/b") + lines(3, "/c"), timeout)
    assert asked == ["/a"]
    assert [answer.status for answer in answers] == [204, 431]
    assert answers[1].body == b"the request has more than 2000 header lines\n"
    assert answers[1].header("connection") == ["close"]
