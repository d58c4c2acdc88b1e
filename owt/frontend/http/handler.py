"""Base class of the server's own pages, which are Tornado handlers."""

from __future__ import annotations

from asyncio import Future
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from tornado.web import HTTPError, RequestHandler, stream_request_body

from owt.errors import BadRequest, OwtError
from owt.frontend import logs
from owt.frontend.access.proxies import apply_forwarded
from owt.frontend.http import gate
from owt.frontend.http.fields import cut
from owt.frontend.http.gate import problem_answer
from owt.frontend.problems import Headers, Problem, WholeResponse, problem_response
from owt.frontend.service import Service


@stream_request_body
class PageHandler(RequestHandler):
    """Handler of a page under /_owt/: access gate, body, and errors as problem documents.

    It receives the body in parts, so that the access gate and the body's limit apply before the body has been
    read, and Tornado does not parse forms.
    """

    service: Service
    access_headers: Headers = []  # noqa: RUF012 (never changed in place)

    def initialize(self, service: Service) -> None:
        """`user` is the name of the authenticated user, or None; `answered` is True after the response."""
        self.service = service
        self.user: str | None = None
        self.answered = False
        # True once the body has been received, or while there may be none.
        self._complete = False
        self._content = gate.Body(service.settings.max_body)
        apply_forwarded(self.request, service.settings)
        if self.base:
            # A client that knows only a longer path needs it to find the pages under /_owt/.
            self._add_access_headers([("Owt-Base", self.base)])

    @property
    def body(self) -> bytes:
        """Return the request's body. Raises `BadRequest` for a compressed one that is cut off."""
        if (problem := self._content.complete(self.request.headers)) is not None:
            raise BadRequest("body", problem.detail)
        return self._content.join()

    @property
    def base(self) -> str:
        """Return the path of the whole server: "" or such as `/owt`."""
        return self.service.settings.base_url

    def query_fields(self, *names: str) -> dict[str, str]:
        """Return the fields of the query, of which these are known; the last of equal names counts.

        Raises `BadRequest` for another name.
        """
        fields = dict(parse_qsl(self.request.query, keep_blank_values=True))
        for name in fields:
            if name not in names:
                known = f"This page has {' and '.join(names)}"
                raise BadRequest(cut(name), "is no field of this page", hint=known)
        return fields

    async def data_received(self, chunk: bytes) -> None:
        """Keep a part of the body."""
        if self.answered:
            return
        content = self._content
        problem = await content.add_compressed(chunk) if content.compressed else content.add(chunk)
        if problem is not None:
            self._complete = False
            self.finish_problem(problem)

    def set_default_headers(self) -> None:
        """Begin a response with the headers of the access gate. Tornado calls this again when an error
        replaces a response."""
        self.clear_header("Server")
        self.clear_header("Content-Type")
        for name, value in self.access_headers:
            self.set_header(name, value)

    def compute_etag(self) -> str | None:
        """Return None: the pages change all the time."""
        return None

    async def prepare(self) -> None:
        """Pass the access gate, then check the method and the body's length. Tornado calls no method if a
        check has responded."""
        access = gate.check(self.service, self.request)
        if not isinstance(access, gate.Access):
            access = await access
        self.user = access.user
        self._add_access_headers(access.headers)
        if access.refusal is not None:
            self.finish_answer(access.refusal)
            return
        if not self.supports(self.request.method or ""):
            raise HTTPError(405)
        if (problem := self._content.check_head(self.request.headers)) is not None:
            self.finish_problem(problem)
            return
        self._complete = True

    def _add_access_headers(self, headers: Headers) -> None:
        self.access_headers = [*self.access_headers, *headers]
        for name, value in headers:
            self.set_header(name, value)

    def supports(self, method: str) -> bool:
        """Return True if this page defines the method; HEAD beside GET."""
        name = "get" if method == "HEAD" else method.lower()
        return getattr(type(self), name, None) is not RequestHandler.options

    def head(self, *args: Any, **kwargs: Any) -> Any:
        """Do what GET does; Tornado leaves the body out."""
        return self.get(*args, **kwargs)

    def options(self, *_: Any, **__: Any) -> None:
        """Send the methods of this page (RFC 9110, section 9.3.7)."""
        self.set_status(204)
        self._set_allow()
        self.finish()

    def _set_allow(self) -> None:
        self.set_header("Allow", ", ".join(filter(self.supports, self.SUPPORTED_METHODS)))

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """End the response."""
        self.answered = True
        return super().finish(chunk)

    def finish_problem(self, problem: Problem) -> None:
        """Respond with a problem."""
        self.finish_answer(problem_answer(problem, self.request))

    def finish_answer(self, answer: WholeResponse) -> None:
        """Respond with a refusal of the frontend, and count it."""
        self.set_status(answer.status)
        self.service.counters.refused(answer.status)
        for name, value in answer.headers:
            self.add_header(name, value)
        if not self._complete:
            # Tornado closes the connection rather than read the rest of the request.
            self.set_header("Connection", "close")
        self.finish(answer.body or None)

    def finish_json(self, document: object, status: int = 200) -> None:
        """Respond with a JSON document."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(msgspec.json.encode(document) + b"\n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Respond to an `OwtError` with its own status and message, and to Tornado's errors with a problem
        that reveals nothing of the server."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, OwtError):
            self.finish_answer(problem_response(error, self.request.headers.get("Accept", "*/*")))
            return
        detail = (error.log_message or "") if isinstance(error, HTTPError) else ""
        if status_code == 405:
            detail = f"{self.request.method} is not supported at {self.request.path}"
            # A 405 must name the supported methods (RFC 9110, section 15.5.6).
            self._set_allow()
        elif status_code >= 500:
            detail = "this is a fault in owt's frontend; its log says more"
        self.finish_problem(Problem("about:blank", responses.get(status_code, "error"), status_code, detail))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log an unexpected exception without the query, which Tornado would show. Other errors are
        responses."""
        if not isinstance(value, HTTPError | OwtError):
            logs.log_fault(self.request, (typ, value, tb))
