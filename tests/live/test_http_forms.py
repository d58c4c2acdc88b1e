"""Forms of HTTP/1.1 requests that few clients send (RFC 9110, RFC 9112): each gets a whole response."""

from __future__ import annotations

import socket

import pytest
import strict_http
from strict_http import Response

from owt.testing import LiveServer

TIMEOUT = 20
HOST = b"Host: localhost"
PYTHON = b"Content-Type: text/x-python"
CLOSE = b"Connection: close"
CHUNKED = [HOST, PYTHON, CLOSE, b"Transfer-Encoding: chunked"]


def head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


def exchange(server: LiveServer, sent: bytes, *, interim: bool = False) -> Response:
    """Send this on a connection of its own, and return the only response to it. The server must close the
    connection. `interim` says that a response 100 comes first."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as connection:
        connection.sendall(sent)
        received = b""
        while data := connection.recv(100_000):
            received += data
    assert received.startswith(b"HTTP/1.1 100 ") == interim
    [response] = strict_http.responses(received, head=sent.startswith(b"HEAD"))
    assert response.whole
    assert len(response.header("date")) == 1
    assert len(response.header("content-length")) == 1
    return response


@pytest.mark.parametrize(
    "body",
    [
        b"3\r\n1+1\r\n0\r\n\r\n",
        b'3;a=b;c="d e"\r\n1+1\r\n0\r\n\r\n',
        b"2 ; a\r\n1+\r\n01;b\r\n1\r\n000;last\r\n\r\n",
        b"3\r\n1+1\r\n0\r\nX-Checksum: 1\r\nY:\r\n\r\n",
        b"3;" + b"e" * 4000 + b"\r\n1+1\r\n0\r\n" + b"X: " + b"x" * 60_000 + b"\r\n\r\n",
    ],
    ids=["plain", "extensions", "spaces", "trailers", "long"],
)
def test_extensions_and_trailers_of_chunks_are_skipped(server: LiveServer, body: bytes) -> None:
    response = exchange(server, head(b"POST / HTTP/1.1", *CHUNKED) + body)
    assert (response.status, response.body) == (200, b"2")


def test_a_request_after_trailers_is_answered(server: LiveServer) -> None:
    first = head(b"POST / HTTP/1.1", HOST, PYTHON, b"Transfer-Encoding: chunked")
    first += b"3\r\n1+1\r\n0\r\nX: 1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as connection:
        connection.sendall(first + head(b"GET /?code=3 HTTP/1.1", HOST, b"Connection: keep-alive, close"))
        received = b""
        while data := connection.recv(100_000):
            received += data
    assert [response.body for response in strict_http.responses(received)] == [b"2", b"3"]


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, head(b"POST / HTTP/1.1", *CHUNKED) + b"3;a\nb\r\n1+1\r\n0\r\n\r\n"),
        (400, head(b"POST / HTTP/1.1", *CHUNKED) + b"3a=b\r\n1+1\r\n0\r\n\r\n"),
        (400, head(b"POST / HTTP/1.1", *CHUNKED) + b"3;" + b"e" * 10_000),
        (400, head(b"POST / HTTP/1.1", *CHUNKED) + b"3\r\n1+1\r\n0\r\nGET / HTTP/1.1\r\n\r\n"),
        (400, head(b"POST / HTTP/1.1", *CHUNKED) + b"3\r\n1+1!!0\r\n\r\n"),
        (431, head(b"POST / HTTP/1.1", *CHUNKED) + b"0\r\n" + b"X: y\r\n" * 20_000),
        (400, head(b"GET path HTTP/1.1", HOST)),
        (400, head(b"GET / HTTP/1.1")),
        (400, head(b"HEAD / HTTP/1.1")),
        (400, head(b"GET / HTTP/1.1", HOST, HOST)),
        (400, head(b"GET / HTTP/1.1", HOST, b"no header")),
        (400, head(b"POST / HTTP/1.1", HOST, b"Content-Length: -1")),
        (400, head(b"nothing")),
    ],
)
def test_malformed_requests_get_a_whole_refusal(server: LiveServer, status: int, sent: bytes) -> None:
    response = exchange(server, sent)
    assert response.status == status
    assert response.header("content-type") == ["text/plain; charset=utf-8"]
    assert response.header("vary") == ["Accept"]


def test_a_malformed_request_gets_a_problem_document_if_it_accepts_one(server: LiveServer) -> None:
    response = exchange(server, head(b"GET path HTTP/1.1", HOST, b"Accept: application/json"))
    assert response.header("content-type") == ["application/problem+json"]


def test_a_body_that_reads_like_a_refusal_is_sent_as_it_is(server: LiveServer) -> None:
    refusal = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    code = (
        "def parts():\n"
        f"    yield {refusal!r}\n"
        f"def run(): return parts(), {{'Content-Length': '{len(refusal)}'}}\n"
    )
    body = code.encode()
    sent = head(b"POST / HTTP/1.1", HOST, PYTHON, CLOSE, b"Content-Length: %d" % len(body)) + body
    assert exchange(server, sent).body == refusal


@pytest.mark.parametrize(
    ("version", "expectation", "interim"),
    [(b"1.1", b"100-Continue", True), (b"1.0", b"100-continue", False)],
)
def test_a_request_of_http_1_1_alone_gets_an_interim_response(
    server: LiveServer, version: bytes, expectation: bytes, interim: bool
) -> None:
    fields = HOST, PYTHON, CLOSE, b"Content-Length: 3", b"Expect: " + expectation
    response = exchange(server, head(b"POST / HTTP/" + version, *fields) + b"1+1", interim=interim)
    assert response.body == b"2"


def test_an_absolute_target_is_answered_for_its_own_host(server: LiveServer) -> None:
    target = b"http://127.0.0.1:99/x?code=request.host%2Brequest.path"
    response = exchange(server, head(b"GET %s HTTP/1.1" % target, b"Host: evil.example", CLOSE))
    assert response.body == b"127.0.0.1:99/x"
    response = exchange(server, head(b"GET http://evil.example/?code=1 HTTP/1.1", HOST, CLOSE))
    assert response.status == 403
