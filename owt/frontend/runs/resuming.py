"""Coming back to a run: what `Last-Event-ID` and `after` say, and where they lead.

A browser's EventSource connects again after any end of a response, with the id of the last event that it
has (the HTML standard, section 9.2.3). It must then get what follows, and must never run the code again.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from owt.errors import BadRequest
from owt.frontend.problems import Problem
from owt.frontend.runs.journal import Lost
from owt.frontend.runs.reader import Reader
from owt.frontend.runs.runs import Run, fingerprint
from owt.wire import sse
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data

OVER = "over"
"""What stands for a number in the id of the event that says that nothing can follow. Who comes back with
that is told to stop."""

_ID = re.compile(rf"([0-9a-f]{{16}})-(\d{{1,15}}|{OVER})")


class Place(NamedTuple):
    """A run's id, and the number of the last event of it that a client has (None: nothing can follow)."""

    run: str
    after: int | None


class Resumed(NamedTuple):
    """A run that can be gone on with: its reader, and the number of the last event before."""

    run: Run
    reader: Reader
    after: int


def read_id(text: str | None) -> Place | None:
    """What the header `Last-Event-ID` says, or None for an id that is not one of ours: an adaptor's own,
    of another server, or rubbish."""
    found = _ID.fullmatch(text.strip()) if text else None
    if found is None:
        return None
    return Place(found[1], None if found[2] == OVER else int(found[2]))


def read_after(text: str | None) -> int:
    """The number in `after=N`; 0, the beginning, if it is not there. Raises `BadRequest`."""
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise BadRequest("after", "must be the number N of an event's id RUN-N", text)
    return int(text)


def same_call(run: Run, call: Call) -> None:
    """Raises `BadRequest` when a request that would come back to `run` asks for another call."""
    if run.fingerprint != fingerprint(call):
        raise BadRequest(
            "Last-Event-ID", "belongs to another call", run.id, hint="Leave the header out to run this one"
        )


def resume(run: Run, after: int) -> Resumed | Literal["over", "lost"]:
    """Where a client goes on that has the run's events up to this number: `over` where nothing follows
    any more, `lost` where the journal does not hold what follows."""
    journal = run.journal
    if run.ended is not None and after >= journal.number(journal.end):
        return "over"
    try:
        place = journal.place(after)
    except Lost:
        return "lost"
    if run.ended is not None and not _event_in(run, journal.chunks[place - journal.first :]):
        return "over"
    return Resumed(run, run.reader(after), after)


def _event_in(run: Run, rest: list[Chunk]) -> bool:
    """Whether any event is left among the last chunks of a run. Of an adaptor's own stream what is printed
    is none, and neither is an end without a failure."""
    if run.failure is not None or run.journal.head is None or not sse.announced(run.journal.head.headers):
        return True
    return any(isinstance(chunk, Data) and not chunk.more for chunk in rest)


def lost(place: Place, known: bool, retention: float) -> bytes:
    """The event that says why a stream cannot go on. Its id has a browser stop when it comes back."""
    if known:
        detail = (
            f"the events after number {place.after} of run {place.run} are no longer kept "
            "(--run-journal says how much of a run is)"
        )
    else:
        detail = (
            f"run {place.run} is not known here: runs are kept for {retention:g} s after their end "
            "(--run-retention), and not beyond the server's own end"
        )
    problem = Problem("urn:owt:events-lost", "the events are lost", 410, detail, run=place.run)
    return sse.encode(problem.json(), "error", id=f"{place.run}-{OVER}")
