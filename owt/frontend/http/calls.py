"""A call's way in and out: an HTTP request to a run, and the run's chunks to an HTTP response."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from urllib.parse import unquote

import msgspec

from owt.errors import MethodNotAllowed, OwtError
from owt.frontend import logs
from owt.frontend.endpoints import Match
from owt.frontend.http import pages, requests
from owt.frontend.http.answering import AnsweringHandler
from owt.frontend.http.events import Events
from owt.frontend.http.requests import CallFields
from owt.frontend.http.responses import Plain, own_headers
from owt.frontend.notebooks.notebooks import Lookup
from owt.frontend.runs.resuming import check_same_call, parse_event_id
from owt.frontend.runs.runs import Reader, Run
from owt.wire.call import Call, RequestFacts

LARGE = 1024 * 1024
"""Bytes of a body that take so long to parse that the event loop must not wait for it."""


class CallHandler(AnsweringHandler):
    """Any path that is not the server's own: runs an adaptor. Driven by `CallDelegate`."""

    go_on: Callable[[Awaitable[None]], None]
    """Has a task await something; set by who drives this."""

    def answers(self, method: str) -> bool:
        """It depends on the path, which `_look_at_the_head` looks at."""
        return True

    def _look_at_the_head(self) -> None:
        """Also turn away a method that neither calls nor an endpoint here have, before the body is read."""
        super()._look_at_the_head()
        method = self.request.method or ""
        if self._finished or method in requests.METHODS:
            return
        try:
            if self.service.notebooks.match_now(method, self._endpoint_path) is None:
                raise MethodNotAllowed(method, self._endpoint_path, requests.METHODS)
        except OwtError as error:
            self.finish_error(error)

    @property
    def _endpoint_path(self) -> str:
        return self.request.path[len(self.base) :]

    def _find(self, method: str) -> Match | Lookup | None:
        """Return the endpoint at the request's path."""
        return self.service.notebooks.match_now(method, self._endpoint_path)

    def enter(self) -> Awaitable[None] | None:
        """The head of the request is here: see who comes in. There may be something to wait for."""
        return self._guarded(self.prepare)

    def take(self) -> Awaitable[None] | None:
        """All of the request is here: begin the call. There may be something to wait for."""
        return None if self._finished else self._guarded(self._take)

    def _guarded(self, step: Callable[[], Awaitable[None] | None]) -> Awaitable[None] | None:
        """Take a step, and answer the errors that nobody expected, in what follows of it too."""
        try:
            waiting = step()
        except Exception as error:
            self._handle_request_exception(error)
            return None
        return None if waiting is None else self._guard(waiting)

    async def _guard(self, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except Exception as error:
            self._handle_request_exception(error)

    def _take(self) -> Awaitable[None] | None:
        """Begin the call; a plain GET of `/` gets the page that explains owt."""
        facts = self._facts()
        parse = partial(requests.parse_fields, facts, max_nesting=self.service.settings.max_nesting)
        if len(facts.body) > LARGE:
            return self._call_large(facts, parse)
        return self._call(facts, parse)

    def _facts(self) -> RequestFacts:
        request = self.request
        path = request.path[len(self.base) :] or "/"
        headers = request.headers.get_all()
        if self.service.authenticator.guarded:
            # This header is for the server: code in a kernel is not to see passwords.
            headers = [(name, value) for name, value in headers if name != "Authorization"]
        return RequestFacts(
            method=request.method or "GET",
            path=unquote(path) if "%" in path else path,
            query=request.query,
            headers=tuple(headers),
            body=self.body,
            host=request.host,
            remote=request.remote_ip or "",
            scheme=request.protocol,
            user=self.user,
            root=self.base,
        )

    async def _call_large(self, facts: RequestFacts, parse: Callable[[], CallFields]) -> None:
        parsing = asyncio.ensure_future(asyncio.to_thread(parse))
        await asyncio.wait([parsing])
        if not self.gone and (waiting := self._call(facts, parsing.result)) is not None:
            await waiting

    async def _call_later(self, facts: RequestFacts, fields: CallFields) -> None:
        # The next look raises the same error.
        with suppress(OwtError):
            await self.service.notebooks.match(facts.method, self._endpoint_path)
        if not self.gone and (waiting := self._call(facts, lambda: fields)) is not None:
            await waiting

    def _call(self, facts: RequestFacts, parse: Callable[[], CallFields]) -> Awaitable[None] | None:
        session = None
        try:
            fields = parse()
            match = self._find(facts.method) if fields.needs_endpoint else None
            if match is Lookup.PENDING:
                return self._call_later(facts, fields)
            if match is None and requests.is_page_view(facts, fields):
                self.set_header("Content-Type", "text/html; charset=utf-8")
                self.finish(pages.welcome(f"{facts.scheme}://{facts.host}", facts.root))
                return None
            if not self.breakable():
                return None
            call = requests.parse_call(facts, fields, match)
            session = call.session
            if call.sse and (place := parse_event_id(self.request.headers.get("Last-Event-ID"))) is not None:
                earlier = self.service.known(place.run, self.user)
                if earlier is not None:
                    check_same_call(earlier, call)
                return self.resume(earlier, place)
            run, cached = self.service.submit(call, self.user)
            logs.log_call(run.id, call)
        except OwtError as error:
            refused = self.service.refuse(facts, session, error, self.user)
            self.finish_error(error, session, refused.id)
            return None
        if call.detach:
            self._detach(run, call)
            return None
        reader = run.follow()
        if call.sse:
            events = Events(run.id, call.session)
            self._mark(events, cached)
            return self.answer(run, reader, events)
        plain = Plain(call.accept, run.id, call.session)
        self._mark(plain, cached)
        # Nothing is to be done for it before there is something to send: most answers need no task.
        self._reader = reader
        reader.notify(lambda: self._answer(run, reader, plain))
        return None

    def _mark(self, answer: Plain | Events, cached: str | None) -> None:
        if cached is not None:
            answer.headers.append(("Owt-Cache", cached))

    def _answer(self, run: Run, reader: Reader, answer: Plain) -> None:
        if not self.gone:
            waiting = self._guarded(lambda: self.answer_whole(run, reader, answer))
            if waiting is not None:
                self.go_on(waiting)

    def _detach(self, run: Run, call: Call) -> None:
        """Say where the run can be found (RFC 9110, section 15.3.3)."""
        where = f"{self.base}/_owt/runs/{run.id}"
        self.set_status(202)
        self.add_headers(own_headers(run.id, call.session))
        self.set_header("Location", where)
        self.set_header("Content-Type", "application/json")
        addresses = {"run": run.id, "url": where, "events": f"{where}/events", "answer": f"{where}/answer"}
        self.finish(msgspec.json.encode(addresses) + b"\n")
