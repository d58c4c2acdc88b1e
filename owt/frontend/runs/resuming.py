"""Resuming a run: the meaning of `Last-Event-ID` and `after`.

A browser's EventSource reconnects after any end of a response, with the id of the last event that it has (the
HTML standard, section 9.2.3). It must then get the events that follow, and must never run the code again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from owt.errors import BadRequest
from owt.frontend.problems import Problem
from owt.frontend.runs.claims import Claim
from owt.frontend.runs.runs import Reader, Run
from owt.wire import sse
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Prompt
from owt.wire.journal import ChunksLost
from owt.wire.names import RUN_ID

OVER = "over"
"""Event number in an id that marks the end of a run. A client that reconnects with it gets 204."""

_ID = re.compile(rf"({RUN_ID})-(\d{{1,15}}|{OVER})")
_GENERATED = re.compile(r"[0-9a-f]{16}")


class EventId(NamedTuple):
    """Id of an event: its run's id, and its number (None: it marks the end)."""

    run: str
    number: int | None

    @property
    def is_generated(self) -> bool:
        """Return True if the run's id is one that the server may have generated."""
        return _GENERATED.fullmatch(self.run) is not None


class Resumed(NamedTuple):
    """A run that a client resumes, its new reader, and the number of the last event that the client has."""

    run: Run
    reader: Reader
    after: int


def parse_event_id(text: str | None) -> EventId | None:
    """Return the id that the header `Last-Event-ID` holds, or None if this server cannot have made it."""
    match = _ID.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    return EventId(match[1], None if match[2] == OVER else int(match[2]))


def parse_after(text: str | None) -> int:
    """Return the number in `after=N`; 0, the beginning, if it is missing. Raises `BadRequest`."""
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise BadRequest("after", "must be the number N of an event's id RUN-N", text)
    return int(text)


def check_same_call(run: Run, call: Call) -> None:
    """Raise `BadRequest` if a request that would resume `run` is for another call."""
    if run.fingerprint != call.fingerprint():
        raise BadRequest(
            "Last-Event-ID", "belongs to another call", run.id, hint="Leave the header out to run this one"
        )


def check_same_run(claim: Claim, last: EventId) -> None:
    """Raise `BadRequest` if a request names one run by `Owt-Run` and another by its last event."""
    if last.run != claim.id:
        raise BadRequest("Last-Event-ID", f"belongs to another run than Owt-Run, {claim.id}", last.run)


def is_stream(chunks: Iterable[Chunk]) -> bool:
    """Return True if the answer that begins in these chunks is a stream, or the adaptor asks."""
    first = next((chunk for chunk in chunks if isinstance(chunk, Data | Prompt)), None)
    return isinstance(first, Prompt) or (first is not None and not first.result)


def expect_reader(run: Run) -> None:
    """Cancel a run of an earlier frontend if it needs a client and none comes back in time."""
    if run.call.sse_streams and (is_stream(run.journal.chunks) or not run.journal.complete):
        # It was answered with events.
        run.resumable = True
    run.wait_for_reader()


def resume(run: Run, after: int) -> Resumed | Literal["over", "lost"]:
    """Resume a run for a client that has its events up to this number.

    Returns `over` if no event can follow, and `lost` if the journal does not hold the next one.
    """
    journal = run.journal
    if run.ended and after >= journal.number(journal.end):
        return "over"
    try:
        position = journal.position(after)
    except ChunksLost:
        return "lost"
    if run.ended and not _has_event(run, journal.chunks[position - journal.first :]):
        return "over"
    return Resumed(run, run.follow(after), after)


def _has_event(run: Run, rest: list[Chunk]) -> bool:
    """Return True if the last chunks of a run make an event. In an adaptor's own event stream, printed text
    and an end without failure make none."""
    head = run.journal.head
    if run.failure is not None or head is None or not sse.is_event_stream(head.headers):
        return True
    return any(isinstance(chunk, Data) and not chunk.more for chunk in rest)


def lost_problem(last: EventId, run: Run | None, retention: float) -> Problem:
    """Return the problem of a stream that cannot be resumed, which has the failure of its run."""
    if run is None:
        detail = (
            f"run {last.run} is not known here: runs are kept for {retention:g} s after their end "
            "(--run-retention), and not after a restart of the server"
        )
    else:
        detail = (
            f"the events after number {last.number} of run {last.run} are no longer kept "
            "(--run-journal says how much of a run is)"
        )
        if (failure := run.failure) is not None:
            detail += f"; the run has failed: {failure.title}: {failure.detail}"
    return Problem("urn:owt:events-lost", "the events are lost", 410, detail, run=last.run)


def lost_event(last: EventId, run: Run | None, retention: float) -> bytes:
    """Return the event that explains why a stream cannot be resumed. A browser that reconnects with its id
    gets 204 and stops."""
    problem = lost_problem(last, run, retention)
    return sse.encode(problem.json(), "error", id=f"{last.run}-{OVER}")
