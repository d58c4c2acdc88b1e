"""A call's way in and out: an HTTP request to a run, and the run's chunks to an HTTP response."""

from __future__ import annotations

import asyncio
from functools import partial
from urllib.parse import unquote

import msgspec

from owt.errors import EndpointGone, MethodNotAllowed, OwtError
from owt.frontend import logs, pages, requests
from owt.frontend.answering import AnsweringHandler
from owt.frontend.events import Events
from owt.frontend.responses import Plain, own_headers
from owt.frontend.resuming import read_id, same_call
from owt.frontend.runs import Run
from owt.wire.call import Call, RequestFacts

LARGE = 1024 * 1024
"""Bytes of a body that take so long to parse that the event loop must not wait for it."""


class CallHandler(AnsweringHandler):
    """Any path that is not the server's own: runs an adaptor."""

    async def prepare(self) -> None:
        """Also turn away a method that only endpoints have, where there is none, before the body is read."""
        await super().prepare()
        if self._finished or self.request.method in requests.METHODS:
            return
        method, path = self.request.method or "", self.request.path[len(self.base) :]
        try:
            if self.service.endpoints.find(method, path) is None:
                raise MethodNotAllowed(method, path, requests.METHODS)
        except (MethodNotAllowed, EndpointGone) as error:
            self.finish_error(error)

    async def get(self) -> None:
        """Run what the query says; a plain GET of `/` gets the page that explains owt."""
        facts = self._facts()
        if requests.is_blank(facts) and self.service.endpoints.find("GET", "/") is None:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(pages.welcome(f"{facts.scheme}://{facts.host}", facts.root))
            return
        await self._call(facts)

    async def post(self) -> None:
        """Run what the body and the query say."""
        if self._finished:
            return
        await self._call(self._facts())

    # Endpoints answer these; what brings code does not come so.
    put = patch = delete = post

    def _facts(self) -> RequestFacts:
        request = self.request
        path = request.path[len(self.base) :] or "/"
        headers = request.headers.get_all()
        if self.service.doorkeeper.guarded:
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

    async def _call(self, facts: RequestFacts) -> None:
        if not self.breakable():
            return
        session = None
        try:
            path = self.request.path[len(self.base) :]
            find = partial(self.service.endpoints.find, facts.method, path)
            nesting = self.service.settings.max_nesting
            parse = partial(requests.parse, facts, max_nesting=nesting, find=find)
            if len(facts.body) > LARGE:
                call = await asyncio.to_thread(parse)
                if self.gone:
                    return
            else:
                call = parse()
            session = call.session
            if call.sse and (place := read_id(self.request.headers.get("Last-Event-ID"))) is not None:
                earlier = self.service.known(place.run, self.user)
                if earlier is not None:
                    same_call(earlier, call)
                await self.resume(earlier, place)
                return
            run, cached = self.service.submit(call, self.user)
            logs.log_call(run.id, call)
        except OwtError as error:
            refused = self.service.refuse(facts, session, error, self.user)
            self.finish_error(error, session, refused.id)
            return
        if call.detach:
            self._detach(run, call)
            return
        answer = Events(run.id, call.session) if call.sse else Plain(call.accept, run.id, call.session)
        if cached is not None:
            answer.headers.append(("Owt-Cache", cached))
        await self.answer(run, run.reader(), answer)

    def _detach(self, run: Run, call: Call) -> None:
        """Say where the run can be found (RFC 9110, section 15.3.3)."""
        where = f"{self.base}/_owt/runs/{run.id}"
        self.set_status(202)
        self.add_headers(own_headers(run.id, call.session))
        self.set_header("Location", where)
        self.set_header("Content-Type", "application/json")
        addresses = {"run": run.id, "url": where, "events": f"{where}/events", "answer": f"{where}/answer"}
        self.finish(msgspec.json.encode(addresses) + b"\n")
