"""The line after `%%owt`: its words, and the adaptor's arguments among them.

    %%owt --session tour text="Hello, owt!" times=3 words=["a", "b"] table=$table n={len(rows) + 1}

A word ends at a blank outside of quotes and brackets. `name=value` is an argument: a Python literal, or
`$variable` or `{expression}`, which the notebook evaluates.
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
# Tokens of a line: a text with its quotes, a bracket, blanks, any other character.
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[\[({]|[\])}]|\s+|.""", re.DOTALL)
_HOW = 'a Python literal such as "text" or 3, $variable or {expression}'


def split_words(line: str) -> list[str]:
    """Return the words of a line, with their quotes and brackets."""
    words, word, depth = [], "", 0
    for token in _TOKEN.findall(line):
        if token.isspace() and not depth:
            words.append(word)
            word = ""
            continue
        depth += (token in "([{") - (token in ")]}" and depth > 0)
        word += token
    return [word for word in (*words, word) if word]


def unquoted(word: str) -> str:
    """Return an option or its value without the quotes around the value."""
    name, value = ("", word)
    if match := _OPTION.fullmatch(word):
        name, value = match.groups()
    return name + (value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value)


def is_argument(word: str) -> bool:
    """Return whether a word is `name=value`."""
    return _ARGUMENT.fullmatch(word) is not None


def evaluate(words: list[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in these words, evaluated in the notebook's namespace.

    Raises `CannotSend` for a word that is not an argument, and what an expression raises.
    """
    arguments: dict[str, Any] = {}
    for word in words:
        match = _ARGUMENT.fullmatch(word)
        if match is None:
            raise CannotSend(
                f"arguments are name=value, without blanks around the =; got {shortened(word)}. "
                "Options begin with --; %%owt? lists them"
            )
        name, text = match.groups()
        if name in arguments:
            raise CannotSend(f"{name}: there are two of them")
        arguments[name] = _value(name, text.removesuffix(","), namespace)
    return arguments


def _value(name: str, text: str, namespace: Mapping[str, Any]) -> Any:
    for expression in _expressions(text):
        try:
            return eval(compile(expression, f"<{name}>", "eval"), {**namespace})
        except NameError as error:
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename != f"<{name}>":
                # Code that the expression calls raised it.
                raise
            raise CannotSend(f"{name}: the notebook has no {error.name}; got {shortened(text)}") from None
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        hint = f"; for the text, write {name}={text!r}" if text.replace("-", "").isalnum() else ""
        raise CannotSend(f"{name}: give {_HOW}; got {shortened(text)}{hint}") from None


def _expressions(text: str) -> Iterator[ast.Expression]:
    """Yield the expression of a value, unless the value is a literal, such as a dict in braces."""
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
