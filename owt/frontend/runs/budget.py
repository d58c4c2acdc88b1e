"""Limit of the journals of all live runs together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from owt.wire.journal import Journal


class JournaledRun(Protocol):
    """Run whose journal counts in a `JournalBudget`. `journal_limit` is in bytes."""

    id: str
    journal: Journal
    journal_limit: int

    def trim(self) -> None:
        """Drop chunks beyond the limit."""

    def share(self, limit: int) -> None:
        """Have the kernel keep no more than the limit, either."""


class JournalBudget:
    """Bytes that the journals of all live runs may hold together.

    Each run has a limit of its own. When these limits add up to more than `total`, each run may hold an equal
    share at most. A run is trimmed to its share when it grows. While all runs hold more than `total`, each
    growth also trims two of them in turn. The cost of a call therefore does not depend on the number of runs.

    What kernels keep (`owt serve --keep`) has the same limits. As it grows also without a frontend, kernels
    get smaller limits before: each new run updates the limits of two others.
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
        if self._limits > self.total:
            for other in self._next():
                other.share(self.limit_of(other))

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
            for run in self._next():
                run.trim()

    def _next(self) -> Iterator[JournaledRun]:
        """Yield the next two runs in turn."""
        for _ in range(min(2, len(self._runs))):
            id, run = next(iter(self._runs.items()))
            self._runs.move_to_end(id)
            yield run
