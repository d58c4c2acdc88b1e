"""Failures as HTTP responses: an RFC 9457 problem document, or text, as the client prefers.

A problem's `type` is `urn:owt:` and a short name: that of the `Failed` chunk (`exception`, `syntax`,
`timeout`, `cancelled`, ...), or, for an error that the frontend raised before there was a run, the
exception's class in kebab case (`bad-request`, `no-such-session`, `busy`, `kernel-died`, ...). A document
always has every member; `exception` and `traceback` may be empty, `run` and `session` null.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from http import HTTPStatus

import msgspec
from msgspec import Struct

from owt.errors import Busy, MethodNotAllowed, OwtError
from owt.wire.accept import PROBLEM, prefers_json
from owt.wire.chunk import Failed

Headers = list[tuple[str, str]]

TEXT_TYPE = "text/plain; charset=utf-8"
VARY = ("Vary", "Accept")
"""Header of each response whose form depends on the Accept header (RFC 9110, section 12.5.5)."""

_encoder = msgspec.json.Encoder()


class Problem(Struct, frozen=True):
    """Problem document (RFC 9457, section 3), with owt's extension members."""

    type: str
    title: str
    status: int
    detail: str
    exception: str = ""
    traceback: str = ""
    run: str | None = None
    session: str | None = None

    @classmethod
    def of(cls, failed: Failed, run: str | None = None, session: str | None = None) -> Problem:
        """Return the problem that a `Failed` chunk describes."""
        return cls(
            f"urn:owt:{failed.type}",
            failed.title,
            failed.status,
            failed.detail,
            failed.exception,
            failed.traceback,
            run,
            session,
        )

    def json(self) -> bytes:
        """Return one compact JSON object, without a newline."""
        return _encoder.encode(self)

    def text(self) -> bytes:
        """Return the traceback, or else title and detail, with one newline at the end."""
        text = self.traceback or ": ".join(part for part in (self.title, self.detail) if part)
        return (text.rstrip("\n") + "\n").encode()

    def response(self, accept: str, *, json_by_default: bool = False) -> WholeResponse:
        """Return the response to a client that sent this Accept header.

        A client that prefers neither JSON nor text gets JSON if `json_by_default`, else text.
        """
        if prefers_json(accept, by_default=json_by_default):
            return WholeResponse(self.status, [("Content-Type", PROBLEM), VARY], self.json() + b"\n")
        return WholeResponse(self.status, [("Content-Type", TEXT_TYPE), VARY], self.text())


class WholeResponse(Struct, frozen=True):
    """Complete HTTP response."""

    status: int
    headers: Headers
    body: bytes

    def encode(self) -> bytes:
        """Return the bytes of the response, for a connection that is closed after it."""
        reason = HTTPStatus(self.status).phrase
        headers = [
            ("Date", formatdate(usegmt=True)),
            *self.headers,
            ("Content-Length", str(len(self.body))),
            ("Connection", "close"),
        ]
        lines = [f"HTTP/1.1 {self.status} {reason}", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def failed(error: OwtError) -> Failed:
    """Return an error of the frontend as a run's failure."""
    return Failed(error.status, _kebab(type(error).__name__), error.title, str(error))


def problem_response(
    error: OwtError,
    accept: str = "*/*",
    session: str | None = None,
    run: str | None = None,
    *,
    json_by_default: bool = False,
) -> WholeResponse:
    """Return the response to an error before the start of a run, which is recorded under the id `run`."""
    response = Problem.of(failed(error), run, session).response(accept, json_by_default=json_by_default)
    headers = response.headers
    if run is not None:
        headers.append(("Owt-Run", run))
    if session is not None:
        headers.append(("Owt-Session", session))
    if isinstance(error, Busy):
        headers.append(("Retry-After", str(error.retry_after)))
    if isinstance(error, MethodNotAllowed):
        headers.append(("Allow", error.allow))
    return response


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
