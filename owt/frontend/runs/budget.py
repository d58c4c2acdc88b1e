"""Limit of the journals of all live runs together."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from owt.wire.journal import Journal


class JournaledRun(Protocol):
    """Run whose journal counts in a `JournalBudget`. `journal_limit` is in bytes."""

    id: str
    journal: Journal
    journal_limit: int

    def trim(self) -> None:
        """Drop chunks beyond the limit."""


class JournalBudget:
    """Bytes that the journals of all live runs may hold together.

    Each run has a limit of its own. When these limits add up to more than `total`, each run may hold an equal
    share at most. A run is trimmed to its share when it grows. While all runs hold more than `total`, each
    growth also trims two of them in turn. The cost of a call therefore does not depend on the number of runs.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._limits = 0
        self._runs: OrderedDict[str, JournaledRun] = OrderedDict()

    def join(self, run: JournaledRun) -> None:
        """Count a new run."""
        self._runs[run.id] = run
        self._limits += run.journal_limit

    def leave(self, run: JournaledRun) -> None:
        """Stop counting a run."""
        del self._runs[run.id]
        self._limits -= run.journal_limit
        self.held -= run.journal.bytes

    def count(self, run: JournaledRun, change: int) -> None:
        """Record by how many bytes a journal has grown, unless its run has left."""
        if run.id in self._runs:
            self.held += change

    def limit_of(self, run: JournaledRun) -> int:
        """Return how many bytes the journal of this run may hold now."""
        if self._limits <= self.total:
            return run.journal_limit
        return min(run.journal_limit, self.total // len(self._runs))

    def reclaim(self) -> None:
        """Trim the next two runs in turn, if all hold too much together."""
        if self.held > self.total:
            for _ in range(min(2, len(self._runs))):
                id, run = next(iter(self._runs.items()))
                self._runs.move_to_end(id)
                run.trim()
