"""owt.frontend.http.heads: the forms in which clients may write the head of a request.

The limits are tested with the connection that applies them.
"""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPInputError

from owt.frontend.http.heads import accept_of, normal_head


def head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


@pytest.mark.parametrize(
    ("target", "version", "fields"),
    [
        (b"/", b"HTTP/1.1", [b"Host: a", b"Connection: keep-alive", b"Upgrade: websocket"]),
        (b"/?code=http://b/", b"HTTP/1.1", [b"Host: a"]),
        (b"/close", b"HTTP/1.1", [b"Host: a", b"Connection: keep-alive, Upgrade", b"Expected: X-Y"]),
    ],
)
def test_a_head_in_the_usual_form_stays_as_it_is(target: bytes, version: bytes, fields: list[bytes]) -> None:
    usual = head(b"GET %s %s" % (target, version), *fields)
    assert normal_head(usual) == usual


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://b:8080/x?y=z", b"b:8080", b"/x?y=z"),
        (b"HTTPS://B", b"B", b"/"),
        (b"http://b?y=z", b"b", b"/?y=z"),
        (b"http://[::1]:80/x", b"[::1]:80", b"/x"),
        (b"http://ada:secret@b/x", b"b", b"/x"),
    ],
)
def test_the_authority_of_an_absolute_target_is_the_host(target: bytes, host: bytes, path: bytes) -> None:
    received = head(b"GET %s HTTP/1.1" % target, b"Host: a", b"X: 1", b"host: c")
    assert normal_head(received) == head(b"GET %s HTTP/1.1" % path, b"Host: " + host, b"X: 1")


@pytest.mark.parametrize("target", [b"x", b"http:///x", b"ftp://a/x", b"*", b"?x", b"http://a/#x", b"http://a@"])
def test_a_target_of_no_form_is_an_error(target: bytes) -> None:
    with pytest.raises(HTTPInputError):
        normal_head(head(b"GET %s HTTP/1.1" % target, b"Host: a"))


@pytest.mark.parametrize("line", [b"OPTIONS * HTTP/1.1", b"CONNECT a:80 HTTP/1.1", b"no request", b"close"])
def test_other_targets_and_lines_are_left_to_tornado(line: bytes) -> None:
    assert normal_head(head(line, b"Host: a")) == head(line, b"Host: a")


@pytest.mark.parametrize(
    "fields",
    [
        [b"Connection: keep-alive, close"],
        [b"connection:Close,Keep-Alive"],
        [b"Connection: keep-alive", b"Connection: close"],
        [b"Connection: keep-alive,", b"\tclose"],
    ],
)
def test_a_close_in_a_list_of_connection_options_stands_alone(fields: list[bytes]) -> None:
    received = head(b"GET / HTTP/1.1", b"Host: a", *fields, b"X: 1")
    assert normal_head(received) == head(b"GET / HTTP/1.1", b"Connection: close", b"Host: a", b"X: 1")


@pytest.mark.parametrize(
    ("version", "expected"), [(b"HTTP/1.0", []), (b"HTTP/1.1", [b"expect: 100-continue"])]
)
def test_an_expectation_of_http_1_0_is_left_out(version: bytes, expected: list[bytes]) -> None:
    received = head(b"POST / " + version, b"Expect: 100-Continue", b"X: A")
    assert normal_head(received) == head(b"POST / " + version, *expected, b"X: A")


@pytest.mark.parametrize(
    ("received", "accept"),
    [
        (head(b"GET / HTTP/1.1", b"ACCEPT:  a/b "), "a/b"),
        (head(b"GET / HTTP/1.1", b"X-Accept: a/b"), "*/*"),
        (b"", "*/*"),
    ],
)
def test_the_accept_header_of_a_refused_head_counts(received: bytes, accept: str) -> None:
    assert accept_of(received) == accept
