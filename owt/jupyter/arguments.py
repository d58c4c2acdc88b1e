"""The line after `%%owt`: its words, and the arguments among them.

    %%owt --session tour text="Hello, owt!" times=3 words=["a", "b"] table=$table n={len(rows) + 1}

A word ends at a blank that is in no quotes and no brackets. `name=value` is an argument: a Python literal, or
`$variable` or `{expression}`, whose value in the notebook is meant.
"""

from __future__ import annotations

import ast
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from owt.errors import CannotSend, shortened

_ARGUMENT = re.compile(r"([^\W\d]\w*)=(.*)", re.DOTALL)
_OPTION = re.compile(r"(--[\w-]+=)(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$[^\W\d]\w*")
# The pieces of a line that matter: a quoted text with its quotes, brackets, blanks; anything else.
_PIECE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[\[({]|[\])}]|\s+|.""", re.DOTALL)
_HOW = 'a Python literal such as "text" or 3, $variable or {expression}'


def split(line: str) -> list[str]:
    """The words of a line, quotes and brackets still in them."""
    words, word, depth = [], "", 0
    for piece in _PIECE.findall(line):
        if piece.isspace() and not depth:
            words.append(word)
            word = ""
            continue
        depth += (piece in "([{") - (piece in ")]}" and depth > 0)
        word += piece
    return [each for each in (*words, word) if each]


def unquoted(word: str) -> str:
    """A word that is an option or its value, without the quotes around the value."""
    name, value = ("", word)
    if found := _OPTION.fullmatch(word):
        name, value = found.groups()
    return name + (value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value)


def is_argument(word: str) -> bool:
    """Whether a word is `name=value`."""
    return _ARGUMENT.fullmatch(word) is not None


def arguments(words: list[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that these words are, with their values in the notebook's namespace.

    Raises `CannotSend` for a word that is none, and whatever an expression raises.
    """
    given: dict[str, Any] = {}
    for word in words:
        found = _ARGUMENT.fullmatch(word)
        if found is None:
            raise CannotSend(
                f"arguments are name=value, without blanks around the =; got {shortened(word)}. "
                "Options begin with --; %%owt? lists them"
            )
        name, text = found.groups()
        if name in given:
            raise CannotSend(f"{name}: there are two of them")
        given[name] = _value(name, text.removesuffix(","), namespace)
    return given


def _value(name: str, text: str, namespace: Mapping[str, Any]) -> Any:
    for expression in _expressions(text):
        try:
            # A name that is not there is told of here; what the expression raises is its own affair.
            return eval(compile(expression, f"<{name}>", "eval"), {**namespace})
        except NameError as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename != f"<{name}>":
                raise
            raise CannotSend(f"{name}: the notebook has no {error.name}; got {shortened(text)}") from None
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        hint = f"; for the text, write {name}={text!r}" if text.replace("-", "").isalnum() else ""
        raise CannotSend(f"{name}: give {_HOW}; got {shortened(text)}{hint}") from None


def _expressions(text: str) -> Iterator[ast.Expression]:
    """The expression that a value stands for, if it does: a dict in braces is a literal."""
    inner = None
    if _VARIABLE.fullmatch(text):
        inner = text[1:]
    elif text.startswith("{") and text.endswith("}") and text != "{}":
        inner = text[1:-1].strip()
    if inner is not None:
        try:
            yield ast.parse(inner, mode="eval")
        except SyntaxError:
            return
