"""What an adaptor's arguments may be, checked before anything is sent.

An argument may have come as the text of a query parameter or of a command line's option, so a
number's text counts as the number. Every function gives the value in its own type, or raises
`ValueError` that names the argument, says what it takes, and shows what came.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from owt.errors import shortened


def text(name: str, value: Any) -> str:
    """A string in which there is something other than white space."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: a string that is not empty; got {shortened(value)}")
    return value


def choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of the `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: {_listed(choices)}; got {shortened(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False, or their names in any case."""
    named = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(named, bool):
        raise ValueError(f"{name}: true or false; got {shortened(value)}")
    return named


def number(name: str, value: Any, which: str, holds: Callable[[float], bool]) -> float:
    """A finite number for which `holds` is true; `which` says for which ones that is."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or not holds(found):
        raise ValueError(f"{name}: a number {which}; got {shortened(value)}")
    return found


def whole(name: str, value: Any, which: str, holds: Callable[[int], bool]) -> int:
    """A whole number for which `holds` is true; `which` says for which ones that is."""
    try:
        found = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        found = None
    if found is None or not holds(found):
        raise ValueError(f"{name}: a whole number {which}; got {shortened(value)}")
    return found


def _listed(choices: tuple[str, ...]) -> str:
    *most, last = (f'"{choice}"' for choice in choices)
    return f"{', '.join(most)} or {last}" if most else last
