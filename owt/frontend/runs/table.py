"""Table of the known runs: all that are live, and those that ended recently."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from owt.errors import AnswerLost, RunTaken
from owt.frontend.runs.budget import JournalBudget
from owt.frontend.runs.claims import Claim
from owt.frontend.runs.runs import Run
from owt.wire.call import Call
from owt.wire.chunk import size
from owt.wire.messages import KeptRun

MAX_DROPPED = 100_000
"""Maximum number of ids of dropped runs, each of some 300 bytes."""


def _random_ids() -> Iterator[str]:
    """Yield ids that cannot be guessed. Each read of random bytes is a system call, so many are read."""
    while True:
        digits = secrets.token_hex(8 * 256)
        for start in range(0, len(digits), 16):
            yield digits[start : start + 16]


class Dropped(NamedTuple):
    """Record of a run that was dropped: its user and when it ended."""

    user: str | None
    ended_at: float


class Runs:
    """The known runs: all that are live, and those that ended recently."""

    def __init__(
        self,
        *,
        retention: float,
        journal: int,
        journal_total: int,
        window: int,
        cacheable: int = 0,
        resume_window: float = 0,
        max_ended: int = 10_000,
        outlive: bool = False,
    ) -> None:
        """`retention` is in seconds after the end of a run. `journal` (of each run), `journal_total` (of all
        together, with all else that ended runs keep; those are dropped first) and `window` (of credit) are in
        bytes. The journal of a run whose answer may be cached holds `cacheable` bytes, if that is more than
        `journal`. With `outlive`, kernels keep runs for the next frontend."""
        self._retention = retention
        self._journal = journal
        self._cacheable = max(journal, cacheable)
        self._budget = JournalBudget(journal_total)
        self._ids = _random_ids()
        self._max_ended = max_ended
        self._outlive = outlive
        self._grant_step = max(1, window // 4)
        self._resume_window = resume_window
        self._live: dict[str, Run] = {}
        self._ended: OrderedDict[str, Run] = OrderedDict()
        self._ended_bytes = 0
        # Runs with ids of clients that were dropped before the end of their retention, so that no repeated
        # request runs again.
        self._dropped: OrderedDict[str, Dropped] = OrderedDict()

    def create(self, call: Call, claim: Claim | None = None) -> Run:
        """Return a new run of this call, with the id that its client has chosen, or one that cannot be
        guessed."""
        return self._add(next(self._ids) if claim is None else claim.id, call, self._limit_of(call), claim)

    def _limit_of(self, call: Call) -> int:
        return self._journal if call.caching is None else self._cacheable

    def restore(self, kept: KeptRun) -> Run:
        """Return a run that a kernel has from an earlier frontend, and whose output follows, or one that was
        recorded and has not begun.

        Its session calls `Run.enqueue`, and `Run.start` if it has begun."""
        keep = kept.keep
        run = self._live.get(kept.run)
        if run is None:
            digest = None if keep is None else keep.digest
            claim = None if digest is None else Claim.restore(kept.run, digest or None)
            run = self._add(kept.run, kept.call, 0 if keep is None else self._limit_of(kept.call), claim)
        elif run.is_outline:
            run.call, run.is_outline = kept.call, False
        run.resume(kept)
        # The kernel gave it the window of an earlier frontend, which may be smaller than a step of this one.
        run.grant_step = 1
        return run

    def _add(self, id: str, call: Call, limit: int, claim: Claim | None) -> Run:
        run = Run(
            id, call, limit,
            budget=self._budget,
            grant_step=self._grant_step,
            resume_window=self._resume_window,
            claim=claim,
            outlives=self._outlive,
        )
        self._live[run.id] = run
        self._budget.join(run)
        run.observe(self)
        return run

    def get(self, id: str) -> Run | None:
        """Return the run with this id, if it is known."""
        return self._live.get(id) or self._ended.get(id)

    def claimed(self, claim: Claim, user: str | None) -> Run | None:
        """Return the run that a request repeats, or None if no run has the id that its client has chosen.

        Raises `RunTaken` if the id stands for another call or for another user's, and `AnswerLost` for a run
        that had to be dropped before the end of its retention.
        """
        run = self.get(claim.id)
        if run is None:
            if (dropped := self._dropped.get(claim.id)) is None:
                return None
            if dropped.user == user:
                raise AnswerLost(claim.id, "--journal-total limits what all runs keep together")
        elif run.user == user and run.claim is not None:
            if run.claim.is_same_call(claim):
                return run
            if run.claim.digest is None:
                raise RunTaken(claim.id, "has begun, and the body of its request has not come as a whole")
        raise RunTaken(claim.id, "stands for another call")

    @property
    def live_count(self) -> int:
        """Return the number of runs that have not ended."""
        return len(self._live)

    def live(self) -> list[Run]:
        """Return the runs that have not ended."""
        return list(self._live.values())

    def all(self) -> list[Run]:
        """Return every known run."""
        self.prune()
        return [*self._ended.values(), *self._live.values()]

    def drop(self, run: Run) -> None:
        """Forget a run that is live no more, or that was not accepted."""
        if self._live.pop(run.id, None) is not None:
            self._budget.leave(run)

    def sort(self) -> None:
        """Order the runs that have ended by the times of their ends, if some have ended long ago."""
        self._ended = OrderedDict(sorted(self._ended.items(), key=lambda item: item[1].ended_at or 0))

    def prune(self) -> None:
        """Forget ended runs that are past their retention, or beyond the limits."""
        horizon, room = time.time() - self._retention, self._budget.total - self._budget.held
        while self._dropped:
            id, dropped = next(iter(self._dropped.items()))
            if len(self._dropped) <= MAX_DROPPED and dropped.ended_at > horizon:
                break
            del self._dropped[id]
        while self._ended:
            run = next(iter(self._ended.values()))
            ended_at = run.ended_at or 0
            fits = self._ended_bytes <= room and len(self._ended) <= self._max_ended
            if fits and ended_at > horizon:
                return
            del self._ended[run.id]
            self._ended_bytes -= run.kept_bytes
            run.forget()
            if run.claim is not None and ended_at > horizon:
                self._dropped[run.id] = Dropped(run.user, ended_at)

    def run_ended(self, run: Run) -> None:
        """Keep the run with its output, but without its input, of which only a short path is shown."""
        self.drop(run)
        # Its record has this call, too.
        run.call = replace(run.call.outline(), session=run.session, detach=run.detached, input_end=None)
        beside = [chunk for chunk in (run.journal.head, run.failure) if chunk and not run.journal.complete]
        run.kept_bytes = run.journal.bytes + sum(map(size, beside)) + 4 * len(run.call.request.path)
        self._ended[run.id] = run
        self._ended_bytes += run.kept_bytes
        self.prune()
