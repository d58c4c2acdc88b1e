"""Nesting depth of `kwargs`, measured without parsing them (`--max-nesting`).

The text is JSON or a Python expression. One rule serves both: brackets in string literals and comments do not
count. A JSON string (RFC 8259, section 7) ends where Python's does (Language Reference, "String and Bytes
literals"), and JSON has no comments. An f-string counts as a string.

The limit bounds the work of evaluating. The kernel refuses what nests without brackets (`not not ...`).
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate

from owt.errors import BadRequest

# Possessive quantifiers keep the match linear. An unterminated literal extends to the end.
_LITERAL = re.compile(
    rb'''"""(?:[^"\\]++|\\.|"(?!""))*+(?:""")?'''
    rb"""|'''(?:[^'\\]++|\\.|'(?!''))*+(?:''')?"""
    rb'''|"(?:[^"\\\n]++|\\.)*+"?'''
    rb"""|'(?:[^'\\\n]++|\\.)*+'?"""
    rb"|\#[^\n]*+",
    re.DOTALL,
)
_BRACKETS = b"([{)]}"
# As signed bytes: +1 and -1.
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\x01\x01\xff\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_NO_MARKS = bytes(set(range(256)) - set(_BRACKETS + b"\"'#"))
_SLICE = 1 << 16


def check(name: str, text: str, max_depth: int) -> None:
    """Raise `BadRequest`, about the field `name`, if more than `max_depth` brackets are open at once."""
    if len(text) > max_depth and _has_more(text, max_depth) and is_deeper(text, max_depth):
        problem = f"is nested too deeply: more than {max_depth} brackets are open at once (--max-nesting)"
        raise BadRequest(name, problem, text)


def _has_more(text: str, count: int) -> bool:
    """Return True if `text` has more than `count` opening brackets.

    Large arguments are mostly a few long strings. To find their brackets one by one takes a twentieth of the
    time of counting them.
    """
    seen = 0
    for bracket in "([{":
        index = text.find(bracket)
        while index >= 0:
            seen += 1
            if seen > count:
                return True
            index = text.find(bracket, index + 1)
    return False


def is_deeper(text: str, max_depth: int) -> bool:
    """Return True if more than `max_depth` brackets are open at once in `text`."""
    steps = array("b", _brackets(text).translate(_STEPS))
    level = 0
    for start in range(0, len(steps), _SLICE):
        levels = list(accumulate(steps[start : start + _SLICE], initial=level))
        if max(levels) > max_depth:
            return True
        level = levels[-1]
    return False


def _brackets(text: str) -> bytes:
    """Return the brackets of `text` outside of string literals and comments."""
    data = text.encode("utf-8", "surrogatepass")
    if b'"""' not in data:
        # Ten times as fast as the regular expression, and right for JSON: what lies between double quotes is
        # a string, if nothing outside of them can have begun a comment or a literal of another kind.
        marks = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_MARKS)
        outside = b"".join(marks.replace(b'""', b"").split(b'"')[::2])
        if b"'" not in outside and b"#" not in outside:
            return outside
    return _LITERAL.sub(b"", data).translate(None, _NO_BRACKETS)
