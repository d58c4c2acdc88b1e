"""Calls whose body streams into them: they begin before the body has ended.

    head -> access gate -> endpoint lookup -> parse -> submit -> delivery
                   body -> input of the run -> kernel

A call begins after its body if the body may have fields of owt (a form, JSON, Python code), if it is an
argument of an endpoint or a part of a key of the cache, or if all of it is here as soon as the head; see
`owt.frontend.http.calls`. All other bodies are read as fast as the adaptor takes them: while it does not, the
connection is not read, and the sender has to wait. A form with files that is too large to be held in memory
streams too, if the query or the path says what to run: it has files for `request.files`, but no fields.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import cast

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest

from owt.errors import AnswerLost, OwtError
from owt.frontend.endpoints import Match
from owt.frontend.http import gate
from owt.frontend.http.calls import CallExchange
from owt.frontend.http.connection import Connection
from owt.frontend.http.requests import UPLOAD_METHODS, ParsedRequest
from owt.frontend.runs.claims import Claim
from owt.frontend.runs.input import RunInput
from owt.frontend.runs.runs import Run
from owt.frontend.service import Service
from owt.wire.call import UNKNOWN_SIZE, Call, RequestFacts
from owt.wire.media import fits

_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_FORM = "multipart/form-data"
_WITH_FIELDS = frozenset(
    {
        "application/json",
        "application/x-www-form-urlencoded",
        _FORM,
        "application/x-python",
        "text/x-python",
    }
)


def may_stream(request: HTTPServerRequest, max_body: int) -> bool:
    """Return True if a request has a body in which there are no fields of owt, or a form of more than
    `max_body` bytes."""
    headers = request.headers
    # Most calls are decided here.
    if request.method not in _METHODS or headers.get("Content-Type") in _WITH_FIELDS:
        return False
    if (media_type := _media_type(request)) in _WITH_FIELDS:
        return media_type == _FORM and _length(request) > max_body
    if "Content-Length" in headers:
        return headers["Content-Length"] != "0"
    return "Transfer-Encoding" in headers


def _length(request: HTTPServerRequest) -> int:
    """Return the length of the body as it is sent, or `UNKNOWN_SIZE`."""
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and len(length) <= gate.MAX_LENGTH_DIGITS else UNKNOWN_SIZE


def _media_type(request: HTTPServerRequest) -> str:
    headers = request.headers
    return headers["Content-Type"].partition(";")[0].strip().lower() if "Content-Type" in headers else ""


class Phase(Enum):
    """Phase of a request whose body may stream. Each is followed by a later one only."""

    UNDECIDED = "undecided"
    """The body may be here at once."""
    BEGINNING = "beginning"
    """The endpoint is looked up, which may wait for a notebook that is loading."""
    STREAMING = "streaming"
    """The call has begun, or was refused."""
    COLLECTING = "collecting"
    """The call begins after the body."""
    REPEATED = "repeated"
    """The run has the id that the client has chosen. The body is only compared with that of its request."""


class StreamedCallExchange(CallExchange):
    """Request at a path that is not one of the server's pages, with a body that is for the adaptor alone."""

    methods = UPLOAD_METHODS

    def __init__(self, request: HTTPServerRequest, service: Service) -> None:
        super().__init__(request, service)
        # A limit applies only to what is collected.
        self.body = gate.Body(sys.maxsize)
        self._phase = Phase.UNDECIDED
        self._beginning: asyncio.Task[None] | None = None
        self._input: RunInput | None = None
        self._claim: Claim | None = None
        self._respond_to_repeated: Callable[[], None] | None = None
        # Bytes of the body, as they are sent.
        self._received = 0
        self._length = _length(request)
        self._respond: Callable[[], None] | None = None

    def on_headers(self) -> Awaitable[None] | None:
        """Begin the call in the next step of the event loop, if the body may come much later."""
        super().on_headers()
        expects = self.request.headers.get("Expect") == "100-continue"
        if not self.writer.ended and (expects or self._length == UNKNOWN_SIZE):
            self._beginning = asyncio.get_running_loop().create_task(self._begin())
            if expects:
                return self._wait_for_reader(self._beginning)
        return None

    async def _wait_for_reader(self, beginning: asyncio.Task[None]) -> None:
        """Wait until the client is to send the body: Tornado sends 100 (Continue) then."""
        self.writer.expected = True
        await beginning
        if self._input is not None:
            await self._input.wait_until_requested()
        self.writer.expected = False
        if self.writer.begun:
            self.request.headers.pop("Expect", None)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Give a part of the body to the run, which may wait, or collect it."""
        self._received += len(chunk)
        match self._phase:
            case Phase.STREAMING if self._input is not None and not self.body.compressed:
                return self._add_part(self._input, chunk)
            case Phase.COLLECTING:
                return super().data_received(chunk)
            case Phase.UNDECIDED if self._may_be_last():
                return super().data_received(chunk)
        self._beginning = self._beginning or asyncio.get_running_loop().create_task(self._begin())
        return self._forward(chunk, self._beginning)

    def _may_be_last(self) -> bool:
        """Return True if the end of the body may follow in this step of the event loop, and all of it may be
        held in memory."""
        if self.body.compressed:
            return False
        limit = self.service.settings.max_body
        return self._beginning is not None or self._received == self._length <= limit

    async def _forward(self, chunk: bytes, beginning: asyncio.Task[None]) -> None:
        """Give a part of the body to the run when the call has begun."""
        await beginning
        if self._phase is Phase.COLLECTING:
            if (collecting := super().data_received(chunk)) is not None:
                await collecting
        elif self._input is not None or self._phase is Phase.REPEATED:
            try:
                for piece in self.body.content_of(chunk):
                    if (sent := self._add_part(self._input, piece)) is not None:
                        await sent
            except zlib.error as error:
                if self._input is not None:
                    self._input.end(f"cannot be read as gzip: {error}")

    def _add_part(self, input: RunInput | None, piece: bytes) -> asyncio.Future[None] | None:
        """Give a part of the body to the run, and count it for requests that may repeat this one."""
        if self._claim is not None:
            self._claim.add(piece)
        return None if input is None else input.push(piece)

    def finish(self) -> None:
        """End the run's input, or respond to a request that has been received as a whole."""
        match self._phase:
            case Phase.UNDECIDED | Phase.COLLECTING:
                if self._beginning is not None:
                    self._beginning.cancel()
                super().finish()
            case Phase.BEGINNING:
                assert self._beginning is not None
                self._beginning.add_done_callback(lambda _: self.finish())
            case Phase.STREAMING | Phase.REPEATED:
                self.writer.request_complete = True
                complete = self.body.is_complete()
                if complete and self._claim is not None:
                    self._claim.complete()
                if self._respond_to_repeated is not None and not self.writer.ended:
                    self._respond_to_repeated()
                if self._input is not None:
                    self._input.end(None if complete else "cannot be read as gzip: it ends too early")
                respond, self._respond = self._respond, None
                if respond is not None:
                    respond()
                if self.writer.closed:
                    self.on_connection_close()

    def on_connection_close(self) -> None:
        """Stop, as the client has disconnected."""
        super().on_connection_close()
        # After the cancel, which is the failure of a run that has no other client.
        if self._input is not None:
            self._input.end("broke off, because the client has disconnected")

    async def _begin(self) -> None:
        """Begin the call, unless its body has to be collected."""
        self._phase = Phase.BEGINNING
        try:
            facts = self._facts()
            try:
                parsed = self._parse(facts)
                match = None
                if parsed.needs_endpoint:
                    match = await self.service.notebooks.match(facts.method, self._path)
                await self.service.recovery.wait_until(lambda: not self._may_repeat(parsed, match))
                streams = parsed.call.caching is None and self._has_reader(parsed, match)
            except OwtError:
                # The response to the whole request says so.
                streams = False
            if not streams:
                self._phase = Phase.COLLECTING
                problem = self.body.limit(self.service.settings.max_body, self.request.headers)
                if problem is not None:
                    self._refuse_body(problem)
                return
            self._phase = Phase.STREAMING
            if not self.disconnected:
                stream = cast(HTTP1Connection, self.request.connection).stream
                cast(Connection, stream).stream_body(self.on_connection_close)
                self._claim = parsed.claim
                if self._claim is not None and self.service.runs.get(self._claim.id) is not None:
                    self._phase = Phase.REPEATED
                    self._add_part(None, self.body.join())
                    self._respond_to_repeated = partial(self._run_repeated, self._claim, facts, parsed, match)
                else:
                    self._run(facts, parsed, match)
        except Exception:
            self._phase = Phase.STREAMING
            self.writer.fail()

    def _run_repeated(
        self, claim: Claim, facts: RequestFacts, parsed: ParsedRequest, match: Match | None
    ) -> None:
        """Respond with what the run sends that the request repeats: there is no body for a new one."""
        if self.service.runs.get(claim.id) is None:
            self._refuse(facts, None, AnswerLost(claim.id, "it was forgotten while the body came"))
        else:
            self._run(facts, parsed, match)

    def _has_reader(self, parsed: ParsedRequest, match: Match | None) -> bool:
        """Return True if the request says what to run, and that may read the body as it comes."""
        if not parsed.needs_endpoint:
            return True
        media_type = _media_type(self.request)
        if media_type == _FORM:
            return match is not None and not match.bodies
        return match is not None and not any(fits(media_type, body) for body in match.bodies)

    def _facts(self) -> RequestFacts:
        """Return the request; without its body, if that is the input of the run."""
        facts = super()._facts()
        if self._phase in (Phase.UNDECIDED, Phase.COLLECTING):
            return facts
        size, headers = self._length, facts.headers
        if self.body.compressed:
            size = UNKNOWN_SIZE
            headers = tuple(header for header in headers if header[0] != "Content-Encoding")
        return msgspec.structs.replace(facts, headers=headers, body=b"", input_size=size)

    def _follow(self, call: Call, run: Run, cached: str | None) -> None:
        """Respond with what a run sends, and give it the body."""
        if call.request.input_size and self._phase is not Phase.REPEATED:
            self._input = run.open_input()
            self._input.is_body = True
            if content := self.body.join():
                self.body.drop()
                self._add_part(self._input, content)
        super()._follow(call, run, cached)

    def _send_address(self, run: Run, call: Call) -> None:
        """Respond with the addresses of a detached run, when it has its whole body, or needs no more of it.

        A response ends the request: many clients then send no more of the body.
        """
        if self._input is None or self.writer.request_complete:
            super()._send_address(run, call)
        else:
            self._respond = partial(super()._send_address, run, call)
            run.observe(self)

    def run_ended(self, run: Run) -> None:
        """Respond, as the detached run needs no more of its body."""
        respond, self._respond = self._respond, None
        if respond is not None and not self.disconnected:
            respond()
