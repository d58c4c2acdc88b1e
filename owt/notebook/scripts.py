"""The cells of a `.py` file.

With marks (`# %%`, the percent format of Jupytext, VS Code and Spyder), what follows a mark is a cell;
`[markdown]` and `[raw]` after it make it one that is not run, and `tags=["..."]` are its tags. Without
marks each statement at the top level is a cell, so that a change of a function runs only that again.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

from owt.notebook.magics import UNREADABLE, plain

_MARK = re.compile(r"#\s*%%+(?=[\s\[]|$)(?P<rest>.*)")
_NOT_CODE = re.compile(r"\[(?:markdown|md|raw)\]")
_TAGS = re.compile(r"\btags=\[([^\]]*)\]")
_QUOTED = re.compile(r"""["']([^"']+)["']""")
_CODE = re.compile(r"^\s*[^\s#]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Piece:
    """A cell: its first line in the file, from 1, its text, and that with the lines before it left empty,
    so that a traceback has the file's line numbers."""

    line: int
    text: str
    code: str
    tags: frozenset[str] = frozenset()


def pieces(text: str) -> list[Piece]:
    """The cells of this text that hold any code, in order."""
    lines = text.split("\n")
    marks = _marks(text, lines)
    if not marks:
        return list(_statements(text, lines))
    found = []
    future = ""
    starts = [(0, ""), *marks]
    ends = [line for line, _ in marks] + [len(lines)]
    for (start, mark), end in zip(starts, ends, strict=True):
        tags = frozenset(_QUOTED.findall("".join(_TAGS.findall(mark))))
        if _NOT_CODE.search(mark):
            continue
        first = start + 1 if mark else start
        while first < end and not lines[first].strip():
            first += 1
        body = "\n".join(lines[first:end]).rstrip()
        if not _CODE.search(body):
            continue
        found.append(Piece(first + 1, body, _placed(body, first, future), tags))
        future = future or _future(body)
    return found


def _marks(text: str, lines: list[str]) -> list[tuple[int, str]]:
    """The lines that are marks, from 0, and what they say; none within a string."""
    found = [(number, match[0]) for number, line in enumerate(lines) if (match := _MARK.match(line))]
    if not found:
        return []
    try:
        comments = {
            token.start[0] - 1
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        }
    except (tokenize.TokenError, SyntaxError):
        # There are magics in it.
        return found
    return [(number, mark) for number, mark in found if number in comments]


def _statements(text: str, lines: list[str]) -> Iterator[Piece]:
    try:
        tree = ast.parse(text)
    except UNREADABLE:
        if _CODE.search(text):
            yield Piece(1, text, text)
        return
    groups: list[list[int]] = []
    for statement in tree.body:
        first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
        last = statement.end_lineno or first
        if groups and first <= groups[-1][1]:
            # Two in one line.
            groups[-1][1] = last
        else:
            groups.append([first, last])
    future = ""
    for first, last in groups:
        body = "\n".join(lines[first - 1 : last])
        yield Piece(first, body, _placed(body, first - 1, future))
        future = future or _future(body)


def _placed(body: str, before: int, future: str) -> str:
    """A cell's text below `before` empty lines, the first of which takes the imports from `__future__` that
    count for the whole file."""
    if body.lstrip().startswith("%%"):
        # A cell magic has to be in the first line.
        return body
    return future + "\n" * before + body


def _future(body: str) -> str:
    """The imports from `__future__` in a cell, in one line."""
    found = plain(body)
    names = [
        alias.name
        for statement in (found.tree.body if found is not None else ())
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        for alias in statement.names
    ]
    return f"from __future__ import {', '.join(names)}" if names else ""
