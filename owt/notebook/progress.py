"""What of a notebook is in effect in a kernel."""

from __future__ import annotations

from collections import Counter

from owt.notebook.changes import again
from owt.notebook.contents import Contents, Meaning
from owt.notebook.names import Statement


class Progress:
    """The cells that have run in one kernel, and so those that have yet to."""

    def __init__(self) -> None:
        self._ran: Counter[Meaning] = Counter()
        self._known: set[Statement] = set()

    def begin(self, contents: Contents) -> list[int]:
        """The places of the cells that have to run for these contents, in order. None of them counts as run
        until it has."""
        due = again(contents.meanings, self._ran.elements(), self._known, contents.users)
        self._ran -= Counter(contents.meanings[at] for at in due)
        return due

    def ran(self, cell: Meaning) -> None:
        """A cell has run."""
        bound = frozenset[str]().union(*(statement.binds for statement in cell))
        self._known = {each for each in self._known if bound.isdisjoint(each.binds)} | set(cell)
        self._ran[cell] += 1

    def spoilt(self, contents: Contents) -> None:
        """A cell has failed in its middle: what it did may have been to what an earlier version of it had
        done, so that counts no more."""
        self._ran &= Counter(contents.meanings)

    def end(self, contents: Contents) -> None:
        """All of it is in effect, and nothing else."""
        self._ran = Counter(contents.meanings)
        self._known = {statement for meaning in contents.meanings for statement in meaning}
