"""Client connections: Tornado's stream with limits on request heads, the forms of HTTP/1.1 that Tornado does
not read, and an orderly close."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import struct
import sys
import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import Any, cast

from tornado.httputil import HTTPHeaders, HTTPInputError
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError, UnsatisfiableReadError

from owt.frontend.http.heads import HeadLimits, accept_of, normal_head
from owt.frontend.problems import Problem

log = logging.getLogger("owt.access")

PART = 256 * 1024
"""Maximum size of the parts in which a body is read, in bytes."""

READ_SIZE = 16 * 1024
"""Size in bytes of the buffer for a head and a small body. Tornado allocates and clears one or two for each
request, and its default of 64 KiB would displace all else from the processor's first cache."""

READ_AHEAD = 4096
"""Bytes of a request up to which the event loop keeps watching the socket while the request is processed."""

LINGER = 2.0
"""Seconds that a client gets to read the response after the server has closed the connection."""

DISCARD = 256 * 1024
"""Bytes that are read and discarded at once from a connection that lingers."""

MAX_CHUNK_LINE = 4096
"""Maximum length of the line before a chunk of a body, with the chunk's extensions, in bytes."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\n\r\n"
"""Response that Tornado writes itself to a request that it cannot parse."""

CONTINUE = b"HTTP/1.1 100 (Continue)\r\n\r\n"
"""Response that Tornado writes when the body may come."""


class Gate:
    """Switch by which no connection of a listener begins a request, unless it has TLS: each waits for
    `closed`, if that is a future."""

    closed: Future[None] | None = None


_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n\0]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n")


class Connection(IOStream):
    """Stream of an accepted connection.

    It responds to a head that is larger than the limits, where Tornado would close the connection without a
    response. It gives Tornado heads and chunks in the form that Tornado reads, without extensions and
    trailers of chunks.

    `idle` is True while no request has begun: a head may have come in part, or as a whole if the gate is
    closed. `request` counts the requests. `answering` is True from the end of a request, or from the start of
    a call into which the body streams, to the end of its response, and `resumable` while that is a stream of
    events, which the client can resume by another connection. `repeatable` is True while the response is that
    of a run whose id the client has chosen. `closing_frame` is what the client of a WebSocket gets if the
    server shuts down before it has anything to send by it.
    """

    can_move = True
    """True if another process can go on with the socket, so that a request can wait for it."""
    _reports_data = True

    def __init__(
        self,
        sock: socket.socket,
        *,
        limits: HeadLimits,
        gate: Gate,
        linger: Callable[[socket.socket], None],
        on_close: Callable[[Connection], None],
        data: bytes = b"",
        **kwargs: Any,
    ) -> None:
        """`gate` holds requests back. `linger` closes the socket of a connection that has ended, and
        `on_close` is called with a connection that has ended. `data` has been read already. `kwargs` are
        those of Tornado's stream."""
        self.answering = False
        self.idle = True
        self.request = 0
        self.resumable = self.repeatable = False
        self.closing_frame = b""
        # Time at which the read began that still waits for data; None for a WebSocket.
        self._waiting_since: float | None = time.monotonic()
        self._limits = limits
        self._gate = gate
        self._data = memoryview(data)
        self._linger = linger
        self._on_close = on_close
        self._part = "head"
        # Bytes that have arrived since the last request.
        self._received = 0
        self._head = b""
        # The head that is being read: done some steps of the event loop before `_head` is set.
        self._head_read: Future[bytes] | None = None
        self._released = False
        self._begun = False
        self._trailed = False
        self._streams = False
        self._reset = False
        self._drained = False
        self._closed_socket: socket.socket | None = None
        super().__init__(sock, **kwargs)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def waits_since(self, moment: float) -> bool:
        """Return True if the server has waited for a head, or for more of a body, since before `moment`."""
        if self.answering or self._waiting_since is None:
            # A body that streams into a call that has begun has no time limit.
            return False
        return super().reading() and self._waiting_since < moment

    @property
    def is_websocket(self) -> bool:
        """Return True if messages are read, or the frames that they come in."""
        return not self.idle and self._waiting_since is None

    @property
    def can_be_cut(self) -> bool:
        """Return True if the client can go on by another connection."""
        return self.resumable or self.is_websocket

    def check_head(self, url: str, headers: HTTPHeaders) -> Problem | None:
        """Return the problem of the head that was read last if it is beyond the limits, or None."""
        return self._limits.check(url, headers, len(self._head))

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
        if data := self._data[: len(buf)]:
            memoryview(buf)[: len(data)] = data
            self._data = self._data[len(data) :]
            self._received += len(data)
            return len(data)
        if self._drained:
            self._drained = False
            return None
        if self._streams and not super().reading():
            # The rest of the body has to wait, and Tornado reads only to notice the end of the connection. It
            # does not do so again while its buffer has a byte.
            self._drained = True
            count = super().read_from_fd(memoryview(buf)[:1])
            self._received += count or 0
            return count
        count = super().read_from_fd(buf)
        if count:
            self._received += count
            self._drained = self._reports_data and count < len(buf)
        return count

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Read the head of a request; Tornado uses this method for nothing else."""
        self._part = "head"
        self._received = 0
        self._head = b""
        self.idle = True
        self._begun = self._trailed = self._streams = self.resumable = self.repeatable = False
        self._waiting_since = time.monotonic()
        reading = super().read_until_regex(regex, max_bytes)
        assert isinstance(reading, Future)
        self._head_read = reading
        return self._read_head(reading)

    async def _read_head(self, reading: Awaitable[bytes]) -> bytes:
        self._head = await reading
        self._head_read = None
        while self._gate.closed is not None and self.can_move:
            await self._gate.closed
            if self.closed():
                # Its client has gone, or another connection goes on with the request.
                raise StreamClosedError(self.error)
        if self._released:
            # The socket was taken before this step, with the head.
            raise StreamClosedError
        self.idle = False
        self.request += 1
        return normal_head(self._head)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Read the size of a body's chunk without its extensions (RFC 9112, section 7.1.1), and the trailers
        after the last one, which are dropped (section 7.1.2). Tornado uses this method for nothing else."""
        self._part = "chunks"
        self._waiting_since = time.monotonic()
        reading = super().read_until(delimiter, MAX_CHUNK_LINE)
        assert isinstance(reading, Future)
        if reading.done() and reading.exception() is None:
            match = _CHUNK_LINE.fullmatch(reading.result())
            if match is not None and match[0][:-2] == match[1] and match[1].strip(b"0"):
                # Nothing to leave out. Tornado joins small chunks that need no wait.
                return reading
        return self._read_chunk_size(reading)

    async def _read_chunk_size(self, reading: Awaitable[bytes]) -> bytes:
        line = await reading
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise HTTPInputError(f"this is no line before a chunk: {line[:100]!r}")
        if not match[1].strip(b"0"):
            self._part = "trailers"
            left = self._limits.headers
            while (trailer := await super().read_until(b"\r\n", left + 2)) != b"\r\n":
                if not _TRAILER.fullmatch(trailer):
                    raise HTTPInputError(f"this is no trailer: {trailer[:100]!r}")
                left -= len(trailer)
            self._trailed = True
        return match[1] + b"\r\n"

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        """Read a part of a body, or of a WebSocket's frame, which has no time limit."""
        if self._trailed:
            # The line end of the last chunk, which the trailers ended with.
            self._trailed = False
            end: Future[bytes] = Future()
            end.set_result(b"\r\n")
            return end
        if partial and self._part == "head":
            self._part = "body"
        self._waiting_since = time.monotonic() if partial or self._part == "chunks" else None
        if partial and self._part != "head" and num_bytes > self.read_chunk_size:
            return self._read_part(num_bytes)
        return super().read_bytes(num_bytes, partial)

    async def _read_part(self, size: int) -> bytes:
        """Read at most `size` bytes at once. Tornado would read less and copy it once more."""
        part = bytearray(size)
        # The client is probably sending more.
        self._drained = False
        del part[await self.read_into(part, partial=True) :]
        # Tornado and all delegates only join it, and a copy takes as long as the read.
        return cast(bytes, part)

    def stream_body(self, callback: Callable[[], None]) -> None:
        """Read the rest of the body only as its call takes it, without a time limit.

        `callback` is called when the client disconnects, which Tornado itself notices only while it reads.
        """
        self._streams = True
        self.set_close_callback(callback)

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set the callback; Tornado does so while a request that has been read is answered."""
        self.answering = callback is not None
        super().set_close_callback(callback)

    def write(self, data: bytes | memoryview) -> Future[None]:
        """Write, and give a refusal of Tornado's the headers and the body that each response has."""
        if data == BAD_REQUEST:
            if self._begun:
                # The rest of a body, whose call has begun to respond.
                written: Future[None] = Future()
                written.set_result(None)
                return written
            data = self._response(_bad_request("it cannot be read as HTTP/1.1 (RFC 9112)"))
        self._begun = self._begun or data != CONTINUE
        return super().write(data)

    def release(self) -> tuple[socket.socket, bytes]:
        """Stop using the socket of an idle connection, and return it with what was read of a request."""
        sock, reading = self.socket, self._head_read
        self._released = True
        super().close()
        self._closed_socket = None
        head = self._head
        if reading is not None and reading.done() and reading.exception() is None:
            # The event loop has yet to continue the reader.
            head = reading.result()
        rest = b""
        with contextlib.suppress(StreamClosedError):
            # A closed stream still returns what it has buffered.
            buffered = super().read_bytes(sys.maxsize, partial=True)
            assert isinstance(buffered, Future)
            rest = buffered.result()
        return sock, head + rest + bytes(self._data)

    def give_up(self, problem: Problem, closing_frame: bytes = b"") -> None:
        """Close the connection for this reason. The client gets the problem if its request has begun and the
        response has not; a WebSocket gets the `closing_frame`, or its own."""
        if not self.writing():
            if frame := (self.is_websocket and closing_frame) or self.closing_frame:
                self._send(self.socket, frame)
            elif not (self.idle or self._begun):
                self._send(self.socket, self._response(problem))
        self.close()

    def close(self, exc_info: Any = False) -> None:
        """Close the connection. Tornado does so too if a head or the line of a chunk is too large; then
        respond with the problem."""
        too_large = isinstance(exc_info, UnsatisfiableReadError)
        super().close(exc_info)
        if self.error is not None:
            # Its frames refer to the connection, and to what was written to it.
            self.error.__traceback__ = None
        if (sock := self._closed_socket) is None:
            return
        self._closed_socket = None
        if too_large:
            self._refuse(sock)
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

    def _refuse(self, sock: socket.socket) -> None:
        """Respond to what is too large to be read."""
        match self._part:
            case "head":
                # A closed stream still returns what it has buffered.
                read = super().read_bytes(self._limits.head, partial=True)
                assert isinstance(read, Future)
                self._head = read.result()
                problem = self._limits.problem(self._head)
            case "trailers":
                problem = self._limits.headers_too_large()
            case _:
                problem = _bad_request(f"the line before a chunk has more than {MAX_CHUNK_LINE} bytes")
        log.debug("refused a request: %d %s", problem.status, problem.title)
        self._send(sock, self._response(problem))

    def _send(self, sock: socket.socket, data: bytes) -> None:
        # The socket's buffer has room, as the client has taken the response before; others do not read.
        with contextlib.suppress(OSError):
            sock.send(data)

    def _response(self, problem: Problem) -> bytes:
        response = problem.response(accept_of(self._head))
        if problem.status == 503:
            response.headers.append(("Retry-After", "1"))
        data = response.encode()
        return data[: -len(response.body)] if self._head.startswith(b"HEAD ") else data


class SecureConnection(Connection, SSLIOStream):
    """Connection with TLS."""

    # The state of TLS is in this process.
    can_move = False
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


def _bad_request(detail: str) -> Problem:
    return Problem("urn:owt:bad-request", "bad request", 400, f"the request is malformed: {detail}")
