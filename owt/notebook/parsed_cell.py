"""The Python of a cell, and the lines that only IPython reads.

A cell is Python where Python's parser accepts it, as in owt's kernels. Where it does not, the line at fault
may be a magic (`%name`), a shell command (`!ls`), help (`name?`), or an assignment from one of these. A
first line `%%name` makes the whole cell a cell magic.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from owt.errors import UNREADABLE

PYTHON_CELL_MAGICS = frozenset({"time", "timeit", "capture", "prun"})
"""Cell magics whose cell is Python that runs in the session."""

_CELL_MAGIC = re.compile(r"\s*%%(?P<name>\w+)")
_LINE = re.compile(r"\s*(?:[%!?]|[\w.]+\?)")
_TIME = re.compile(r"\s*%time\s+(?P<statement>\S.*)")
_ASSIGNMENT = re.compile(r"\s*(?P<target>[^=!%]+?)\s*=\s*[%!]")


@dataclass(frozen=True, slots=True)
class Magic:
    """A line that only IPython reads, by its number from 1. `assigns` is True if it assigns a variable."""

    line: int
    text: str
    assigns: bool = False


@dataclass(frozen=True, slots=True)
class ParsedCell:
    """A cell as Python: `source` has as many lines as the cell, with comments in place of the `magics`."""

    source: str
    tree: ast.Module
    magics: tuple[Magic, ...] = ()


def parse_cell(text: str) -> ParsedCell | None:
    """Return a cell as Python; None if neither Python nor IPython can read it."""
    lines = _dedent(text.split("\n"))
    magics: list[Magic] = []
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if match := _CELL_MAGIC.match(lines[first]):
        magics.append(Magic(first + 1, lines[first].strip()))
        end = first + 1 if match["name"] in PYTHON_CELL_MAGICS else len(lines)
        lines[first:end] = _comments(lines[first:end])
    # Each round replaces one line.
    for _ in range(len(lines) + 1):
        source = "\n".join(lines)
        try:
            return ParsedCell(source, ast.parse(source), tuple(sorted(magics, key=lambda magic: magic.line)))
        except SyntaxError as error:
            number = error.lineno or 0
        except UNREADABLE:
            return None
        if not 0 < number <= len(lines):
            return None
        start, end = _continued(lines, number - 1)
        line = lines[start]
        indent = line[: len(line) - len(line.lstrip())]
        if timed := _TIME.match(line):
            lines[start] = indent + timed["statement"]
            continue
        assignment = _ASSIGNMENT.match(line)
        if assignment is None and not _LINE.match(line):
            return None
        whole = "\n".join(lines[start:end]).strip()
        magics.append(Magic(start + 1, whole, assignment is not None))
        lines[start:end] = _comments(lines[start:end])
        if assignment is not None:
            # The magic's text stands for the value, so that another magic is another value.
            lines[start] = f"{indent}{assignment['target'].strip()} = {whole!r}"
        elif indent:
            # A block needs a statement.
            lines[start] = f"{indent}pass  # {line.strip()}"
    return None


def meaning(text: str) -> str:
    """Return the cell's text without comments and layout, or as it is where it is not Python."""
    cell = parse_cell(text)
    if cell is None or (not cell.tree.body and text.lstrip().startswith("%%")):
        return text.strip()
    starts = [node.lineno for node in ast.walk(cell.tree) if isinstance(node, ast.stmt)]
    # A magic's place among the statements is part of the meaning.
    magics = [(magic.text, sum(start < magic.line for start in starts)) for magic in cell.magics]
    try:
        return f"{magics} {ast.dump(cell.tree)}"
    except RecursionError:
        return text.strip()


def by_line(body: Sequence[ast.stmt]) -> list[tuple[int, int, list[ast.stmt]]]:
    """Return the statements in groups that share a line, each with the numbers of its first and last line."""
    groups: list[tuple[int, int, list[ast.stmt]]] = []
    for node in body:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        last = node.end_lineno or node.lineno
        if groups and first <= groups[-1][1]:
            first, _, nodes = groups.pop()
            groups.append((first, last, [*nodes, node]))
        else:
            groups.append((first, last, [node]))
    return groups


def _dedent(lines: list[str]) -> list[str]:
    """Return the lines without the indentation of the first one, as IPython reads a cell."""
    first = next((line for line in lines if line.strip()), "")
    return [line.removeprefix(first[: len(first) - len(first.lstrip())]) for line in lines]


def _comments(lines: list[str]) -> list[str]:
    return [f"# {line}".rstrip() for line in lines]


def _continued(lines: list[str], start: int) -> tuple[int, int]:
    """Return the range of lines that a line belongs to; a backslash at a line's end continues magics too."""
    end = start + 1
    while start > 0 and lines[start - 1].endswith("\\"):
        start -= 1
    while end < len(lines) and lines[end - 1].endswith("\\"):
        end += 1
    return start, end
