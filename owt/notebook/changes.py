"""Selection of the cells that have to run again after a change of a notebook.

A new or changed cell runs (comments and layout are no change). Of the cells below it, these run again:

- those that use, while they run, a name that has changed, also by way of a function that uses it;
- those that bind a name again that a selected cell above binds, if any other cell uses the name.

A name has not changed if its statement has not changed and produces the same again: an import, a function,
a class or a constant. So a further import in the imports' cell reloads no model that uses another import. A
changed `from module import *` may change any name, so everything below it runs again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from owt.errors import NotebookError
from owt.notebook.document import CodeCell, read
from owt.notebook.endpoint_cells import EndpointCell, split
from owt.notebook.statements import STAR, Statement, statements

Meaning = tuple[Statement, ...]
"""A cell's statements. Two cells that differ in layout and comments alone have the same."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A notebook's contents: the `cells` that run, in order, and the `meanings` of each; the
    `endpoint_cells`, which run for requests, and the meanings of their code (`users`)."""

    cells: tuple[CodeCell, ...]
    meanings: tuple[Meaning, ...]
    endpoint_cells: tuple[EndpointCell, ...]
    users: tuple[Meaning, ...]

    @classmethod
    def of(cls, path: Path) -> Contents:
        """Return the contents of a file. Raises `NotebookError`."""
        document = read(path)
        try:
            cells, endpoint_cells = split(document)
        except NotebookError as error:
            raise NotebookError(f"{path}: {error}") from None
        return cls(
            tuple(cells),
            tuple(statements(cell.text) for cell in cells),
            tuple(endpoint_cells),
            tuple(statements(text) for cell in endpoint_cells for text in (cell.code, cell.response or "")),
        )

    def same(self, other: Contents) -> bool:
        """Return True if no cell has to run to get from one to the other."""
        return self.meanings == other.meanings and self.endpoint_cells == other.endpoint_cells


class Progress:
    """Record of the cells that are in effect in one kernel."""

    def __init__(self) -> None:
        self._ran: Counter[Meaning] = Counter()
        self._known: set[Statement] = set()

    def begin(self, contents: Contents) -> list[int]:
        """Return the indices of the cells that have to run for these contents, in order. From now on none of
        them counts as in effect, until `ran`."""
        due = select(contents.meanings, self._ran.elements(), self._known, contents.users)
        self._ran -= Counter(contents.meanings[index] for index in due)
        return due

    def ran(self, cell: Meaning) -> None:
        """Record that a cell has run."""
        bound = frozenset[str]().union(*(statement.binds for statement in cell))
        self._known = {other for other in self._known if bound.isdisjoint(other.binds)} | set(cell)
        self._ran[cell] += 1

    def spoil(self, contents: Contents) -> None:
        """Record that a cell failed in its middle: it may have changed the effect of its earlier version,
        which therefore no longer counts."""
        self._ran &= Counter(contents.meanings)

    def end(self, contents: Contents) -> None:
        """Record that all of these contents are in effect, and nothing else."""
        self._ran = Counter(contents.meanings)
        self._known = {statement for meaning in contents.meanings for statement in meaning}


def select(
    cells: Sequence[Meaning],
    ran: Iterable[Meaning],
    known: Collection[Statement],
    users: Sequence[Meaning] = (),
) -> list[int]:
    """Return the indices of the `cells` that have to run, in order.

    `ran` are the cells in effect, and `known` the statements that were last in effect, also of cells that
    are gone. `users` use names and do not run.
    """
    left = Counter(ran)
    due: set[int] = set()
    for index, cell in enumerate(cells):
        if left[cell] > 0:
            left[cell] -= 1
        else:
            due.add(index)
    used = _used([*cells, *users])
    # The first cell that changes a name, and the statements of due cells that bind a name.
    changed: dict[str, int] = {}
    bound: dict[str, list[tuple[int, Statement]]] = {}
    before = None
    while before != (now := (len(due), dict(changed))):
        before = now
        for index, cell in enumerate(cells):
            if index not in due and any(_is_due(part, index, changed, bound, used) for part in cell):
                due.add(index)
            for statement in cell:
                if index in due:
                    for name in statement.binds:
                        bound.setdefault(name, []).append((index, statement))
                    same = statement.steady and statement in known
                    if not same or _depends(statement, changed, index):
                        _note(changed, statement.binds, index)
                if since := [changed[name] for name in {*statement.late, STAR} if name in changed]:
                    # The function behaves differently, wherever it is defined.
                    _note(changed, statement.binds, min(since))
    return sorted(due)


def _is_due(
    statement: Statement,
    index: int,
    changed: dict[str, int],
    bound: dict[str, list[tuple[int, Statement]]],
    used: AbstractSet[str],
) -> bool:
    return _depends(statement, changed, index) or any(
        above < index and other != statement
        for name in statement.binds & used
        for above, other in bound.get(name, ())
    )


def _depends(statement: Statement, changed: dict[str, int], index: int) -> bool:
    return any(changed.get(name, index) < index for name in {*statement.eager, STAR})


def _note(changed: dict[str, int], names: Iterable[str], index: int) -> None:
    for name in names:
        changed[name] = min(index, changed.get(name, index))


def _used(cells: Sequence[Meaning]) -> set[str]:
    """Return the names that a cell uses and does not bind itself before."""
    used: set[str] = set()
    for cell in cells:
        own: set[str] = set()
        for statement in cell:
            used |= statement.eager - own
            used |= statement.late
            own |= statement.binds
    return used
