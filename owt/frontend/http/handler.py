"""What all of owt's handlers share: the doors, the body, and errors as problem documents."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Any

from tornado.httputil import HTTPHeaders, format_timestamp
from tornado.web import HTTPError, RequestHandler, stream_request_body

from owt.errors import OwtError
from owt.frontend import logs
from owt.frontend.access import authentication, origins
from owt.frontend.access.proxies import apply_forwarded
from owt.frontend.problems import Headers, Problem, WholeResponse, problem_response
from owt.frontend.service import Service

LONGEST_LENGTH = 20
"""Digits of a Content-Length that are read as a number; Python refuses to read thousands."""


@lru_cache(maxsize=1)
def date(second: int) -> str:
    """The Date header's value for a time in whole seconds since 1970 (RFC 9110, section 6.6.1)."""
    return format_timestamp(second)


@stream_request_body
class OwtHandler(RequestHandler):
    """What all of owt's handlers share: the door, the body, and errors as problem documents.

    The body is taken as it comes: so whoever may not come in, or brings too much, is told before
    it has been read, and Tornado does not parse forms that are parsed once already.
    """

    service: Service
    _standing: Sequence[tuple[str, str]] = ()

    def initialize(self, service: Service) -> None:
        """`service`: the parts of the server. `user` is who calls, or None where nobody is asked."""
        self.service = service
        self.user: str | None = None
        self._body: list[bytes] = []
        self._body_size = 0
        apply_forwarded(self.request, service.settings)
        if self.base:
            # So that a client that was given a longer path finds the pages under /_owt/.
            self._stand([("Owt-Base", self.base)])

    @property
    def body(self) -> bytes:
        """The request's body."""
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    @property
    def base(self) -> str:
        """The path under which all of the server lies: "" or such as `/owt`."""
        return self.service.settings.base_url

    def data_received(self, chunk: bytes) -> None:
        """A part of the body."""
        self._body_size += len(chunk)
        if self._body_size > self.service.settings.max_body:
            self._body.clear()
            if not self._finished:
                self._too_large("more")
        else:
            self._body.append(chunk)

    def clear(self) -> None:
        """The beginning of an answer: no Server header, no Content-Type before there is a content, and
        what every answer has.

        Tornado calls this again when an error takes the place of an answer that was being made.
        """
        self._headers = HTTPHeaders()
        self._headers["Date"] = date(int(time.time()))
        for name, value in self._standing:
            self.set_header(name, value)
        self._write_buffer: list[bytes] = []
        self._status_code = 200
        self._reason = "OK"

    def _stand(self, headers: Sequence[tuple[str, str]]) -> None:
        """Every answer to this request has these headers."""
        self._standing = (*self._standing, *headers)
        for name, value in headers:
            self.set_header(name, value)

    def compute_etag(self) -> str | None:
        """None: the answer of a call is not a document that stays."""
        return None

    def prepare(self) -> Awaitable[None] | None:
        """Turn away whoever may not come in, and what is too large, before the body is read.

        In this order: what the request's line and headers may hold, which pages may call, who may call,
        the body's size. Whoever answers here returns; Tornado then runs no method. There is something to
        wait for only where credentials are asked for.
        """
        if self._finished or not self._may_come_from_there():
            return None
        if self.service.authenticator.guarded:
            return self._ask()
        self._look_at_the_head()
        return None

    def _may_come_from_there(self) -> bool:
        request = self.request
        verdict = self.service.origins.check(
            request.method or "", request.protocol, request.host, request.headers
        )
        match verdict:
            case origins.Allowed(headers=headers):
                if headers:
                    self._stand(headers)
                return True
            case origins.Forbidden(problem=problem):
                self.finish_problem(problem)
            case origins.Preflight(headers=headers):
                # Before anyone is asked for a password: a preflight never has one.
                self.finish_answer(WholeResponse(204, headers, b""))
        return False

    async def _ask(self) -> None:
        request = self.request
        match await self.service.authenticator.authenticate(
            request.headers.get("Authorization"), request.remote_ip or ""
        ):
            case authentication.Authenticated(user=user):
                self.user = user
                self._look_at_the_head()
            case authentication.Unauthenticated(problem=problem, headers=headers):
                self.add_headers(headers)
                # The body has not been read, so the connection ends with this answer.
                self.set_header("Connection", "close")
                self.finish_problem(problem)

    def answers(self, method: str) -> bool:
        """Whether this page has such a method of its own, rather than Tornado's."""
        return getattr(type(self), method.lower(), None) is not RequestHandler.options

    def _look_at_the_head(self) -> None:
        if not self.answers(self.request.method or ""):
            # Nobody needs the body to be told so.
            raise HTTPError(405)
        limit = self.service.settings.max_body
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and len(length) > LONGEST_LENGTH:
            self._too_large("more")
        elif length.isdecimal() and int(length) > limit:
            self._too_large(f"{int(length)} bytes")

    def _too_large(self, size: str) -> None:
        limit = self.service.settings.max_body
        self.finish_problem(
            Problem(
                "urn:owt:body-too-large",
                "the body is too large",
                413,
                f"the request's body has {size}; the limit is {limit} bytes (--max-body)",
            )
        )

    def finish_problem(self, problem: Problem) -> None:
        """Answer with a problem."""
        content_type, body = problem.body(self.request.headers.get("Accept", "*/*"))
        self.finish_answer(WholeResponse(problem.status, [("Content-Type", content_type)], body))

    def finish_answer(self, answer: WholeResponse) -> None:
        """Answer with what is complete already."""
        self.set_status(answer.status)
        self.service.counters.refused(answer.status)
        self.add_headers(answer.headers)
        if not self.request._body_future.done():
            # Tornado closes the connection rather than read the rest, and a client must not use it again.
            self.set_header("Connection", "close")
        self.finish(answer.body or None)

    def add_headers(self, headers: Headers) -> None:
        """Add headers to the answer, but not such as what was decided about its origin overrules."""
        for name, value in headers:
            if not (self._standing and name.lower() in origins.OVERRULING and name in self._headers):
                self._headers.add(name, value)

    def finish_error(self, error: OwtError, session: str | None = None, run: str | None = None) -> None:
        """Answer with an error of ours."""
        accept = self.request.headers.get("Accept", "*/*")
        self.finish_answer(problem_response(error, accept, session, run))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tornado's own errors, as problems; those of our making never say how the server works."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        detail = (error.log_message or "") if isinstance(error, HTTPError) else ""
        title = self._reason or "error"
        if status_code == 405:
            detail = f"{self.request.method} is not supported at {self.request.path}"
            # An answer 405 has to say it (RFC 9110, section 15.5.6).
            self.set_header("Allow", ", ".join(filter(self.answers, self.SUPPORTED_METHODS)))
        elif status_code >= 500:
            detail = "this is a fault in owt's frontend; its log says more"
        self.finish_problem(Problem("about:blank", title, status_code, detail))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What nobody expected. Tornado's own way would show the query; HTTP errors are answers."""
        if not isinstance(value, HTTPError):
            logs.log_fault(self.request, (typ, value, tb))
