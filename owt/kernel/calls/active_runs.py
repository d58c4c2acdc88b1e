"""The runs of a kernel that have not ended, and those that are never to begin."""

from __future__ import annotations

import asyncio
import threading

from owt.kernel.calls import context

EARLY = 1000
"""Runs that may be taken back before they arrive; of more, the oldest is forgotten."""


class ActiveRun(context.Run):
    """A run that has not ended, and how to reach it."""

    begun = False
    task: asyncio.Task[None] | None = None
    thread: int | None = None


class RunTable:
    """Runs by their ids. Each begins once, or is taken back before, whichever thread comes first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._runs: dict[str, ActiveRun] = {}
        self._taken: dict[str, None] = {}

    def add(self, run: ActiveRun) -> bool:
        """A run has arrived. False: it was taken back before."""
        with self.lock:
            if run.id in self._taken:
                del self._taken[run.id]
                return False
            self._runs[run.id] = run
            return True

    def get(self, id: str) -> ActiveRun | None:
        """The run, unless it has yet to arrive, or has ended."""
        return self._runs.get(id)

    def all(self) -> list[ActiveRun]:
        """Every run that has arrived and not ended."""
        return list(self._runs.values())

    def __contains__(self, run: ActiveRun) -> bool:
        return run.id in self._runs

    def begin(self, run: ActiveRun) -> bool:
        """The run begins now. False: it was taken back."""
        with self.lock:
            run.begun = run.id in self._runs
            return run.begun

    def take_back(self, id: str) -> tuple[bool, ActiveRun | None]:
        """Have a run never begin. Gives whether it had not, and the run, if it has arrived."""
        with self.lock:
            run = self._runs.get(id)
            if run is not None and run.begun:
                return False, run
            if run is None:
                self._taken[id] = None
                if len(self._taken) > EARLY:
                    self._taken.pop(next(iter(self._taken)))
            else:
                del self._runs[id]
            return True, run

    def end(self, run: ActiveRun) -> bool:
        """The run is over. False: it was taken back, and has been answered."""
        # Its task's context knows the run: such a circle keeps a request's body until it is collected.
        run.task = None
        with self.lock:
            return self._runs.pop(run.id, None) is not None
