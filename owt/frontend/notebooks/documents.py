"""Files of served notebooks: read before the server starts, and watched for changes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from owt.errors import ConfigError, NotebookError
from owt.notebook.document import CodeCell, read
from owt.notebook.endpoint_cells import EndpointCell, split
from owt.notebook.parsed_cell import meaning
from owt.wire.names import SESSION_NAME

MAX_SESSION_NAME = 64
"""Characters of a session's name."""
_OPTION = "--notebook (OWT_NOTEBOOK)"


class WatchedFile:
    """A file that is checked periodically for changes.

    Editors write a file in place, in parts, or replace it, and in between there may be no file. A change
    therefore counts when the file differs from the one that was read and two checks in a row saw it alike.
    """

    def __init__(self, path: Path) -> None:
        """The present file counts as read."""
        self.path = path
        self._read = self._seen = self._stat()

    def changed(self) -> bool:
        """Return True if the file should be read again; it then counts as read."""
        now = self._stat()
        settled, self._seen = now == self._seen, now
        if now is None or not settled or now == self._read:
            return False
        self._read = now
        return True

    def _stat(self) -> tuple[int, ...] | None:
        try:
            stat = os.stat(self.path)
        except OSError:
            return None
        # ctime also changes when the clock was set back, and with the permissions.
        return stat.st_ctime_ns, stat.st_mtime_ns, stat.st_size, stat.st_ino


@dataclass(frozen=True, slots=True)
class Contents:
    """A notebook's contents: the `cells` that run, in order, with the `meanings` of each, which are equal for
    cells that differ in layout and comments alone; and the `endpoint_cells`, which run for requests."""

    cells: tuple[CodeCell, ...]
    meanings: tuple[str, ...]
    endpoint_cells: tuple[EndpointCell, ...]

    @classmethod
    def of(cls, path: Path) -> Contents:
        """Return the contents of a file. Raises `NotebookError`."""
        document = read(path)
        try:
            cells, endpoint_cells = split(document)
        except NotebookError as error:
            raise NotebookError(f"{path}: {error}") from None
        return cls(tuple(cells), tuple(meaning(cell.text) for cell in cells), tuple(endpoint_cells))

    def same(self, other: Contents) -> bool:
        """Return True if no cell has to run to get from one to the other."""
        return self.meanings == other.meanings and self.endpoint_cells == other.endpoint_cells


@dataclass(frozen=True)
class Document:
    """A notebook's file, its contents, and the name of its session."""

    file: WatchedFile
    name: str
    contents: Contents


def read_documents(paths: Sequence[Path]) -> list[Document]:
    """Read these notebooks.

    Raises `ConfigError` for a file that is no notebook, and for two files whose sessions would have one name.
    """
    documents: dict[str, Document] = {}
    for path in paths:
        name = session_for(path)
        if name in documents:
            other = documents[name].file.path
            raise ConfigError(f"{_OPTION}: {other} and {path} would both be session {name!r}; rename one")
        # Before it is read, so that a change while it is read is noticed.
        file = WatchedFile(path)
        try:
            documents[name] = Document(file, name, Contents.of(path))
        except NotebookError as error:
            raise ConfigError(f"{_OPTION}: {error}") from None
    return list(documents.values())


def session_for(path: Path) -> str:
    """Return the session's name for a file: the file's, with `-` for characters a session's name cannot have.

    Raises `ConfigError` if nothing is left, and for a file name that is not UTF-8, which JSON cannot hold.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{_OPTION}: {str(path)!r}: its name is not UTF-8; rename it") from None
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:MAX_SESSION_NAME].strip("-")
    if not SESSION_NAME.fullmatch(name):
        raise ConfigError(
            f"{_OPTION}: {path}: a session cannot be named after it; rename it, with letters, digits, '.', "
            "'_' or '-'"
        )
    return name
