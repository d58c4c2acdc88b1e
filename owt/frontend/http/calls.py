"""Calls: from an HTTP request to a run.

    head -> access gate -> body -> endpoint lookup -> parse -> submit -> delivery
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from urllib.parse import unquote

import msgspec
from tornado.httputil import HTTPServerRequest

from owt.errors import MethodNotAllowed, NoSuchEndpoint, OwtError
from owt.frontend import logs
from owt.frontend.endpoints import Match
from owt.frontend.http import pages, requests
from owt.frontend.http.delivery import Unshared
from owt.frontend.http.exchange import Exchange
from owt.frontend.http.requests import ParsedRequest
from owt.frontend.http.responses import Plain, own_headers
from owt.frontend.notebooks.notebooks import Lookup
from owt.frontend.problems import WholeResponse
from owt.frontend.runs.claims import Claim
from owt.frontend.runs.resuming import check_same_call, check_same_run, parse_event_id
from owt.frontend.runs.runs import Run
from owt.frontend.service import Service
from owt.wire.call import Call, RequestFacts

LARGE = 2 * 1024 * 1024
"""Size of a body, in bytes, from which it is parsed in a thread, so that the event loop does not wait."""

CREDENTIALS = ("Authorization", "Sec-Websocket-Protocol")
"""Headers that may have credentials, as Tornado spells them."""


def request_facts(
    request: HTTPServerRequest, service: Service, user: str | None, body: bytes = b""
) -> RequestFacts:
    """Return a request as its call has it. `user` is the name of the authenticated user."""
    root = service.settings.base_url
    path = request.path[len(root) :] or "/"
    headers = request.headers.get_all()
    if service.authenticator.guarded:
        # Code in a kernel must not see the credentials of this server.
        headers = [(name, value) for name, value in headers if name not in CREDENTIALS]
    return RequestFacts(
        method=request.method or "GET",
        path=unquote(path) if "%" in path else path,
        query=request.query,
        headers=tuple(headers),
        body=body,
        host=request.host,
        remote=request.remote_ip or "",
        scheme=request.protocol,
        user=user,
        root=root,
    )


class CallExchange(Exchange):
    """Request at a path that is not one of the server's pages: it runs an adaptor.

    A call that nothing delays is read in one step of the event loop and answered in another, without a task.
    """

    methods: tuple[str, ...] = requests.METHODS
    _task: asyncio.Task[None] | None = None

    def on_headers(self) -> Awaitable[None] | None:
        """Refuse a method that neither calls nor the endpoint at the path support."""
        if self.request.method not in (*self.methods, "HEAD", "OPTIONS"):
            self._check_method()
        return None

    def _check_method(self) -> None:
        method = self.request.method or ""
        try:
            if self.service.notebooks.match_now(method, self._path) is None:
                raise MethodNotAllowed(method, self._path, self.methods)
        except OwtError as error:
            self.refuse(error)

    def on_body(self) -> None:
        """Run the call, now or in a task."""
        if self.request.method == "OPTIONS":
            self._check_method()
            return
        if self.body.size > LARGE:
            self._run_later()
            return
        facts = self._facts()
        try:
            parsed = self._parse(facts)
            match = self._match_now(parsed)
        except OwtError as error:
            self._refuse(facts, None, error)
            return
        if match is Lookup.PENDING or self._may_repeat(parsed, match):
            self._run_later()
        else:
            self._run(facts, parsed, match)

    def _run_later(self) -> None:
        # The connection holds this exchange, and with it the task, until the response has ended.
        self._task = asyncio.get_running_loop().create_task(self._wait_and_run())

    async def _wait_and_run(self) -> None:
        """Run a call whose body is large, or that depends on a notebook that is loading, or on a kernel of an
        earlier frontend."""
        try:
            facts = self._facts()
            try:
                parsed = await asyncio.to_thread(self._parse, facts)
                match = None
                if parsed.needs_endpoint:
                    match = await self.service.notebooks.match(facts.method, self._path)
                await self.service.recovery.wait_until(lambda: not self._may_repeat(parsed, match))
            except OwtError as error:
                self._refuse(facts, None, error)
                return
            if not self.disconnected:
                self._run(facts, parsed, match)
        except Exception:
            self.writer.fail()

    @property
    def _path(self) -> str:
        return self.request.path[len(self.base) :]

    def _facts(self) -> RequestFacts:
        return request_facts(self.request, self.service, self.user, self.body.join())

    def _parse(self, facts: RequestFacts) -> ParsedRequest:
        return requests.parse_fields(facts, max_nesting=self.service.settings.max_nesting)

    def _match_now(self, parsed: ParsedRequest) -> Match | Lookup | None:
        if not parsed.needs_endpoint:
            return None
        return self.service.notebooks.match_now(self.request.method or "", self._path)

    def _may_repeat(self, parsed: ParsedRequest, match: Match | Lookup | None) -> bool:
        """Return True if a kernel of an earlier frontend may yet report the run that the request names."""
        recovery = self.service.recovery
        if not recovery.is_pending:
            return False
        last = parse_event_id(self.request.headers.get("Last-Event-ID"))
        if last is not None and self.service.may_appear(last.run):
            return True
        session = match.session if isinstance(match, Match) else parsed.call.session
        return parsed.claim is not None and recovery.awaits(session)

    def _run(self, facts: RequestFacts, parsed: ParsedRequest, match: Match | None) -> None:
        """Submit the call, or resume the run that its client was disconnected from, and respond."""
        if match is None and requests.is_view(parsed):
            if facts.path == "/":
                page = pages.welcome(f"{facts.scheme}://{facts.host}", facts.root).encode()
                self.writer.send(WholeResponse(200, [("Content-Type", "text/html; charset=utf-8")], page))
                return
            if facts.path == "/favicon.ico":
                self.writer.send(pages.icon())
                return
        if not self.can_show_aborts():
            return
        session = None
        try:
            call = requests.parse_call(parsed, match, self.methods)
            session = call.session
            if facts.method == "HEAD":
                if match is None or not match.safe:
                    self.writer.send(WholeResponse(200, [("Owt-Session", session)] if session else [], b""))
                    return
                call = msgspec.structs.replace(call, request=msgspec.structs.replace(facts, method="GET"))
            claim = parsed.claim
            if (call.sse or call.sse_streams) and self._resume(call, claim):
                return
            # The client of a detached run follows it later, by its id alone.
            run, cached = self.service.submit(call, self.user, join=not call.detach, claim=claim)
        except OwtError as error:
            self._refuse(facts, session, error)
            return
        if run.record is None or run.record.recorded is None or run.record.recorded.done():
            self._follow(call, run, cached)
        else:
            # No client may know a run that would be lost.
            run.record.recorded.add_done_callback(lambda _: self._follow_later(call, run, cached))

    def _follow_later(self, call: Call, run: Run, cached: str | None) -> None:
        """Respond with what a run sends, unless the client has disconnected meanwhile."""
        try:
            if self.disconnected:
                run.follow().close()
            else:
                self._follow(call, run, cached)
        except Exception:
            self.writer.fail()

    def _resume(self, call: Call, claim: Claim | None) -> bool:
        """Respond with the events that follow the last one that the client has, if it names one.

        Returns False for an id that this server cannot have made. Raises `BadRequest` if the event belongs
        to another call.
        """
        last = parse_event_id(self.request.headers.get("Last-Event-ID"))
        if last is None:
            return False
        if claim is not None:
            check_same_run(claim, last)
            self.resume(self.service.runs.claimed(claim, self.user), last)
            return True
        known = self.service.known(last.run, self.user)
        if known is not None:
            check_same_call(known, call)
        elif not last.is_generated:
            return False
        self.resume(known, last)
        return True

    def _follow(self, call: Call, run: Run, cached: str | None) -> None:
        """Respond with what a run sends, or with its address."""
        logs.log_call(run.id, call)
        if call.detach:
            self._send_address(run, call)
            return
        in_cache = [] if cached is None else [("Owt-Cache", cached)]
        events = None
        if call.sse or call.sse_streams:
            events = self.events(run)
            events.headers += in_cache
            if call.sse:
                self.deliver(run, run.follow(), events)
                return
        if run.claim is not None:
            self.writer.repeatable()
        plain = Plain(call.accept, run.id, call.session, json_by_default=call.endpoint is not None)
        plain.headers += in_cache
        unshared = None
        if cached == "joined":
            # Events are joined by the same client only, and show no headers of the adaptor.
            may_share = self.service.cache.may_share(run, call)
            unshared = Unshared(may_share, partial(self._run_alone, call, run))
        self.deliver(run, run.follow(), plain, unshared, events)

    def _run_alone(self, call: Call, joined: Run) -> None:
        """Run a call for itself that had joined a run whose answer is for its own client alone."""
        joined.shared_by -= 1
        try:
            run, cached = self.service.submit(call, self.user, join=False)
        except OwtError as error:
            self._refuse(call.request, call.session, error)
            return
        self._follow(call, run, cached)

    def _refuse(self, facts: RequestFacts, session: str | None, error: OwtError) -> None:
        """Respond with an error, and record it as a run that failed, unless it was no call."""
        self.writer.json_by_default = self.at_endpoint()
        if facts.method == "HEAD" or isinstance(error, NoSuchEndpoint):
            self.writer.send_error(error, session)
            return
        run = self.service.refuse(facts, session, error, self.user)
        self.writer.send_error(error, session, run.id)

    def at_endpoint(self) -> bool:
        """Return True if the path is that of an endpoint, whatever its methods and its state."""
        try:
            match = self.service.notebooks.match_now(self.request.method or "", self._path)
        except OwtError:
            return True
        return isinstance(match, Match)

    def _send_address(self, run: Run, call: Call) -> None:
        """Respond with the addresses of a detached run (RFC 9110, section 15.3.3)."""
        url = f"{self.base}/_owt/runs/{run.id}"
        addresses = {"run": run.id, "url": url, "events": f"{url}/events", "answer": f"{url}/answer"}
        headers = [("Location", url), ("Content-Type", "application/json")]
        headers += own_headers(run.id, call.session)
        self.writer.send(WholeResponse(202, headers, msgspec.json.encode(addresses) + b"\n"))
