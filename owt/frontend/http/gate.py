"""Access gate: the checks that every request passes before its body is read, and the limit on its body."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Awaitable, Iterator
from typing import cast

from msgspec import Struct
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from owt.errors import shortened
from owt.frontend.access import origins
from owt.frontend.access.authentication import Unauthenticated, authorization
from owt.frontend.http import compression
from owt.frontend.http.connection import Connection
from owt.frontend.problems import Headers, Problem, WholeResponse
from owt.frontend.service import Service
from owt.wire.collector import Collector

MAX_LENGTH_DIGITS = 20
"""Digits of a Content-Length that are read as a number; Python refuses to read thousands."""


class Access(Struct, frozen=True):
    """Result of the checks: every response gets these headers, and `refusal` is the response if the request
    must not proceed. `user` is None if the server requires no credentials."""

    headers: Headers
    user: str | None = None
    refusal: WholeResponse | None = None


def check(service: Service, request: HTTPServerRequest) -> Access | Awaitable[Access]:
    """Check a request's head and its origin, then its credentials, which may take time."""
    stream = cast(HTTP1Connection, request.connection).stream
    assert isinstance(stream, Connection)
    problem = stream.check_head(request.uri or "", request.headers)
    if problem is not None:
        return Access([], refusal=problem_answer(problem, request))
    match service.origins.check(request.method or "", request.protocol, request.host, request.headers):
        case Problem() as problem:
            return Access([], refusal=problem_answer(problem, request))
        case origins.Preflight(headers=headers):
            # A preflight never has credentials.
            return Access([], refusal=WholeResponse(204, headers, b""))
        case headers:
            if not service.authenticator.guarded:
                return Access(headers)
            return _authenticate(service, request, headers)


async def _authenticate(service: Service, request: HTTPServerRequest, headers: Headers) -> Access:
    claim = authorization(request.headers)
    match await service.authenticator.authenticate(claim, request.remote_ip or ""):
        case Unauthenticated(problem=problem, headers=challenges):
            answer = problem_answer(problem, request)
            refusal = WholeResponse(answer.status, [*challenges, *answer.headers], answer.body)
            return Access(headers, refusal=refusal)
        case user:
            return Access(headers, user)


def problem_answer(
    problem: Problem, request: HTTPServerRequest, *, json_by_default: bool = False
) -> WholeResponse:
    """Return a problem as a response in the form that the client prefers."""
    return problem.response(request.headers.get("Accept", "*/*"), json_by_default=json_by_default)


class Body:
    """Body of a request, received in parts, up to `max_size` bytes; `sys.maxsize` is no limit.

    A body that is compressed by gzip counts as what it contains. `compressed` says that its parts are for
    `add_compressed` rather than for `add`.
    """

    size = 0
    _announced = 0
    _content: Collector | None = None
    _decompressor: compression.Decompressor | None = None

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size

    @property
    def compressed(self) -> bool:
        """Return True if the body has the coding gzip."""
        return self._decompressor is not None

    def check_head(self, headers: HTTPHeaders) -> Problem | None:
        """Return the problem of a coding that is not supported, or of a length beyond the limit, or None."""
        if "Content-Encoding" in headers:
            coding = headers["Content-Encoding"].strip().lower()
            if coding in compression.CODINGS:
                self._decompressor = compression.Decompressor()
            elif coding not in ("", "identity"):
                return Problem(
                    "urn:owt:unsupported-coding", "unsupported coding", 415,
                    f"the body has the Content-Encoding {shortened(coding)}; send it as it is, or by gzip",
                )
        return self._check_length(headers)

    def limit(self, max_size: int, headers: HTTPHeaders) -> Problem | None:
        """Limit the size from now on. Return the problem of a body that is, or will be, larger, or None."""
        self._max_size = max_size
        return self.add(b"") or self._check_length(headers)

    def _check_length(self, headers: HTTPHeaders) -> Problem | None:
        if "Content-Length" not in headers:
            return None
        length = headers["Content-Length"]
        if not length.isdecimal():
            return None
        if len(length) > MAX_LENGTH_DIGITS:
            return self._too_large(f"a length of {len(length)} digits")
        if int(length) > self._max_size:
            return self._too_large(f"{int(length)} bytes")
        if self._decompressor is None:
            self._announced = int(length)
        return None

    def add(self, part: bytes) -> Problem | None:
        """Keep a part, or drop all of them and return the problem if the body is too large."""
        self.size += len(part)
        if self.size > self._max_size:
            self.drop()
            return self._too_large("more")
        if self._content is None:
            self._content = Collector(self._announced)
        self._content.add(part)
        return None

    async def add_compressed(self, part: bytes) -> Problem | None:
        """Do what `add` does with the content of a part, while other connections have their turn."""
        assert self._decompressor is not None
        try:
            for piece in self._decompressor.pieces(part):
                if (problem := self.add(piece)) is not None:
                    return problem
                await asyncio.sleep(0)
        except zlib.error as error:
            return _not_gzip(str(error))
        return None

    def content_of(self, part: bytes) -> Iterator[bytes]:
        """Yield the content of a part that is not kept here. Raises `zlib.error`."""
        return iter((part,)) if self._decompressor is None else self._decompressor.pieces(part)

    def is_complete(self) -> bool:
        """Return False for a compressed body that may not end here."""
        return self._decompressor is None or self._decompressor.complete

    def complete(self, headers: HTTPHeaders) -> Problem | None:
        """End the body. Return the problem of one that is cut off; otherwise `headers` describe its content
        from now on."""
        if self._decompressor is None:
            return None
        if not self.is_complete():
            return _not_gzip("it ends too early")
        headers.pop("Content-Encoding", None)
        if "Content-Length" in headers:
            headers["Content-Length"] = str(self.size)
        return None

    def drop(self) -> None:
        """Drop all parts."""
        self._content = None

    def join(self) -> bytes:
        """Return all parts that have been received."""
        return b"" if self._content is None else self._content.value()

    def _too_large(self, size: str) -> Problem:
        limit = f"the limit is {self._max_size} bytes (--max-body)"
        if self._max_size == sys.maxsize:
            limit = "no client can send so much"
        return Problem(
            "urn:owt:body-too-large", "the body is too large", 413, f"the request's body has {size}; {limit}"
        )


def _not_gzip(reason: str) -> Problem:
    return Problem("urn:owt:bad-request", "bad request", 400, f"the body cannot be read as gzip: {reason}")
