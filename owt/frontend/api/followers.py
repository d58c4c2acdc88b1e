"""Following a run by its id, while it goes on or after its end: /_owt/runs/ID/events and /answer."""

from __future__ import annotations

from owt.errors import BadRequest
from owt.frontend.http.answering import AnsweringHandler
from owt.frontend.http.responses import Plain
from owt.frontend.problems import Problem
from owt.frontend.runs.journal import ChunksLost
from owt.frontend.runs.resuming import EventId, parse_after, parse_event_id


class EventsHandler(AnsweringHandler):
    """/_owt/runs/ID/events"""

    async def get(self, id: str) -> None:
        """The run's events, from the one after `after=N` or after the `Last-Event-ID`, which a browser
        sends that comes back to this very address."""
        if not self.breakable():
            return
        run = self.service.known(id, self.user)
        place = parse_event_id(self.request.headers.get("Last-Event-ID"))
        if place is None or place.run != id:
            try:
                place = EventId(id, parse_after(self.get_query_argument("after", None)))
            except BadRequest as error:
                self.finish_error(error)
                return
            if run is None:
                self.finish_problem(no_such_run(id, self.service.settings.run_retention))
                return
        await self.resume(run, place)


class AnswerHandler(AnsweringHandler):
    """/_owt/runs/ID/answer"""

    async def get(self, id: str) -> None:
        """The answer that the run's caller gets, or would have got; waits for the run's end."""
        if not self.breakable():
            return
        run = self.service.known(id, self.user)
        if run is None:
            self.finish_problem(no_such_run(id, self.service.settings.run_retention))
            return
        try:
            reader = run.follow()
        except ChunksLost:
            self.finish_problem(
                Problem(
                    "urn:owt:answer-lost", "the answer is lost", 410,
                    f"the beginning of run {id} is no longer kept (--run-journal says how much of a run is)",
                    run=id,
                )
            )
            return
        await self.answer(run, reader, Plain(self.request.headers.get("Accept", "*/*"), run.id, run.session))


def no_such_run(id: str, retention: float) -> Problem:
    """What a client is told that asks for a run which is not known, or is another user's."""
    return Problem(
        "urn:owt:no-such-run", "no such run", 404,
        f"there is no run {id[:40]!r}; ended runs are kept for {retention:g} s (--run-retention)",
    )
