"""Service: the parts of a running server that its HTTP handlers use, and the entry of calls."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from owt.errors import AnswerLost, Busy, OwtError
from owt.frontend import unsaved
from owt.frontend.access.authentication import Authenticator
from owt.frontend.access.origins import Origins
from owt.frontend.config.settings import Settings
from owt.frontend.counters import Counters
from owt.frontend.endpoints import Endpoints
from owt.frontend.kept_dir import History
from owt.frontend.kernels.recovery import Recovery
from owt.frontend.notebooks.notebooks import Notebooks
from owt.frontend.problems import failed
from owt.frontend.runs.cache import Cache, key_of
from owt.frontend.runs.claims import Claim
from owt.frontend.runs.records import RunRecords
from owt.frontend.runs.runs import Run
from owt.frontend.runs.table import Runs
from owt.frontend.sessions import waiting
from owt.frontend.sessions.sessions import Sessions
from owt.wire.call import Call, RequestFacts
from owt.wire.messages import KeptRun

log = logging.getLogger("owt")


@dataclass
class Service:
    """The collaborators of a server's handlers. Every call goes through `submit`.

    `history` and `run_records` are those of a server whose sessions outlive its frontend.
    """

    settings: Settings
    authenticator: Authenticator
    origins: Origins
    sessions: Sessions
    runs: Runs
    cache: Cache
    started: float = field(default_factory=time.time)
    draining: bool = False
    counters: Counters = field(default_factory=Counters)
    endpoints: Endpoints = field(default_factory=Endpoints)
    history: History | None = None
    run_records: RunRecords | None = None
    notebooks: Notebooks = field(init=False)
    recovery: Recovery = field(init=False)
    _earlier_end: float = 0.0
    _unsaved: int = 0  # records that could not be written, as the log says

    def __post_init__(self) -> None:
        self.recovery = self.sessions.kernels.recovery
        self.notebooks = Notebooks(self.endpoints, self.recovery)

    def submit(
        self, call: Call, user: str | None = None, *, join: bool = True, claim: Claim | None = None
    ) -> tuple[Run, str | None]:
        """Begin a call, or find its answer in the cache; with `join`, also in a live run. A request that
        repeats another (`claim`) follows the run of that one.

        Returns the run to follow, and `hit`, `miss`, `joined`, or None for a call that does not use the
        cache. A call that joined follows the run as far as `Cache.may_share` allows. Raises the errors of
        `Sessions.submit` and `Runs.claimed`, `AnswerLost` for a repeated request whose answer is no longer
        kept, and `Busy` if the server is shutting down or at its limit.
        """
        if claim is not None and (repeated := self.runs.claimed(claim, user)) is not None:
            if not (repeated.journal.complete or call.detach):
                raise AnswerLost(
                    repeated.id,
                    "its clients had left for --resume-window"
                    if repeated.cancel_reason == "disconnected"
                    else "--run-journal limits what is kept",
                )
            self._check_joining(call, repeated, "the call that this one repeats")
            return repeated, None
        if self.draining:
            raise Busy("the server is shutting down and accepts no new calls")
        lookup = None
        if call.caching is None:
            run = self._begin(call, claim)
        else:
            key = key_of(call, user, self.sessions.spec_of(call))
            # The id that the client has chosen is that of a run of its own.
            run, lookup = self._look_up(call, key, join and claim is None, claim)
            self.counters.lookups[lookup] += 1
        run.user = user
        if call.detach:
            run.detach()
        return run, lookup

    async def recover(self, ended_at: float) -> None:
        """Go on with the sessions and runs of an earlier frontend, whose process ended at this time."""
        self._earlier_end = ended_at
        runs = []
        for recorded in () if self.run_records is None else self.run_records.read():
            run = self.restore(recorded.kept)
            run.sent_to, run.number = recorded.sent_to, recorded.number
            run.cancel_reason = recorded.cancel_reason
            run.unread_since = recorded.unread_since or ended_at
            run.is_outline = recorded.is_outline
            recorded.record.attach(run)
            runs.append(run)
        await self.sessions.recover(self.restore, runs)
        self.runs.sort()
        for run in self.runs.live():
            self._find_caller(run)

    @property
    def records_problem(self) -> str | None:
        """Return what would be lost with this process, as its record could not be written, or None."""
        sessions, runs = self.sessions.records, self.run_records
        if sessions is None or runs is None:
            return None
        return unsaved.problem(runs.folder, runs.unsaved, sessions.unsaved)

    def check_records(self) -> None:
        """Write the records that could not be written, if it is possible now; log how many there are when
        that has doubled, and that there are none any more."""
        records = [item for item in (self.sessions.records, self.run_records) if item is not None]
        for item in records:
            item.check()
        counts = [item.unsaved.number for item in records if item.unsaved is not None]
        if not counts:
            if self._unsaved:
                log.warning("all records of runs and sessions have been written")
            self._unsaved = 0
        elif (count := max(1, sum(counts))) >= 2 * self._unsaved:
            self._unsaved = count
            log.warning("%s", self.records_problem)

    async def settle_records(self) -> str | None:
        """Write all records, if that is possible; return the `records_problem` that is left."""
        self.check_records()
        if self.run_records is not None:
            await self.run_records.settle()
        return self.records_problem

    def restore(self, kept: KeptRun) -> Run:
        """Return a run that a kernel has from an earlier frontend, or that was recorded."""
        known = self.runs.get(kept.run)
        run = self.runs.restore(kept)
        if run is not known:
            run.unread_since = self._earlier_end
            run.observe(self.counters)
        elif run.record is not None:
            run.record.confirmed()
        return run

    def refuse(
        self, facts: RequestFacts, session: str | None, error: OwtError, user: str | None = None
    ) -> Run:
        """Return a run that failed before it began, so that clients can look up refused calls too."""
        run = self.runs.create(Call(facts, session=session))
        run.user = user
        run.fail(failed(error))
        self.counters.outcome(run.failure)
        return run

    def may_appear(self, id: str) -> bool:
        """Return True if a kernel of an earlier frontend may yet report the run with this id, or what it
        has sent."""
        if not self.recovery.is_pending:
            return False
        run = self.runs.get(id)
        return run is None or self.recovery.awaits(run.session)

    async def wait_for(self, id: str) -> None:
        """Wait until it is known whether there is a run with this id. Raises `Busy`."""
        await self.recovery.wait_until(lambda: not self.may_appear(id))

    def known(self, id: str, user: str | None) -> Run | None:
        """Return the run with this id if this user has called it, or None."""
        run = self.runs.get(id)
        return run if run is not None and user == run.user else None

    def _look_up(self, call: Call, key: bytes, join: bool, claim: Claim | None) -> tuple[Run, str]:
        chunks = self.cache.find(key, call.accept)
        if chunks is not None:
            run = self.runs.create(call, claim)
            run.observe(self.counters)
            run.feed(chunks)
            return run, "hit"
        if join and (live := self.cache.find_live(key, call)) is not None:
            self._check_joining(call, live, "the equal call that this one joins")
            live.shared_by += 1
            return live, "joined"
        run = self._begin(call, claim)
        if not run.ended:
            self.cache.observe(run, key)
        return run, "miss"

    def _check_joining(self, call: Call, run: Run, what: str) -> None:
        """Raise `WaitsForItself` if the run that a call is to follow waits for the caller of the call."""
        if (caller := self._caller(call)) is not None and not run.ended:
            joining = Run("", call, 0)
            joining.caller = caller
            waiting.check(joining, [run], what)

    def _begin(self, call: Call, claim: Claim | None) -> Run:
        max_runs = self.settings.max_runs
        if self.runs.live_count >= max_runs:
            raise Busy(
                f"{max_runs} calls are queued and running already (the limit is --max-runs {max_runs}); "
                "try again later"
            )
        run = self.runs.create(call, claim)
        run.observe(self.counters)
        self._find_caller(run)
        try:
            self.sessions.submit(run)
        except BaseException:
            run.leave_caller()
            self.runs.drop(run)
            raise
        if self.run_records is not None:
            self.run_records.add(run)
        return run

    def _find_caller(self, run: Run) -> None:
        if (caller := self._caller(run.call)) is not None:
            run.caller = caller
            caller.nested |= {run}

    def _caller(self, call: Call) -> Run | None:
        """Return the active run that has made the call and waits for it, or None."""
        if call.caller is None or call.detach:
            return None
        run = self.runs.get(call.caller)
        return None if run is None or run.ended else run
