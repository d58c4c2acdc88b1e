"""Display of errors by IPython: remote tracebacks, and errors without a bug in this notebook as one line.

IPython calls the method `_render_traceback_` of an exception that has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from owt.errors import RemoteError

E = TypeVar("E", bound=BaseException)

CONTEXT_LINES = 2
"""Lines of the cell before and after the line of a frame."""
WIDTH = 75
"""Width of the heading, as IPython has it."""

_FRAME = re.compile(
    r'^(?P<margin>[ |]*)  File "<adaptor [^"]*", line (?P<line>\d+), in (?P<name>.*)\n'
    r"(?P<code>.*)\n(?:[ |]*[~^][ ~^]*\n)?",
    re.MULTILINE,
)
"""Frame of a cell, its line of code, and the marks below a part of the line."""


def rendered(error: E, lines: Callable[[], list[str]]) -> E:
    """Return the exception, with the lines that IPython is to show for it."""
    error._render_traceback_ = lines  # type: ignore[attr-defined]
    return error


def plain(error: E, shell: Any) -> E:
    """Return the exception, shown as its name and message without frames of owt."""

    def lines() -> list[str]:
        name, message = type(error).__name__, str(error)
        notes = getattr(error, "__notes__", [])
        return ["\n".join([_red(name, shell) + (f": {message}" if message else ""), *notes])]

    return rendered(error, lines)


def remote(error: RemoteError, cell: str, first_line: int, where: str, shell: Any) -> RemoteError:
    """Return the exception, shown with the remote traceback and the cell's lines around its frames.

    `where` describes the server and the session; line 1 of the code is line `first_line` of the cell.
    """
    if not error.traceback:
        if error.exception == "SyntaxError":

            def in_cell_lines(match: re.Match[str]) -> str:
                return f"cell line {int(match[1]) + first_line - 1}"

            error.detail = re.sub(r"^code: line (\d+)(?=:)", in_cell_lines, error.detail)
        return plain(error, shell)

    def lines() -> list[str]:
        text = in_cell(error.traceback, cell, first_line)
        name = error.exception or error.title
        head = _red(name, shell) + f"{'Traceback (most recent call last)':>{max(WIDTH - len(name), 0)}}"
        body = text.removeprefix("Traceback (most recent call last):\n").rstrip("\n")
        return [_red("-" * WIDTH, shell), head, _coloured(body, shell), f"({where})"]

    return rendered(error, lines)


def local(error: E, trace: TracebackType | None, shell: Any) -> E:
    """Return the exception, shown from the adaptor's frames in `trace` on, where `%debug` begins."""
    if trace is None:
        return plain(error, shell)
    tb = shell.InteractiveTB

    def lines() -> list[str]:
        return list(tb.structured_traceback(type(error), error, trace, tb_offset=0))

    return rendered(error, lines)


def in_cell(text: str, cell: str, first_line: int = 1) -> str:
    """Return a traceback with the cell's lines around each frame of this cell."""
    source = cell.splitlines()

    def with_context(match: re.Match[str]) -> str:
        margin, number = match["margin"], int(match["line"])
        code = match["code"].removeprefix(margin).strip()
        if not 0 < number <= len(source) or source[number - 1].strip() != code:
            return match[0]
        head = f"Cell line {number + first_line - 1}, in {match['name']}"
        return "".join(f"{margin}  {line}\n" for line in (head, *_context(source, number, first_line)))

    return _FRAME.sub(with_context, text)


def _context(source: list[str], number: int, first_line: int) -> list[str]:
    numbers = range(max(number - CONTEXT_LINES, 1), min(number + CONTEXT_LINES, len(source)) + 1)
    return [
        f"{'---->' if at == number else '     '} {at + first_line - 1:>3} {source[at - 1]}".rstrip()
        for at in numbers
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
