"""One client's connection: Tornado's stream, which also looks at the head of a request before all else,
and which ends so that the client can read what was written last."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import struct
import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError, UnsatisfiableReadError

from owt.frontend.http.lingering import Lingering
from owt.frontend.problems import Problem, WholeResponse

log = logging.getLogger("owt.access")

SLACK = 1024
"""Bytes of a head beside its URL and its headers: method, version, line ends."""

MOST_LINES = 2000
"""Header lines. Parsing one costs microseconds, and a megabyte of the shortest lines would hold the event
loop for most of a second."""

SMALL = 4096
"""Bytes of a request that is no reason to stop listening."""

_ACCEPT = re.compile(rb"^accept:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class HeadLimits:
    """What a request may bring before its body, in bytes: its URL, and its header lines with their ends."""

    url: int
    header: int

    @property
    def together(self) -> int:
        """Where reading ends in any case."""
        return self.url + self.header + SLACK

    def complaint(self, head: bytes) -> Problem | None:
        """What is too large in a head, or in the beginning of one that is longer than `together`.

        That is 414 for the URL (RFC 9110, section 15.5.15) and 431 for the headers (RFC 6585, section 5).
        """
        # Line ends before the request are let pass (RFC 9112, section 2.2).
        line, _, headers = head.lstrip(b"\r\n").partition(b"\n")
        url = line.split(b" ", 2)[1] if b" " in line else b""
        if len(url.rstrip(b"\r")) > self.url or len(line) > self.url + SLACK:
            return Problem(
                "urn:owt:url-too-long",
                "the URL is too long",
                414,
                f"the limit is {self.url} bytes (--max-url); send code and kwargs in a POST's body",
            )
        if headers.count(b"\n") > MOST_LINES:
            return Problem(
                "urn:owt:headers-too-many",
                "there are too many headers",
                431,
                f"the request has more than {MOST_LINES} header lines",
            )
        size = len(headers.removesuffix(b"\n").removesuffix(b"\r"))
        if size > self.header or len(head) > self.together:
            return Problem(
                "urn:owt:headers-too-large",
                "the headers are too large",
                431,
                f"the limit is {self.header} bytes for all of them together (--max-header)",
            )
        return None


class Connection(IOStream):
    """A connection that the listener has accepted.

    A head that is too large is answered here, since Tornado would close the connection without a word.
    `answering` tells that a request has been read whose answer is on its way, and `silent_since` (seconds
    of the monotonic clock) that the head of the next is waited for, or the end of TLS's handshake, or more
    of a body.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        limits: HeadLimits,
        lingering: Lingering,
        on_close: Callable[[Connection], None],
        **kwargs: Any,
    ) -> None:
        """`on_close` hears of the connection's end; `kwargs` are those of Tornado's stream."""
        self.answering = False
        self.silent_since: float | None = time.monotonic()
        self._limits = limits
        self._lingering = lingering
        self._on_close = on_close
        self._reading_head = False
        self._reading_body = False
        # What had been written when the request came that is being read.
        self._written_before = 0
        self._chunked = False
        self._reset = False
        super().__init__(sock, **kwargs)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def silent_before(self, moment: float) -> bool:
        """Whether the client has let us wait for a request, or for more of its body, since before then."""
        return self.silent_since is not None and self.silent_since < moment

    def set_nodelay(self, value: bool) -> None:
        """Nothing. Tornado has it off between two answers, by two system calls for each; here it is
        always on, since what is written is a whole answer, or a piece that somebody waits for, and Nagle's
        algorithm would hold the second piece until the client's delayed acknowledgement."""

    def reading(self) -> bool:
        """As Tornado's; also while a small request has arrived that is yet to be taken. Otherwise each one
        would be taken off the event loop's list and be put back on it, for those microseconds."""
        return super().reading() or (not self.answering and 0 < self._read_buffer_size <= SMALL)

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """As Tornado's, which reads the heads of requests with it, and nothing else."""
        self.silent_since = time.monotonic()
        checked: Future[bytes] = Future()

        def check(read: Future[bytes]) -> None:
            self._reading_head = False
            self.silent_since = None
            self._chunked = False
            self._written_before = self._total_write_index
            if checked.done():
                return
            if error := read.exception():
                checked.set_exception(error)
            elif problem := self._limits.complaint(head := read.result()):
                self._refuse(head, problem)
                self.close()
                checked.set_exception(StreamClosedError())
            else:
                checked.set_result(head)

        self._reading_head = True
        read = super().read_until_regex(regex, max_bytes)
        assert isinstance(read, Future)
        if read.done():
            check(read)
        else:
            read.add_done_callback(check)
        return checked

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[bytes]:
        """As Tornado's, which reads bodies with it; but also messages of WebSockets, which may be silent for
        as long as they like."""
        read = super().read_bytes(num_bytes, partial)
        return self._of_body(read) if partial or self._chunked else read

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """As Tornado's, which reads the sizes of a body's chunks with it, and nothing else."""
        self._chunked = True
        return self._of_body(super().read_until(delimiter, max_bytes))

    def _of_body(self, read: Awaitable[bytes]) -> Awaitable[bytes]:
        assert isinstance(read, Future)
        if not read.done():
            self._reading_body = True
            self.silent_since = time.monotonic()
            read.add_done_callback(self._heard)
        return read

    def _heard(self, read: Future[bytes]) -> None:
        self._reading_body = False
        self.silent_since = None

    def let_go(self, patience: float) -> None:
        """Close, because nothing has come for `patience` seconds. Who has sent a part of a body is told so,
        if nothing else has been answered."""
        if self._reading_body and self._total_write_index == self._written_before:
            self._tell(
                "*/*",
                Problem(
                    "urn:owt:request-timeout",
                    "the request's body does not come",
                    408,
                    f"nothing has come of the rest for {patience:g} s (--connection-idle)",
                ),
            )
        self.close()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """As Tornado's, which sets one while a request that has been read is answered."""
        self.answering = callback is not None
        super().set_close_callback(callback)

    def close(self, exc_info: Any = False) -> None:
        """As Tornado's, which also closes when a head does not end where it must."""
        if self._reading_head and isinstance(exc_info, UnsatisfiableReadError) and not self.closed():
            head = bytes(self._read_buffer[: self._limits.together + 1])
            if problem := self._limits.complaint(head):
                self._refuse(head, problem)
        super().close(exc_info)

    def reset(self) -> None:
        """Close so that the client gets an error: the end of what was written is not the end of all."""
        self._reset = True
        self.close()

    def close_fd(self) -> None:
        """The end of the socket, which Tornado calls once."""
        sock, self.socket = self.socket, None  # type: ignore[assignment]
        if self._reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        else:
            self._lingering.take(sock)
        self._on_close(self)

    def _refuse(self, head: bytes, problem: Problem) -> None:
        found = _ACCEPT.search(head)
        accept = found[1].strip().decode("latin-1") if found else "*/*"
        log.debug("a request's head was refused: %d %s", problem.status, problem.title)
        self._tell(accept, problem)

    def _tell(self, accept: str, problem: Problem) -> None:
        content_type, body = problem.body(accept)
        # There is room for it, as the answer before has been taken; a client for whom there is none has
        # read nothing, and would not read this.
        answer = WholeResponse(problem.status, [("Content-Type", content_type)], body)
        with contextlib.suppress(OSError):
            self.write_to_fd(memoryview(answer.encode()))


class SecureConnection(Connection, SSLIOStream):
    """The same with TLS."""
