"""Access gate: the checks that every request passes before its body is read, and the limit on its body."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from msgspec import Struct
from tornado.httputil import HTTPServerRequest

from owt.frontend.access import origins
from owt.frontend.access.authentication import Unauthenticated
from owt.frontend.http.heads import HeadLimits
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
    limits = HeadLimits(service.settings.max_url, service.settings.max_header)
    problem = limits.check(request.uri or "", request.headers)
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
    authorization = request.headers.get("Authorization")
    match await service.authenticator.authenticate(authorization, request.remote_ip or ""):
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
    """Body of a request, received in parts, up to `max_size` bytes."""

    def __init__(self, max_size: int) -> None:
        self.size = 0
        self._max_size = max_size
        self._content = Collector()

    def check_length(self, headers: Mapping[str, str]) -> Problem | None:
        """Return the problem of a Content-Length beyond the limit, or None."""
        length = headers.get("Content-Length", "")
        if not length.isdecimal():
            return None
        if len(length) > MAX_LENGTH_DIGITS:
            return self._too_large("more")
        if int(length) > self._max_size:
            return self._too_large(f"{int(length)} bytes")
        self._content = Collector(int(length))
        return None

    def add(self, part: bytes) -> Problem | None:
        """Keep a part, or drop all of them and return the problem if the body is too large."""
        self.size += len(part)
        if self.size > self._max_size:
            self.drop()
            return self._too_large("more")
        self._content.add(part)
        return None

    def drop(self) -> None:
        """Drop all parts."""
        self._content = Collector()

    def join(self) -> bytes:
        """Return all parts that have been received."""
        return self._content.value()

    def _too_large(self, size: str) -> Problem:
        return Problem(
            "urn:owt:body-too-large",
            "the body is too large",
            413,
            f"the request's body has {size}; the limit is {self._max_size} bytes (--max-body)",
        )
