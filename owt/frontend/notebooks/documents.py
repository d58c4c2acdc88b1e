"""The files of notebooks that the server is to serve, read before it starts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from owt.errors import ConfigError, NotebookError
from owt.frontend.notebooks.file import File
from owt.notebook.contents import Contents
from owt.wire.names import SESSION_NAME

MAX_NAME_LENGTH = 64
"""Characters of a session's name."""
_BLAME = "--notebook (OWT_NOTEBOOK)"


@dataclass(frozen=True)
class Document:
    """A notebook's file, what was in it, and the name of its session."""

    file: File
    name: str
    contents: Contents


def read_all(paths: Sequence[Path]) -> list[Document]:
    """What is in these files.

    Raises `ConfigError` for one that is no notebook, and for two whose sessions would have one name.
    """
    found: dict[str, Document] = {}
    for path in paths:
        name = name_of(path)
        if name in found:
            raise ConfigError(
                f"{_BLAME}: {found[name].file.path} and {path} would both be session {name!r}; rename one"
            )
        file = File(path)
        try:
            found[name] = Document(file, name, Contents.of(path))
        except NotebookError as error:
            raise ConfigError(f"{_BLAME}: {error}") from None
    return list(found.values())


def name_of(path: Path) -> str:
    """The session's name for a file: the file's, with `-` for what a session's name cannot have.

    Raises `ConfigError` when nothing is left, and for a name that is no text, which JSON cannot tell.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{_BLAME}: {str(path)!r}: its name is not UTF-8; rename it") from None
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:MAX_NAME_LENGTH].strip("-")
    if not SESSION_NAME.fullmatch(name):
        raise ConfigError(
            f"{_BLAME}: {path}: a session cannot be named after it; rename it, with letters, digits, '.', "
            "'_' or '-'"
        )
    return name
