"""How deep the brackets of `kwargs` are nested, found without reading what they mean.

The text is JSON or a Python expression, and one rule serves both: brackets inside string literals and
comments do not count. A JSON string (RFC 8259, section 7) ends where Python's does (Language Reference,
"String and Bytes literals": also in a raw string, a quote after a backslash ends nothing), and JSON has
no comments. An f-string is a string here, whatever it evaluates.

This is what bounds the work before a kernel has the text; what nests without brackets, such as
`not not ...`, is refused there, by Python's own parser.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate

from owt.errors import BadRequest

# Each alternative takes what it began, to the end if need be, and gives nothing back: one pass is linear.
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
_PIECE = 1 << 16


def check(name: str, text: str, most: int) -> None:
    """Raises `BadRequest`, about the field `name`, when more than `most` brackets are open at once."""
    if _has_more(text, most) and is_deeper(text, most):
        problem = f"is nested too deeply: more than {most} brackets are open at once (--max-nesting)"
        raise BadRequest(name, problem, text)


def _has_more(text: str, most: int) -> bool:
    """Whether more than `most` brackets are opened at all. To look for the next one is much faster than to
    count them: nearly all large arguments are a few long strings."""
    found = 0
    for bracket in "([{":
        at = text.find(bracket)
        while at >= 0:
            found += 1
            if found > most:
                return True
            at = text.find(bracket, at + 1)
    return False


def is_deeper(text: str, most: int) -> bool:
    """Whether more than `most` brackets are open at once in `text`."""
    steps = array("b", _brackets(text).translate(_STEPS))
    level = 0
    for start in range(0, len(steps), _PIECE):
        levels = list(accumulate(steps[start : start + _PIECE], initial=level))
        if max(levels) > most:
            return True
        level = levels[-1]
    return False


def _brackets(text: str) -> bytes:
    """The brackets of `text` outside of string literals and comments."""
    data = text.encode("utf-8", "surrogatepass")
    if b'"""' not in data:
        # JSON, and more: what is not between double quotes. This way is ten times as fast, and right as
        # long as nothing outside of them can have begun a comment or a literal of another kind.
        marks = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_MARKS)
        outside = b"".join(marks.replace(b'""', b"").split(b'"')[::2])
        if b"'" not in outside and b"#" not in outside:
            return outside
    return _LITERAL.sub(b"", data).translate(None, _NO_BRACKETS)
