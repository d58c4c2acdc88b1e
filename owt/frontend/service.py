"""What the handlers are given: the parts of one running server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from owt.errors import Busy, OwtError
from owt.frontend.access.authentication import Authenticator
from owt.frontend.access.origins import Origins
from owt.frontend.config.settings import Settings
from owt.frontend.counters import Counters
from owt.frontend.endpoints import Endpoints
from owt.frontend.notebooks.notebooks import Notebooks
from owt.frontend.problems import failed
from owt.frontend.runs.cache import Cache
from owt.frontend.runs.runs import Run, Runs
from owt.frontend.sessions.sessions import Sessions
from owt.wire.call import Call, RequestFacts


@dataclass
class Service:
    """The collaborators of a server's handlers, and the one way in for a call."""

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
    notebooks: Notebooks = field(init=False)

    def __post_init__(self) -> None:
        self.notebooks = Notebooks(self.endpoints)

    def submit(self, call: Call, user: str | None = None) -> tuple[Run, str | None]:
        """Begin a call, or find an answer to it in the cache: the run to follow, and `hit`, `miss`,
        `joined`, or None for a call that has nothing to do with the cache.

        Raises the errors of `Sessions.submit`, and `Busy` when the server is ending or at its limit.
        """
        if self.draining:
            raise Busy("the server is ending; it takes no new calls")
        run, cached = self._begin_or_find(call)
        run.users.add(user)
        if call.detach:
            run.detach()
        return run, cached

    def refuse(
        self, facts: RequestFacts, session: str | None, error: OwtError, user: str | None = None
    ) -> Run:
        """A run that failed before it began, so that what was refused can be looked up as well."""
        run = self.runs.create(Call(facts, session=session))
        run.users.add(user)
        run.fail(failed(error))
        self.counters.outcome(run.failure)
        return run

    def known(self, id: str, user: str | None) -> Run | None:
        """The run with this id, if it is known and this user has called it: nobody else reads along."""
        run = self.runs.get(id)
        return run if run is not None and user in run.users else None

    def _begin_or_find(self, call: Call) -> tuple[Run, str | None]:
        if call.caching is None:
            return self._begin(call), None
        chunks = self.cache.find(call)
        if chunks is not None:
            run = self.runs.create(call)
            run.observe(self.counters)
            run.feed(chunks)
            self.counters.lookups["hit"] += 1
            return run, "hit"
        if (running := self.cache.find_live(call)) is not None:
            self.counters.lookups["joined"] += 1
            return running, "joined"
        run = self._begin(call)
        self.counters.lookups["miss"] += 1
        if not run.ended:
            self.cache.observe(run)
        return run, "miss"

    def _begin(self, call: Call) -> Run:
        most = self.settings.max_runs
        if self.runs.live_count >= most:
            raise Busy(
                f"{most} calls are queued and running already (the limit is --max-runs {most}); "
                "try again later"
            )
        run = self.runs.create(call)
        run.observe(self.counters)
        try:
            self.sessions.submit(run)
        except BaseException:
            self.runs.drop(run)
            raise
        return run
