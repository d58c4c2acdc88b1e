"""A notebook's cells, read from its file.

Sources: the notebook format 4 (nbformat's documentation, "The Notebook file format"), and for the tags
nbclient's: a cell tagged `skip-execution` does not run, and one tagged `raises-exception` may fail.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from owt.errors import NotebookError, shortened
from owt.notebook import scripts

SKIP = "skip-execution"
MAY_FAIL = "raises-exception"
FORMAT = 4
"""The major version of the notebook format that is read."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell. `label` is how a message calls it, `text` what is in it, and `code` what is run: the
    same with as many empty lines before it as stand before it in its file, if that is a `.py` file."""

    label: str
    text: str
    code: str
    may_fail: bool = False


class _Cell(Struct):
    cell_type: str
    source: str | list[str] = ""
    metadata: dict[str, Any] = {}


class _Notebook(Struct):
    nbformat: int
    cells: list[_Cell] = []
    metadata: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Notebook)


def read(path: Path) -> list[Cell]:
    """The cells of a file that are to be run, in order.

    Raises `NotebookError` for a file that cannot be read or is no notebook for Python.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotebookError(f"{path}: {error.strerror or error}") from None
    try:
        match path.suffix.lower():
            case ".ipynb":
                return from_notebook(data)
            case ".py":
                return from_script(data)
    except NotebookError as error:
        raise NotebookError(f"{path}: {error}") from None
    raise NotebookError(f"{path}: a notebook's name ends in .ipynb or .py")


def from_notebook(data: bytes) -> list[Cell]:
    """The cells of a notebook's JSON. Raises `NotebookError`."""
    try:
        notebook = _decoder.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:  # msgspec's own errors and UnicodeDecodeError
        raise NotebookError(f"this is no notebook: {error}") from None
    if notebook.nbformat != FORMAT:
        how = "; jupyter nbconvert --to notebook converts it" if notebook.nbformat < FORMAT else ""
        raise NotebookError(
            f"its notebook format is {notebook.nbformat}, and only format {FORMAT} can be read{how}"
        )
    language = _language(notebook.metadata)
    if language not in (None, "python", "ipython"):
        raise NotebookError(f"its language is {shortened(language)}, and only Python can be run")
    cells = []
    number = 0
    for each in notebook.cells:
        if each.cell_type != "code":
            continue
        text = each.source if isinstance(each.source, str) else "".join(each.source)
        if not text.strip():
            continue
        # As Restart and Run All numbers them.
        number += 1
        tags = each.metadata.get("tags", ())
        if not isinstance(tags, Sequence):
            tags = ()
        if SKIP not in tags:
            cells.append(Cell(f"cell {number}", text, text, MAY_FAIL in tags))
    return cells


def from_script(data: bytes) -> list[Cell]:
    """The cells of a `.py` file. Raises `NotebookError`."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise NotebookError(f"its text cannot be decoded: {error}") from None
    return [
        Cell(f"line {piece.line}", piece.text, piece.code, MAY_FAIL in piece.tags)
        for piece in scripts.pieces(text)
        if SKIP not in piece.tags
    ]


def _language(metadata: dict[str, Any]) -> str | None:
    for part, key in (("language_info", "name"), ("kernelspec", "language")):
        found = metadata.get(part)
        if isinstance(found, dict) and isinstance(name := found.get(key), str):
            return name.lower()
    return None
