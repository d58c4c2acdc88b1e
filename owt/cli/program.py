"""What `owt call` sends, of what its command line says: the code, and the arguments' values."""

from __future__ import annotations

import ast
import json
import keyword
import os
import sys
import tokenize
import warnings
from typing import Any

from owt.errors import CannotSend, shortened


def program(code: str | None, file: str | None, run: str | None, fn_name: str | None = None) -> str | None:
    """The code of `--code`, `--file` and `--run`; None if there is none.

    An expression alone is the code: the server calls its value, or answers it if it cannot be called.
    After other code it becomes the value of `fn_name`, which that code can then do without. It is
    put into parentheses, so that it may have several lines. Raises `CannotSend`.
    """
    if code and file:
        raise CannotSend("give --code or --file, not both")
    text = _read(file) if file else code
    if not run:
        return text or None
    if not text:
        return run
    name = fn_name or "run"
    if not name.isidentifier() or keyword.iskeyword(name):
        raise CannotSend(f"--fn-name: give a Python identifier; got {shortened(name)}")
    return f"{text}\n{name} = (\n{run}\n)\n"


def argument(text: str) -> Any:
    """The value of an argument that is written as `text`.

    JSON first, then a Python literal that is a str, a number, True, False, None, a list or a dict;
    anything else is itself: `3` is a number, `owt` and `a, b` are text, and so is `"3"`, as `3`.
    """
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings(action="ignore"):
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if value is None or isinstance(value, str | int | float | list | dict) else text


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _read(file: str) -> str:
    """A Python file's text, in the encoding that it says itself (PEP 263)."""
    try:
        if file == "-":
            return sys.stdin.read()
        with tokenize.open(os.fspath(file)) as opened:
            return opened.read()
    except OSError as error:
        raise CannotSend(f"--file: {file} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise CannotSend(f"--file: {file} is not text of its encoding: {error}") from None
