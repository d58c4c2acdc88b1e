"""A notebook's cells, read from its file.

Sources: the notebook format 4 (nbformat's documentation, "The Notebook file format"), and for the tags
nbclient's: a cell tagged `skip-execution` does not run, and one tagged `raises-exception` may fail.

A `.py` file may have marks (`# %%`, the percent format of Jupytext, VS Code and Spyder): the text below a
mark is a cell; `[markdown]` and `[raw]` after the mark make it one that does not run, and `tags=["..."]` are
its tags. Without marks each statement at the top level is a cell, so that a changed function runs alone.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from owt.errors import UNREADABLE, NotebookError, shortened
from owt.files import read_file
from owt.notebook.parsed_cell import by_line

SKIP = "skip-execution"
MAY_FAIL = "raises-exception"
FORMAT = 4
"""The major version of the notebook format that is read."""

_MARK = re.compile(r"#\s*%%+(?=[\s\[]|$)(?P<rest>.*)")
_NOT_CODE = re.compile(r"\[(?:markdown|md|raw)\]")
_TAGS = re.compile(r"\btags=\[([^\]]*)\]")
_QUOTED = re.compile(r"""["']([^"']+)["']""")
_CODE = re.compile(r"^\s*[^\s#]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CodeCell:
    """A code cell. `label` is its name in messages and `text` its text. `code` is the text that runs: in a
    `.py` file with empty lines before it, so that tracebacks have the file's line numbers."""

    label: str
    text: str
    code: str
    may_fail: bool = False


class _IpynbCell(Struct):
    cell_type: str
    source: str | list[str] = ""
    metadata: dict[str, Any] = {}


class _Ipynb(Struct):
    nbformat: int
    cells: list[_IpynbCell] = []
    metadata: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Ipynb)


def read(path: Path) -> list[CodeCell]:
    """Return the cells of a file that run, in order.

    Raises `NotebookError` for a file that cannot be read or is no notebook for Python.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise NotebookError(f"{path}: {error.strerror or error}") from None
    try:
        match path.suffix.lower():
            case ".ipynb":
                return from_ipynb(data)
            case ".py":
                return from_script(data)
    except NotebookError as error:
        raise NotebookError(f"{path}: {error}") from None
    raise NotebookError(f"{path}: a notebook's name ends in .ipynb or .py")


def from_ipynb(data: bytes) -> list[CodeCell]:
    """Return the cells of a notebook's JSON. Raises `NotebookError`."""
    try:
        notebook = _decoder.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:  # msgspec's own errors and UnicodeDecodeError
        raise NotebookError(f"this is not a notebook: {error}") from None
    if notebook.nbformat != FORMAT:
        hint = "; jupyter nbconvert --to notebook converts it" if notebook.nbformat < FORMAT else ""
        raise NotebookError(
            f"its notebook format is {notebook.nbformat}, and only format {FORMAT} can be read{hint}"
        )
    language = _language(notebook.metadata)
    if language not in (None, "python", "ipython"):
        raise NotebookError(f"its language is {shortened(language)}, and only Python can be run")
    cells = []
    number = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        text = cell.source if isinstance(cell.source, str) else "".join(cell.source)
        if not text.strip():
            continue
        # The number that Restart and Run All gives it.
        number += 1
        tags = cell.metadata.get("tags")
        cells += _runnable(f"cell {number}", text, text, tags if isinstance(tags, list) else ())
    return cells


def from_script(data: bytes) -> list[CodeCell]:
    """Return the cells of a `.py` file that hold any code, in order. Raises `NotebookError`."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise NotebookError(f"its text cannot be decoded: {error}") from None
    lines = text.split("\n")
    marks = _marks(text, lines)
    cells = []
    for first, body, tags in _marked(lines, marks) if marks else _statements(text, lines):
        # A cell magic has to be in the first line of its cell.
        code = body if body.lstrip().startswith("%%") else "\n" * first + body
        cells += _runnable(f"line {first + 1}", body, code, tags)
    return cells


def _runnable(label: str, text: str, code: str, tags: Collection[object]) -> list[CodeCell]:
    return [] if SKIP in tags else [CodeCell(label, text, code, MAY_FAIL in tags)]


def _language(metadata: dict[str, Any]) -> str | None:
    for part, key in (("language_info", "name"), ("kernelspec", "language")):
        section = metadata.get(part)
        if isinstance(section, dict) and isinstance(name := section.get(key), str):
            return name.lower()
    return None


def _marks(text: str, lines: list[str]) -> list[tuple[int, str]]:
    """Return the lines that are marks, by index, without those within a string."""
    marks = [(index, match[0]) for index, line in enumerate(lines) if (match := _MARK.match(line))]
    if not marks:
        return []
    try:
        comments = {
            token.start[0] - 1
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        }
    except (tokenize.TokenError, SyntaxError):
        # The file has magics.
        return marks
    return [(index, mark) for index, mark in marks if index in comments]


def _marked(lines: list[str], marks: list[tuple[int, str]]) -> Iterator[tuple[int, str, list[str]]]:
    """Yield the first line, text and tags of each cell with code, in a file with marks."""
    starts = [(0, ""), *marks]
    ends = [index for index, _ in marks] + [len(lines)]
    for (start, mark), end in zip(starts, ends, strict=True):
        if _NOT_CODE.search(mark):
            continue
        first = start + 1 if mark else start
        while first < end and not lines[first].strip():
            first += 1
        body = "\n".join(lines[first:end]).rstrip()
        if _CODE.search(body):
            yield first, body, _QUOTED.findall("".join(_TAGS.findall(mark)))


def _statements(text: str, lines: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Yield the first line, text and no tags of each statement; statements that share a line are one."""
    try:
        tree = ast.parse(text)
    except UNREADABLE:
        if _CODE.search(text):
            yield 0, text, []
        return
    for first, last, _ in by_line(tree.body):
        yield first - 1, "\n".join(lines[first - 1 : last]), []
