"""Strict reader of the responses on one connection, after RFC 9110 and RFC 9112."""

from __future__ import annotations

import re
from dataclasses import dataclass

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\t -~\x80-\xff]*")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?|)")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
LONGEST_LINE = 100_000


@dataclass(frozen=True)
class Response:
    """One response. `whole` is False if the connection ended before it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    whole: bool = True

    def header(self, name: str) -> list[str]:
        """Return all values of a header; `name` is in lower case."""
        return [value for header, value in self.headers if header == name]


class _End(Exception):
    """The connection ended before the response."""


def responses(received: bytes, *, head: bool = False) -> list[Response]:
    """Return the responses that a connection received until its end; the last one may be incomplete.

    Interim responses (1xx) are checked and left out. `head` is true for responses to HEAD. Raises ValueError
    for anything that a server must not send.
    """
    complete: list[Response] = []
    rest = received
    while rest:
        try:
            line, after = _line(rest)
        except _End:
            # The connection ended within the status line.
            if not b"HTTP/1.1 ".startswith(rest[:9]) and not rest.startswith(b"HTTP/1.1 "):
                raise ValueError(f"no status line: {rest[:100]!r}") from None
            return [*complete, Response(0, (), b"", whole=False)]
        if not (matched := STATUS_LINE.fullmatch(line)):
            raise ValueError(f"no status line: {line[:100]!r}")
        status = int(matched[1])
        headers: list[tuple[str, str]] = []
        try:
            rest = _headers(after, headers)
            if 100 <= status < 200:
                continue
            body, rest = _body(status, headers, rest, head=head)
        except _End as end:
            partial = end.args[0] if end.args else b""
            return [*complete, Response(status, tuple(headers), partial, whole=False)]
        complete.append(Response(status, tuple(headers), body))
    return complete


def _line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\r\n")
    if len(line) > LONGEST_LINE:
        raise ValueError(f"no line of HTTP has {len(line)} bytes: {line[:100]!r}")
    if b"\n" in line:
        raise ValueError(f"no CR before a line's end: {line[:100]!r}")
    if not end:
        raise _End
    return line, rest


def _headers(data: bytes, into: list[tuple[str, str]]) -> bytes:
    while True:
        line, data = _line(data)
        if not line:
            return data
        if not (matched := FIELD.fullmatch(line)):
            raise ValueError(f"no header: {line[:100]!r}")
        into.append((matched[1].decode("ascii").lower(), matched[2].decode("latin-1")))


def _body(status: int, headers: list[tuple[str, str]], data: bytes, *, head: bool) -> tuple[bytes, bytes]:
    lengths = [value for name, value in headers if name == "content-length"]
    codings = [value for name, value in headers if name == "transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise ValueError(f"a response of {lengths} bytes in {codings}")
    if lengths and not re.fullmatch("[0-9]{1,18}", lengths[0]):
        raise ValueError(f"a response of {lengths[0]!r} bytes")
    if codings not in ([], ["chunked"]):
        raise ValueError(f"a response in {codings}")
    if status in (204, 304) or head:
        if status == 204 and (lengths or codings):
            raise ValueError("a 204 with a body")
        return b"", data
    if codings:
        return _chunks(data)
    if lengths:
        length = int(lengths[0])
        if len(data) < length:
            raise _End(data)
        return data[:length], data[length:]
    # It ends with the connection (RFC 9112, section 6.3).
    if any(name == "connection" and value.lower() == "keep-alive" for name, value in headers):
        raise ValueError("a response without an end on a persistent connection")
    return data, b""


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    parts: list[bytes] = []
    while True:
        try:
            size, data = _line(data)
        except _End:
            raise _End(b"".join(parts)) from None
        if not CHUNK_SIZE.fullmatch(size):
            raise ValueError(f"no chunk's size: {size[:100]!r}")
        length = int(size, 16)
        if len(data) < length + 2:
            raise _End(b"".join([*parts, data[:length]]))
        if data[length : length + 2] != b"\r\n":
            raise ValueError(f"a chunk does not end where it says: {data[length : length + 50]!r}")
        if length == 0:
            return b"".join(parts), data[2:]
        parts.append(data[:length])
        data = data[length + 2 :]
