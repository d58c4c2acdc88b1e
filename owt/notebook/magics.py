"""What is Python in a cell, and what only IPython reads.

The text of a cell is Python where Python can read it, as in a kernel of owt. Where it cannot, the line
at fault is looked at: a magic (`%name`), a shell command (`!ls`), help (`name?`), or an assignment from
one of these. A first line `%%name` makes a cell magic of all that follows.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

UNREADABLE = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
"""What Python's parser raises for one text or another."""

OF_PYTHON = frozenset({"time", "timeit", "capture", "prun"})
"""Cell magics whose cell is Python that runs in the session."""

_CELL_MAGIC = re.compile(r"\s*%%(?P<name>\w+)")
_LINE = re.compile(r"\s*(?:[%!?]|[\w.]+\?)")
_TIMED = re.compile(r"\s*%time\s+(?P<statement>\S.*)")
_ASSIGNED = re.compile(r"\s*(?P<target>[^=!%]+?)\s*=\s*[%!]")


@dataclass(frozen=True, slots=True)
class Magic:
    """A line that only IPython reads, by its number from 1. `assigns` is True if it gives a variable its
    value."""

    line: int
    text: str
    assigns: bool = False


@dataclass(frozen=True, slots=True)
class Plain:
    """A cell as Python: `source` has as many lines as the cell, with comments in the place of `magics`."""

    source: str
    tree: ast.Module
    magics: tuple[Magic, ...] = ()


def plain(text: str) -> Plain | None:
    """What is Python in a cell, or None for a text that cannot be read at all."""
    lines = _flush(text.split("\n"))
    magics: list[Magic] = []
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if match := _CELL_MAGIC.match(lines[first]):
        magics.append(Magic(first + 1, lines[first].strip()))
        end = first + 1 if match["name"] in OF_PYTHON else len(lines)
        lines[first:end] = _comments(lines[first:end])
    # Each round takes one line out.
    for _ in range(len(lines) + 1):
        source = "\n".join(lines)
        try:
            return Plain(source, ast.parse(source), tuple(sorted(magics, key=lambda each: each.line)))
        except SyntaxError as error:
            number = error.lineno or 0
        except UNREADABLE:
            return None
        if not 0 < number <= len(lines):
            return None
        at, end = _continued(lines, number - 1)
        line = lines[at]
        indent = line[: len(line) - len(line.lstrip())]
        if timed := _TIMED.match(line):
            lines[at] = indent + timed["statement"]
            continue
        assigned = _ASSIGNED.match(line)
        if assigned is None and not _LINE.match(line):
            return None
        whole = "\n".join(lines[at:end]).strip()
        magics.append(Magic(at + 1, whole, assigned is not None))
        lines[at:end] = _comments(lines[at:end])
        if assigned is not None:
            # Another value whenever it runs, and for another magic.
            lines[at] = f"{indent}{assigned['target'].strip()} = get_ipython().getoutput({whole!r})"
        elif indent:
            # A block needs a statement.
            lines[at] = f"{indent}pass  # {line.strip()}"
    return None


def _flush(lines: list[str]) -> list[str]:
    """The lines without the indentation of the first one, as IPython takes it from a cell."""
    first = next((line for line in lines if line.strip()), "")
    return [line.removeprefix(first[: len(first) - len(first.lstrip())]) for line in lines]


def _comments(lines: list[str]) -> list[str]:
    return [f"# {line}".rstrip() for line in lines]


def _continued(lines: list[str], at: int) -> tuple[int, int]:
    """Where the line begins that this one belongs to, and where it has ended: a backslash at a line's end
    continues magics as well."""
    end = at + 1
    while at > 0 and lines[at - 1].endswith("\\"):
        at -= 1
    while end < len(lines) and lines[end - 1].endswith("\\"):
        end += 1
    return at, end
