"""Failures as IPython shows them: a remote traceback as a traceback, and what is no bug here as one line.

IPython asks an exception for `_render_traceback_` before it formats one itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from owt.errors import RemoteError

E = TypeVar("E", bound=BaseException)

AROUND = 2
"""Lines that are shown before and after the one at which a frame is."""
WIDTH = 75

_FRAME = re.compile(
    r'(?P<margin>[ |]*)  File "(?P<file><adaptor [^"]*)", line (?P<line>\d+), in (?P<name>.*)'
)
_MARKS = re.compile(r"[ |]*[~^][ ~^]*")


def rendered(error: E, lines: Callable[[], list[str]]) -> E:
    """The exception, which IPython will show as these lines."""
    error._render_traceback_ = lines  # type: ignore[attr-defined]
    return error


def plain(error: E, shell: Any) -> E:
    """The exception, shown as its name and message: the frames that raised it are nobody's concern."""

    def lines() -> list[str]:
        name, message = type(error).__name__, str(error)
        notes = getattr(error, "__notes__", [])
        return ["\n".join([_red(name, shell) + (f": {message}" if message else ""), *notes])]

    return rendered(error, lines)


def remote(error: RemoteError, cell: str, first_line: int, where: str, shell: Any) -> RemoteError:
    """The exception, shown with the remote traceback, in which the frames of this cell have its lines.

    `where` is where it ran; line 1 of the code is line `first_line` of the cell.
    """
    if not error.traceback:
        if error.exception == "SyntaxError":
            count = partial(_counted, first_line)
            error.detail = re.sub(r"^code: line (\d+)(?=:)", count, error.detail)
        return plain(error, shell)

    def lines() -> list[str]:
        text = in_cell(error.traceback, cell, first_line)
        name = error.exception or error.title
        head = _red(name, shell) + f"{'Traceback (most recent call last)':>{max(WIDTH - len(name), 0)}}"
        body = text.removeprefix("Traceback (most recent call last):\n").rstrip("\n")
        return [_red("-" * WIDTH, shell), head, _coloured(body, shell), f"({where})"]

    return rendered(error, lines)


def local(error: E, trace: TracebackType | None, shell: Any) -> E:
    """The exception, shown from the frames in `trace` on, which are the adaptor's; `%debug` begins there."""
    if trace is None:
        return plain(error, shell)
    tb = shell.InteractiveTB

    def lines() -> list[str]:
        return list(tb.structured_traceback(type(error), error, trace, tb_offset=0))

    return rendered(error, lines)


def in_cell(text: str, cell: str, first_line: int = 1) -> str:
    """A traceback in whose frames of this very cell the lines around are shown as well."""
    source = cell.splitlines()
    out: list[str] = []
    before: re.Match[str] | None = None
    replaced = False
    for line in text.splitlines():
        if replaced and _MARKS.fullmatch(line):
            # What is below the line as it stood.
            replaced = False
            continue
        replaced = False
        if before is not None:
            number = int(before["line"])
            shown = line.removeprefix(before["margin"]).strip()
            if 0 < number <= len(source) and source[number - 1].strip() == shown:
                margin = before["margin"]
                out[-1] = f"{margin}  Cell line {number + first_line - 1}, in {before['name']}"
                out += [f"{margin}  {each}" for each in _context(source, number, first_line)]
                replaced = True
            else:
                out.append(line)
            before = None
            continue
        before = _FRAME.fullmatch(line)
        out.append(line)
    return "\n".join(out) + "\n"


def _counted(first_line: int, match: re.Match[str]) -> str:
    return f"cell line {int(match[1]) + first_line - 1}"


def _context(source: list[str], number: int, first_line: int) -> list[str]:
    shown = range(max(number - AROUND, 1), min(number + AROUND, len(source)) + 1)
    return [
        f"{'---->' if at == number else '     '} {at + first_line - 1:>3} {source[at - 1]}".rstrip()
        for at in shown
    ]


def _is_plain(shell: Any) -> bool:
    return str(getattr(shell, "colors", "")).lower() == "nocolor"


def _red(text: str, shell: Any) -> str:
    return text if _is_plain(shell) else f"\x1b[31m{text}\x1b[0m"


def _coloured(text: str, shell: Any) -> str:
    if _is_plain(shell):
        return text
    from pygments import highlight
    from pygments.formatters import TerminalFormatter
    from pygments.lexers import PythonLexer

    def line(match: re.Match[str]) -> str:
        code = highlight(match[3], PythonLexer(stripnl=False), TerminalFormatter()).rstrip("\n")
        arrow = f"\x1b[32m{match[1]}\x1b[0m" if match[1].strip() else match[1]
        return f"{arrow}\x1b[2m{match[2]}\x1b[0m {code}"

    text = re.sub(r"^( *(?:---->|     ))( +\d+) (.*)$", line, text, flags=re.MULTILINE)
    text = re.sub(r"^( *(?:File|Cell) .*)$", "\x1b[36m\\1\x1b[0m", text, flags=re.MULTILINE)
    return re.sub(r"^([A-Za-z_][\w.]*)(?=: |$)", "\x1b[31m\\1\x1b[0m", text, flags=re.MULTILINE)
