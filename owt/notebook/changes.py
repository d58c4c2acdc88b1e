"""Which cells of a notebook run again after a change.

Those that are new or changed (comments and layout are no change), and of those below them

- the ones that, while they run, use a name which has changed, also by way of a function that uses it;
- the ones that bind once more what a cell above, which runs again, binds, if anybody else uses it.

A name has not changed if its statement has not and makes the same again: an import, a function, a class
or a constant. So a new import in a cell of imports loads no model again that uses another of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet

from owt.notebook.names import Statement, origin

Cell = tuple[Statement, ...]
"""A cell as it counts here."""


def again(
    cells: Sequence[Cell],
    ran: Iterable[Cell],
    known: Collection[Statement],
    users: Sequence[Cell] = (),
) -> list[int]:
    """The places of the `cells` that have to run, in order.

    `ran` are the cells that are in effect, and `known` the statements that were in effect last, also of
    cells that have gone. `users` use names, and do not run.
    """
    left = Counter(ran)
    due: set[int] = set()
    for at, cell in enumerate(cells):
        if left[cell] > 0:
            left[cell] -= 1
        else:
            due.add(at)
    own = {name for cell in cells for statement in cell for name in statement.binds}
    wanted = {origin(name, own) for name in _wanted([*cells, *users])}
    changed: dict[str, int] = {}
    bound: dict[str, list[tuple[int, Statement]]] = {}
    before = None
    while before != (now := (len(due), dict(changed))):
        before = now
        for at, cell in enumerate(cells):
            if at not in due and _is_due(cell, at, changed, bound, wanted, own):
                due.add(at)
            for statement in cell:
                if at in due:
                    for name in statement.binds:
                        bound.setdefault(name, []).append((at, statement))
                    same = statement.steady and statement in known
                    if not same or _uses(statement.eager, changed, at, own):
                        _note(changed, statement.binds, at)
                used = {origin(name, own) for name in statement.late}
                if since := [changed[name] for name in used if name in changed]:
                    # What the function does has changed, wherever it stands.
                    _note(changed, statement.binds, min(since))
    return sorted(due)


def _is_due(
    cell: Cell,
    at: int,
    changed: dict[str, int],
    bound: dict[str, list[tuple[int, Statement]]],
    wanted: AbstractSet[str],
    own: AbstractSet[str],
) -> bool:
    for statement in cell:
        if _uses(statement.eager, changed, at, own):
            return True
        for name in statement.binds & wanted:
            if any(above < at and other != statement for above, other in bound.get(name, ())):
                return True
    return False


def _uses(names: Iterable[str], changed: dict[str, int], at: int, own: AbstractSet[str]) -> bool:
    return any(changed.get(origin(name, own), at) < at for name in names)


def _note(places: dict[str, int], names: Iterable[str], at: int) -> None:
    for name in names:
        places[name] = min(at, places.get(name, at))


def _wanted(cells: Sequence[Cell]) -> set[str]:
    """The names that some cell does not only bind for itself."""
    wanted: set[str] = set()
    for cell in cells:
        own: set[str] = set()
        for statement in cell:
            wanted |= statement.eager - own
            wanted |= statement.late
            own |= statement.binds
    return wanted
