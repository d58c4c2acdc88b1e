"""What the handlers are given: the parts of one running server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from owt.errors import Busy, OwtError
from owt.frontend.auth import Doorkeeper
from owt.frontend.cache import Cache
from owt.frontend.config import Settings
from owt.frontend.origins import Origins
from owt.frontend.problems import failed
from owt.frontend.runs import Run, Runs
from owt.frontend.sessions import Sessions
from owt.wire.call import Call, RequestFacts


@dataclass
class Service:
    """The collaborators of a server's handlers, and the one way in for a call."""

    settings: Settings
    doorkeeper: Doorkeeper
    origins: Origins
    sessions: Sessions
    runs: Runs
    cache: Cache
    started: float = field(default_factory=time.time)
    draining: bool = False

    def submit(self, call: Call) -> tuple[Run, str | None]:
        """Begin a call, or find an answer to it in the cache: the run to follow, and `hit`, `miss`,
        `joined`, or None for a call that has nothing to do with the cache.

        Raises the errors of `Sessions.submit`, and `Busy` when the server is ending.
        """
        if self.draining:
            raise Busy("the server is ending; it takes no new calls")
        if call.caching is None:
            return self._begin(call), None
        chunks = self.cache.find(call)
        if chunks is not None:
            run = self.runs.create(call)
            run.feed(chunks)
            return run, "hit"
        if (running := self.cache.running(call)) is not None:
            return running, "joined"
        run = self._begin(call)
        if run.ended is None:
            self.cache.watch(run)
        return run, "miss"

    def refuse(self, facts: RequestFacts, session: str | None, error: OwtError) -> Run:
        """A run that failed before it began, so that what was refused can be looked up as well."""
        run = self.runs.create(Call(facts, session=session))
        run.fail(failed(error))
        return run

    def _begin(self, call: Call) -> Run:
        run = self.runs.create(call)
        run.on_abandoned = self._abandoned
        try:
            self.sessions.submit(run)
        except BaseException:
            self.runs.drop(run)
            raise
        return run

    def _abandoned(self, run: Run) -> None:
        self.sessions.cancel(run, "cancelled")
