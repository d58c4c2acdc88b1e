"""Following a run by its id, before or after its end: /_owt/runs/ID/events and /_owt/runs/ID/answer."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs

from tornado.httputil import HTTPServerRequest
from tornado.routing import Router

from owt.errors import AnswerLost, BadRequest, MethodNotAllowed, OwtError
from owt.frontend.http.events import Events
from owt.frontend.http.exchange import Exchange
from owt.frontend.http.responses import Plain
from owt.frontend.problems import Problem, WholeResponse
from owt.frontend.runs.resuming import EventId, parse_after, parse_event_id
from owt.frontend.runs.runs import Run
from owt.frontend.service import Service
from owt.wire.journal import ChunksLost


class RunExchange(Exchange):
    """GET request for what a run has sent."""

    _task: asyncio.Task[None] | None = None

    def __init__(self, request: HTTPServerRequest, service: Service, id: str) -> None:
        super().__init__(request, service)
        self._id = id

    def on_headers(self) -> None:
        """Refuse other methods than GET."""
        if self.request.method not in ("GET", "HEAD"):
            self.refuse(MethodNotAllowed(self.request.method or "", self.request.path, ("GET",)))

    def on_body(self) -> None:
        """Respond, now or when it is known whether there is such a run."""
        if self.service.may_appear(self._id):
            self._task = asyncio.get_running_loop().create_task(self._wait_and_respond())
        else:
            self._respond()

    async def _wait_and_respond(self) -> None:
        try:
            await self.service.wait_for(self._id)
            if not self.disconnected:
                self._respond()
        except OwtError as error:
            self.writer.send_error(error)
        except Exception:
            self.writer.fail()

    def _respond(self) -> None:
        """Respond, if the client can see an aborted response."""
        run = self.service.known(self._id, self.user)
        if self.request.method == "HEAD" and run is not None:
            # A reader that leaves could cancel the run.
            self.writer.send(WholeResponse(200, self.renderer(run).headers, b""))
        elif self.can_show_aborts():
            self.follow(run)

    def renderer(self, run: Run) -> Plain | Events:
        """Return the renderer of what the run sends."""
        raise NotImplementedError

    def follow(self, run: Run | None) -> None:
        """Respond with what the run has sent and will send."""
        raise NotImplementedError

    def _send_unknown(self) -> None:
        self.writer.send_problem(no_such_run(self._id, self.service.settings.run_retention))


class EventsExchange(RunExchange):
    """/_owt/runs/ID/events"""

    def renderer(self, run: Run) -> Events:
        """Return the renderer of the run's events."""
        return self.events(run)

    def follow(self, run: Run | None) -> None:
        """Respond with the run's events, from the one after `after=N` or after the `Last-Event-ID`, which a
        browser sends when it reconnects to this address."""
        last = parse_event_id(self.request.headers.get("Last-Event-ID"))
        if last is None or last.run != self._id:
            try:
                after = parse_qs(self.request.query, keep_blank_values=True).get("after", [""])[-1]
                last = EventId(self._id, parse_after(after))
            except BadRequest as error:
                self.writer.send_error(error)
                return
            if run is None:
                self._send_unknown()
                return
        self.resume(run, last)


class AnswerExchange(RunExchange):
    """/_owt/runs/ID/answer"""

    def renderer(self, run: Run) -> Plain:
        """Return the renderer of the run's plain answer."""
        return Plain(self.request.headers.get("Accept", "*/*"), run.id, run.session)

    def follow(self, run: Run | None) -> None:
        """Respond with the plain answer of the run, which its caller gets or would have got."""
        if run is None:
            self._send_unknown()
            return
        try:
            reader = run.follow()
        except ChunksLost:
            lost = AnswerLost(run.id, "--run-journal limits what is kept")
            self.writer.send_error(lost, run.session, run.id)
            return
        self.deliver(run, reader, self.renderer(run))


class RunRouter(Router):
    """Route to an exchange that follows the run whose id is in the path."""

    def __init__(self, service: Service, exchange: type[RunExchange]) -> None:
        self._service = service
        self._exchange = exchange

    def find_handler(
        self, request: HTTPServerRequest, path_args: tuple[bytes, ...] = (), **_: Any
    ) -> RunExchange:
        """Return the exchange of this request."""
        return self._exchange(request, self._service, path_args[0].decode("utf-8", "replace"))


def no_such_run(id: str, retention: float) -> Problem:
    """Return the problem of a request for a run that is unknown, or another user's."""
    return Problem(
        "urn:owt:no-such-run", "no such run", 404,
        f"there is no run {id[:40]!r}; ended runs are kept for {retention:g} s (--run-retention)",
    )
