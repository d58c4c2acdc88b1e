"""A notebook as it is to be run: its cells, what they mean, and those that wait for requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from owt.errors import NotebookError
from owt.notebook.annotations import Annotated, split
from owt.notebook.document import Cell, read
from owt.notebook.names import Statement, statements

Meaning = tuple[Statement, ...]
"""What a cell says: another layout and other comments change nothing of it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The `cells` that run, in order, each with its meaning, and the `marked` ones, with what these use."""

    cells: tuple[Cell, ...]
    meanings: tuple[Meaning, ...]
    marked: tuple[Annotated, ...]
    users: tuple[Meaning, ...]

    @classmethod
    def of(cls, path: Path) -> Contents:
        """What is in a file. Raises `NotebookError`."""
        try:
            cells, marked = split(read(path))
        except NotebookError as error:
            text = str(error)
            raise NotebookError(text if text.startswith(str(path)) else f"{path}: {text}") from None
        return cls(
            tuple(cells),
            tuple(statements(cell.text) for cell in cells),
            tuple(marked),
            tuple(statements(text) for each in marked for text in (each.code, each.response or "")),
        )

    def same(self, other: Contents) -> bool:
        """Whether nothing is to be done to get from one to the other."""
        return self.meanings == other.meanings and self.marked == other.marked
