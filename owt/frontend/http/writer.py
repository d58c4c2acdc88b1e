"""Writer of one HTTP response.

It frames the response itself, and sends it by `HTTPConnection.write`, which adds nothing to a response that
does not begin with `write_headers`: that function takes as long as half of the reading of a small request.
"""

from __future__ import annotations

import sys
import time
from asyncio import Future
from collections.abc import Sequence
from functools import lru_cache
from http.client import responses
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPOutputError, HTTPServerRequest, format_timestamp

from owt.errors import OwtError
from owt.frontend import logs
from owt.frontend.access.origins import OVERRULING
from owt.frontend.counters import Counters
from owt.frontend.http import compression
from owt.frontend.http.connection import CONTINUE, Connection
from owt.frontend.http.gate import problem_answer
from owt.frontend.problems import Headers, Problem, WholeResponse, problem_response
from owt.wire.http import BODILESS

CLOSE = ("Connection", "close")

REPRESENTATION = ("Content-Type", "Content-Encoding", "Content-Language")
"""Headers that describe a body; a response without a body has none of them."""


@lru_cache(maxsize=1)
def date(second: int) -> str:
    """Return the Date header for a time in whole seconds since 1970 (RFC 9110, section 6.6.1)."""
    return format_timestamp(second)


class ResponseWriter:
    """The response to one request: `send` all of it, or `begin`, `write` and `end`.

    `headers` are sent with every response, and `json_by_default` is that of `Problem.response` for errors.
    `begun` and `ended` say how far the response is. `has_body` is False for a response to HEAD, which has no
    Content-Length where the length of the body is unknown. `expected` is True while the client waits for 100
    (Continue): a response that begins permits the client to send its body meanwhile.
    """

    json_by_default = False
    request_complete = False
    expected = False
    begun = False
    ended = False
    _status = 0
    _closes = False  # the end of the connection is the end of the response
    _in_chunks = False  # the body is sent in chunks (RFC 9112, section 7.1)
    _written: Future[None] | None = None
    _left: int | None = None  # bytes that the Content-Length still allows
    _last = b""  # the last of them
    _compressor: compression.Compressor | None = None

    def __init__(self, request: HTTPServerRequest, counters: Counters) -> None:
        self.headers: Headers = []
        self.has_body = request.method != "HEAD"
        self._request = request
        self._connection = cast(HTTP1Connection, request.connection)
        self._counters = counters

    @property
    def chunked(self) -> bool:
        """Return True if the client supports chunks, which show the end of a body of unknown length."""
        return self._request.version == "HTTP/1.1"

    @property
    def closed(self) -> bool:
        """Return True if the connection is closed."""
        return self._connection.stream.closed()

    @property
    def busy(self) -> bool:
        """Return True if the client has yet to take data that was written, or has disconnected."""
        return self.closed or self._connection.stream.writing()

    def resumable(self) -> None:
        """Record that the client can resume the response by another connection."""
        stream = self._connection.stream
        if isinstance(stream, Connection):
            stream.resumable = True

    def repeatable(self) -> None:
        """Record that the client can send its request again, and follow the same run."""
        stream = self._connection.stream
        if isinstance(stream, Connection):
            stream.repeatable = True

    def send(self, answer: WholeResponse) -> None:
        """Send a whole response; for HEAD its head, as GET gets it.

        Raises `HTTPOutputError` if its headers state another length.
        """
        head, body = self._head(answer.headers), answer.body
        if answer.status in BODILESS:
            head = [pair for pair in head if pair[0] not in REPRESENTATION]
            body = b""
        elif not (length := dict(head).get("Content-Length")):
            if body or self.has_body:
                if self._compresses(answer.status, head, body):
                    body = compression.compress(body)
                head.append(("Content-Length", str(len(body))))
        elif self.has_body:
            self._left = _rest(int(length), body)
        if not self.request_complete:
            # Tornado closes the connection rather than read the rest of the request.
            head.append(CLOSE)
        self._write_head(answer.status, head, body)
        self.end()

    def send_problem(self, problem: Problem) -> None:
        """Send a problem as the response of the frontend itself."""
        self.refuse(problem_answer(problem, self._request, json_by_default=self.json_by_default))

    def send_error(self, error: OwtError, session: str | None = None, run: str | None = None) -> None:
        """Send an error as the response of the frontend itself."""
        accept = self._request.headers.get("Accept", "*/*")
        self.refuse(problem_response(error, accept, session, run, json_by_default=self.json_by_default))

    def refuse(self, answer: WholeResponse) -> None:
        """Send a response of the frontend itself, and count it."""
        self._counters.refused(answer.status)
        self.send(answer)

    def begin(self, status: int, headers: Headers, pieces: Sequence[bytes]) -> Future[None]:
        """Send the head and the first data of a response; the result is done when the client has them.

        Raises `HTTPOutputError`, and sends nothing, for more data than the headers state.
        """
        if self.expected:
            self._connection.stream.write(CONTINUE)
        head = self._head(headers)
        length = _value(head, "Content-Length")
        if length.isdecimal() and self.has_body and status not in BODILESS:
            self._left = int(length)
        data = self._allowed(b"".join(pieces))
        if self.chunked and self._compresses(status, head, data):
            self._compressor = compression.Compressor()
            head = [pair for pair in head if pair[0] != "Content-Length"]
            length = ""
            data = self._compressor.add(data)
        self._in_chunks = self.chunked and self.has_body and status not in BODILESS and not length
        if not self.chunked and not length:
            # The response ends with its connection (RFC 9112, section 6.3).
            self._closes = True
        return self._write_head(status, head, data)

    def write(self, pieces: Sequence[bytes]) -> Future[None]:
        """Send more data. Raises `HTTPOutputError` for more than the headers state."""
        if self._left is not None:
            pieces = (self._allowed(b"".join(pieces)),)
        if self._compressor is not None:
            pieces = (self._compressor.add(b"".join(pieces)),)
        if any(pieces) and self.has_body:
            self._written = self._connection.write(b"".join(self._framed(*pieces)))
        assert self._written is not None
        return self._written

    def end(self) -> None:
        """End the response. Raises `HTTPOutputError` if its headers state a greater length."""
        self.ended = True
        if self._left:
            raise HTTPOutputError("the answer is shorter than its own Content-Length")
        rest = self._last
        if self._compressor is not None:
            rest = self._compressor.add(rest) + self._compressor.end()
        if self._in_chunks:
            rest = b"".join((*self._framed(rest), b"0\r\n\r\n"))
        if rest and self.has_body:
            self._written = self._connection.write(rest)
        self._connection.finish()
        if self._closes and self._written is not None:
            if self._written.done():
                self._connection.close()
            else:
                self._written.add_done_callback(lambda _: self._connection.close())
        logs.log_response(self._request, self._status)

    def abort(self) -> None:
        """Close the connection so that the client does not take the response for complete."""
        self.ended = True
        stream = self._connection.stream
        if not stream.closed():
            if not self.chunked and isinstance(stream, Connection):
                # Without chunks, the end of the connection would look like the end of the response.
                stream.reset()
            self._connection.close()

    def fail(self) -> None:
        """Log the current exception as a fault of the frontend, and respond with 500, or abort."""
        error = sys.exc_info()[1]
        assert error is not None
        logs.log_fault(self._request, (type(error), error, error.__traceback__))
        if self.begun:
            self.abort()
        else:
            detail = "this is a fault in owt's frontend; its log says more"
            self.send_problem(Problem("about:blank", responses[500], 500, detail))

    def _compresses(self, status: int, head: Headers, data: bytes) -> bool:
        """Return True if a body that begins with `data` is sent by gzip, and complete the head for it."""
        if len(data) < compression.MIN_SIZE or status in (*BODILESS, 206):
            return False
        if _value(head, "Content-Encoding") or not compression.is_compressible(_value(head, "Content-Type")):
            return False
        if "no-transform" in _value(head, "Cache-Control").lower():
            return False
        head.append(("Vary", "Accept-Encoding"))
        headers = self._request.headers
        if "Accept-Encoding" not in headers or not compression.is_accepted(headers["Accept-Encoding"]):
            return False
        head.append(("Content-Encoding", "gzip"))
        if (etag := _value(head, "Etag")).startswith('"'):
            # The same content in other bytes (RFC 9110, section 8.8.1).
            head[head.index(("Etag", etag))] = ("Etag", f"W/{etag}")
        return True

    def _allowed(self, data: bytes) -> bytes:
        """Return the part of `data` to send now. Raises `HTTPOutputError` for more than the headers state.

        The last byte waits for the end of the response: without it, a client that has received the stated
        length would not see that there was more.
        """
        if self._left is None or not data:
            return data
        self._left = _rest(self._left, data)
        if not self._left:
            data, self._last = data[:-1], data[-1:]
        return data

    def _head(self, headers: Headers) -> Headers:
        if self.headers:
            overruled = OVERRULING.intersection(name.lower() for name, _ in self.headers)
            headers = [pair for pair in headers if pair[0].lower() not in overruled]
        return [("Date", date(int(time.time()))), *self.headers, *headers]

    def _write_head(self, status: int, head: Headers, data: bytes) -> Future[None]:
        self.begun = True
        self._status = status
        if "Connection" in self._request.headers:
            # Tornado closes the connection, or keeps it open, as the client asks for.
            option = self._request.headers["Connection"].lower()
            if option == "close" and CLOSE not in head:
                head.append(CLOSE)
            elif option == "keep-alive" and not self.chunked and not self._closes:
                head.append(("Connection", "keep-alive"))
        if self._connection.params.no_keep_alive and CLOSE not in head:
            head.append(CLOSE)
        if self._in_chunks:
            head.append(("Transfer-Encoding", "chunked"))
        lines = (f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}", *map(": ".join, head), "\r\n")
        text = "\r\n".join(lines)
        if not text.count("\r") == text.count("\n") == len(lines):
            raise ValueError(f"a header has a line break: {head}")
        pieces = self._framed(data) if self.has_body else ()
        self._written = self._connection.write(b"".join((text.encode("latin-1"), *pieces)))
        return self._written

    def _framed(self, *pieces: bytes) -> tuple[bytes, ...]:
        """Return data as it is, or as a chunk if the body is sent in chunks. An empty chunk would end it."""
        size = sum(map(len, pieces)) if self._in_chunks else 0
        return (b"%x\r\n" % size, *pieces, b"\r\n") if size else pieces


def _value(head: Headers, name: str) -> str:
    return ",".join(value for other, value in head if other == name)


def _rest(left: int, data: bytes) -> int:
    """Return the number of bytes that may follow `data`. Raises `HTTPOutputError` if it is too much."""
    if len(data) > left:
        raise HTTPOutputError("the answer is longer than its own Content-Length")
    return left - len(data)
