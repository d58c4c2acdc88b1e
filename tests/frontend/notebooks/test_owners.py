"""Cells are given by their names, and register editions of endpoints of session `s`."""

from __future__ import annotations

from owt.frontend.endpoints import Endpoints
from owt.frontend.notebooks.owners import Orphan, Owners
from owt.wire.endpoint import Endpoint
from owt.wire.messages import RegisterEndpoints


class Kernel:
    """A kernel of a session, whose cells register endpoints."""

    def __init__(self) -> None:
        self._endpoints = Endpoints()
        self._there: dict[str, Endpoint] = {}
        self.owners = Owners(self._endpoints, "s")

    def run(self, cell: str | None, *paths: str) -> None:
        """A cell runs, which registers these paths; None: what is no cell of the notebook."""
        before = self.owners.places()
        for path in paths:
            version = 1 + max((each.version for each in self._there.values()), default=0)
            self._there[path] = Endpoint(path, ("GET",), "f", version=version)
        registration = RegisterEndpoints(1, tuple(self._there.values()), keep=True)
        assert self._endpoints.offer("k", "s", registration) is None
        if cell is not None:
            self.owners.note(cell, before)

    def orphans(self, *cells: str) -> list[tuple[str, object]]:
        return [(orphan.place[0], orphan.heir) for orphan in self.owners.orphans(cells)]


def test_an_endpoint_of_a_cell_that_has_gone_is_an_orphan() -> None:
    kernel = Kernel()
    kernel.run("a", "/x", "/y")
    kernel.run("b", "/z")
    assert kernel.orphans("a", "b") == []
    assert kernel.orphans("b") == [("/x", None), ("/y", None)]


def test_not_one_that_another_cell_has_registered_since() -> None:
    kernel = Kernel()
    kernel.run("a", "/x")
    kernel.run("changed a", "/x")
    assert kernel.orphans("changed a") == []


def test_nor_one_that_is_from_elsewhere_now() -> None:
    kernel = Kernel()
    kernel.run("a", "/x")
    kernel.run(None, "/x", "/mine")
    assert kernel.orphans() == []


def test_the_cell_that_had_its_place_last_is_its_heir() -> None:
    kernel = Kernel()
    for cell in ("a", "b", "a", "c"):
        kernel.run(cell, "/x")
    edition = kernel.owners.places()["/x", "GET"]
    assert kernel.owners.orphans(["a", "b"]) == [Orphan(("/x", "GET"), edition, "a")]
    assert kernel.orphans("b") == [("/x", "b")]


def test_a_cell_that_was_forgotten_is_nobodys_heir() -> None:
    kernel = Kernel()
    kernel.run("a", "/x")
    kernel.run("b", "/x")
    kernel.owners.keep(["b"])
    assert kernel.orphans("a") == [("/x", None)]
    kernel.owners.keep([])
    assert kernel.orphans() == []
