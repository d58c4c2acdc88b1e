"""Client connections: Tornado's stream with limits on request heads and an orderly close."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import struct
import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct
from tornado.httputil import HTTPHeaders
from tornado.iostream import IOStream, SSLIOStream, UnsatisfiableReadError

from owt.frontend.problems import Problem, WholeResponse

log = logging.getLogger("owt.access")

SLACK = 1024
"""Bytes of a request's head beside its URL and its headers: method, version, line ends."""

PART = 256 * 1024
"""Maximum size of the parts in which a body is read, in bytes."""

READ_AHEAD = 4096
"""Bytes of a request up to which the event loop keeps watching the socket while the request is processed."""

LINGER = 2.0
"""Seconds that a client gets to read the response after the server has closed the connection."""

DISCARD = 256 * 1024
"""Bytes that are read and discarded at once from a connection that lingers."""

_ACCEPT = re.compile(rb"^accept:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class HeadLimits(Struct, frozen=True):
    """Limits on a request's URL and on its header lines together, in bytes."""

    url: int
    headers: int

    @property
    def head(self) -> int:
        """Return the maximum size of a head; the stream reads no more."""
        return self.url + self.headers + SLACK

    def check(self, url: str, headers: HTTPHeaders) -> Problem | None:
        """Return the problem of a head that Tornado has parsed, or None."""
        if len(url) > self.url:
            return self._url_too_long()
        size = 0
        for name, value in headers.get_all():
            # A line has a colon, a space and two characters at its end.
            size += len(name) + len(value) + 4
        return self._headers_too_large() if size > self.headers else None

    def problem(self, beginning: bytes) -> Problem:
        """Return the problem of a head that is larger than `head`, from its beginning."""
        # Line ends before the request are permitted (RFC 9112, section 2.2).
        line = beginning.lstrip(b"\r\n").partition(b"\n")[0]
        url = line.split(b" ", 2)[1] if b" " in line else b""
        if len(url.rstrip(b"\r")) > self.url or len(line) > self.url + SLACK:
            return self._url_too_long()
        return self._headers_too_large()

    def _url_too_long(self) -> Problem:
        # RFC 9110, section 15.5.15.
        return Problem(
            "urn:owt:url-too-long",
            "the URL is too long",
            414,
            f"the limit is {self.url} bytes (--max-url); send code and kwargs in a POST's body",
        )

    def _headers_too_large(self) -> Problem:
        # RFC 6585, section 5.
        return Problem(
            "urn:owt:headers-too-large",
            "the headers are too large",
            431,
            f"the limit is {self.headers} bytes for all of them together (--max-header)",
        )


class Connection(IOStream):
    """Stream of an accepted connection.

    It responds to a head that is larger than the limits, where Tornado would close the connection without a
    response. `answering` is True from the end of a request to the end of its response.
    """

    _reports_data = True

    def __init__(
        self,
        sock: socket.socket,
        *,
        limits: HeadLimits,
        linger: Callable[[socket.socket], None],
        on_close: Callable[[Connection], None],
        **kwargs: Any,
    ) -> None:
        """`linger` closes the socket of a connection that has ended, `on_close` is called with a connection
        that has ended, and `kwargs` are those of Tornado's stream."""
        self.answering = False
        # Time at which the read began that still waits for data; None for a WebSocket.
        self._waiting_since: float | None = time.monotonic()
        self._limits = limits
        self._linger = linger
        self._on_close = on_close
        self._part = "head"
        # Bytes that have arrived since the last request.
        self._received = 0
        self._reset = False
        self._drained = False
        self._closed_socket: socket.socket | None = None
        super().__init__(sock, **kwargs)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def waits_since(self, moment: float) -> bool:
        """Return True if the server has waited for a head, or for more of a body, since before `moment`."""
        return super().reading() and self._waiting_since is not None and self._waiting_since < moment

    def set_nodelay(self, value: bool) -> None:
        """Leave TCP_NODELAY set, which Tornado would switch with two system calls per response. A write is a
        whole response or a piece that a client waits for, and Nagle's algorithm would delay the second piece
        until the client's delayed acknowledgement."""

    def reading(self) -> bool:
        """Return True while a request is read, also between two reads of a small one or of a body, so that
        the event loop does not remove and add the socket for microseconds."""
        return super().reading() or (
            not self.answering and (self._part == "body" or self._received <= READ_AHEAD)
        )

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Read, and count the bytes of the request.

        After a read that did not fill the buffer, the next one waits for the event loop: the socket is empty,
        or the loop reports it again. Tornado would ask the system once more for each request.
        """
        if self._drained:
            self._drained = False
            return None
        count = super().read_from_fd(buf)
        if count:
            self._received += count
            self._drained = self._reports_data and count < len(buf)
        return count

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Read the head of a request; Tornado uses this method for nothing else."""
        self._part = "head"
        self._received = 0
        self._waiting_since = time.monotonic()
        return super().read_until_regex(regex, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Read the size of a body's chunk; Tornado uses this method for nothing else."""
        self._part = "chunks"
        self._waiting_since = time.monotonic()
        return super().read_until(delimiter, max_bytes)

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        """Read a part of a body, or of a WebSocket's frame, which has no time limit."""
        if partial and self._part == "head":
            self._part = "body"
        self._waiting_since = time.monotonic() if partial or self._part == "chunks" else None
        if partial and self._part == "body" and num_bytes > self.read_chunk_size:
            return self._read_part(num_bytes)
        return super().read_bytes(num_bytes, partial)

    async def _read_part(self, size: int) -> bytes:
        """Read at most `size` bytes at once. Tornado would read less and copy it once more."""
        part = bytearray(size)
        # The client is probably sending more.
        self._drained = False
        with memoryview(part) as view:
            return bytes(view[: await self.read_into(part, partial=True)])

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set the callback; Tornado does so while a request that has been read is answered."""
        self.answering = callback is not None
        super().set_close_callback(callback)

    def time_out(self, seconds: float) -> None:
        """Close, as the client has sent nothing for `seconds`. If it has sent a part of a body, respond with
        408, unless it has yet to take a response."""
        if self._part != "head" and not self.writing():
            problem = Problem(
                "urn:owt:request-timeout",
                "the request's body does not come",
                408,
                f"nothing has come of the rest for {seconds:g} s (--connection-idle)",
            )
            _send(self.socket, problem)
        self.close()

    def close(self, exc_info: Any = False) -> None:
        """Close the connection. Tornado does so too if a head is too large; then respond with the problem."""
        too_large = isinstance(exc_info, UnsatisfiableReadError) and self._part == "head"
        super().close(exc_info)
        if (sock := self._closed_socket) is None:
            return
        self._closed_socket = None
        if too_large:
            self._refuse_head(sock)
        if self._reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        else:
            self._linger(sock)
        self._on_close(self)

    def reset(self) -> None:
        """Close with an error for the client, which must not take its data for a whole response."""
        self._reset = True
        self.close()

    def close_fd(self) -> None:
        """Leave the socket to `close`."""
        self._closed_socket, self.socket = self.socket, None  # type: ignore[assignment]

    def _refuse_head(self, sock: socket.socket) -> None:
        # A closed stream still returns what it has buffered.
        read = super().read_bytes(self._limits.head, partial=True)
        assert isinstance(read, Future)
        head = read.result()
        problem = self._limits.problem(head)
        accept = match[1].strip().decode("latin-1") if (match := _ACCEPT.search(head)) else "*/*"
        log.debug("refused a request's head: %d %s", problem.status, problem.title)
        _send(sock, problem, accept)


class SecureConnection(Connection, SSLIOStream):
    """Connection with TLS."""

    # What TLS has decrypted and not returned yet is not reported by the event loop.
    _reports_data = False


def linger(sock: socket.socket, on_closed: Callable[[], None]) -> Callable[[], None]:
    """Close a socket when its client has closed it, or after `LINGER` seconds. Returns a function that closes
    it now.

    If a socket is closed while it has unread data, or before more arrives, the system resets the connection,
    and the client may lose a response that it has not read. So the server ends its own half first, and
    discards what it receives (RFC 9112, section 9.6). Data of a TLS connection is not decrypted.
    """
    loop = asyncio.get_running_loop()

    def close() -> None:
        if sock.fileno() >= 0:
            timer.cancel()
            loop.remove_reader(sock)
            sock.close()
            on_closed()

    def discard() -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                ended = not sock.recv(DISCARD)
            except ConnectionError:
                ended = True
            if ended:
                close()

    timer = loop.call_later(LINGER, close)
    try:
        sock.shutdown(socket.SHUT_WR)
        loop.add_reader(sock, discard)
    except OSError:
        close()
    return close


def _send(sock: socket.socket, problem: Problem, accept: str = "*/*") -> None:
    content_type, body = problem.body(accept)
    answer = WholeResponse(problem.status, [("Content-Type", content_type)], body)
    # The socket's buffer has room, as the client has taken the response before; other clients do not read.
    with contextlib.suppress(OSError):
        sock.send(answer.encode())
