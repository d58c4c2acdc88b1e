"""Which cells of a notebook have registered which endpoints, in one kernel."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import NamedTuple

from owt.frontend.endpoints import Endpoints

Place = tuple[str, str]
"""A path, and a method."""


class Orphan(NamedTuple):
    """An endpoint whose cell has gone: its place and edition, and the cell that had that place before."""

    place: Place
    edition: str
    heir: Hashable | None


class Owners:
    """The endpoints of one session, and the cells that they are from."""

    def __init__(self, endpoints: Endpoints, session: str) -> None:
        self._endpoints = endpoints
        self._session = session
        # The editions that cells have registered, the one that counts last.
        self._owned: dict[Place, dict[Hashable, str]] = {}

    def places(self) -> dict[Place, str]:
        """The session's endpoints that answer, each with its edition."""
        return {
            (entry.endpoint.path, method): entry.edition
            for entry in self._endpoints.all()
            if entry.session == self._session and entry.gone is None
            for method in entry.endpoint.methods
        }

    def note(self, cell: Hashable, before: Mapping[Place, str]) -> None:
        """What is there now, and was not `before`, is this cell's."""
        for place, edition in self.places().items():
            if before.get(place) != edition:
                owners = self._owned.setdefault(place, {})
                owners.pop(cell, None)
                owners[cell] = edition

    def orphans(self, cells: Collection[Hashable]) -> list[Orphan]:
        """The endpoints that are from none of these cells, and from nobody else."""
        there = self.places()
        found = []
        for place, owners in self._owned.items():
            last, edition = next(reversed(owners.items()))
            if last not in cells and there.get(place) == edition:
                heir = next((each for each in reversed(owners) if each in cells), None)
                found.append(Orphan(place, edition, heir))
        return found

    def keep(self, cells: Collection[Hashable]) -> None:
        """Forget all cells but these."""
        kept = {
            place: {cell: edition for cell, edition in owners.items() if cell in cells}
            for place, owners in self._owned.items()
        }
        self._owned = {place: owners for place, owners in kept.items() if owners}
