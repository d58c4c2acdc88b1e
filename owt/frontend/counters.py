"""What one server has counted since it started: plain numbers that cost a call next to nothing.

`owt.frontend.api.metrics` reads them when somebody asks. Everything here happens on the event loop's
thread, so nothing is locked. What users choose (names, paths, texts) is never what something is counted by.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

from owt.frontend.runs.runs import Run
from owt.wire.chunk import Failed

Cause = Literal["crashed", "stuck", "unready", "ended"]
"""Why a kernel is no more: by itself or from outside; killed because a call did not stop; it never became
ready; or on purpose."""

DONE = "done"
OTHER = "other"
OUTCOMES = (
    DONE,
    # As in `Failed.type`.
    "exception", "syntax", "bad-request", "no-such-session", "no-such-function", "busy", "timeout",
    "cancelled", "interrupted", "kernel-died", "kernel-not-ready",
    OTHER,
)
REASONS = ("cancelled", "timeout", "interrupted")
CAUSES: tuple[Cause, ...] = ("crashed", "stuck", "unready", "ended")
REFUSALS = (401, 403, 413, 414, 421, 429, 431, 503)
LOOKUPS = ("hit", "miss", "joined")

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the times that are told apart: a warm call takes a millisecond, a long text minutes."""


class Histogram:
    """How many of the values seen were at most each of the `bounds`, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One more value. A clock that was set back makes no negative time."""
        if value > 0:
            self.sum += value
        self.counts[bisect_left(self.bounds, value)] += 1


class Counters:
    """The counts of one server."""

    def __init__(self) -> None:
        self.calls = dict.fromkeys(OUTCOMES, 0)
        self.cancels = dict.fromkeys(REASONS, 0)
        self.refusals = dict.fromkeys(REFUSALS, 0)
        self.lookups = dict.fromkeys(LOOKUPS, 0)
        self.answer_bytes = 0
        self.seconds = Histogram()
        self.first_byte = Histogram()
        self.waiting = Histogram()
        self.running = Histogram()
        self.kernel_starts = 0
        self.kernel_restarts = 0
        self.kernel_ends = dict.fromkeys(CAUSES, 0)

    def run_ended(self, run: Run) -> None:
        """Count the end of a run, which a kernel may have begun or not."""
        self.outcome(run.failure)
        created, started, ended, answered = run.created_at, run.started_at, run.ended_at, run.answered_at
        assert ended is not None
        self.answer_bytes += run.sent
        self.seconds.add(ended - created)
        if answered is not None:
            self.first_byte.add(answered - created)
        if started is not None:
            self.waiting.add(started - created)
            self.running.add(ended - started)
        if run.failure is not None:
            # Calls that were told to end while they waited, and those that ran.
            reason = run.cancel_reason or run.failure.type
            if reason in self.cancels:
                self.cancels[reason] += 1
        elif run.cancel_reason is not None:
            self.cancels[run.cancel_reason] += 1

    def outcome(self, failure: Failed | None) -> None:
        """A call has ended, or was refused before it began."""
        kind = DONE if failure is None else failure.type
        self.calls[kind if kind in self.calls else OTHER] += 1

    def refused(self, status: int) -> None:
        """The frontend itself has answered a request with this status. Those of `REFUSALS` are counted."""
        if status in self.refusals:
            self.refusals[status] += 1
