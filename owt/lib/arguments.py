"""Checks of an adaptor's arguments, before any output is sent.

An argument may be the text of a query parameter or of a command line's option, so a number's text
counts as the number. Every function returns the value in its own type, or raises `ValueError` with
the argument's name, the accepted values, and the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from owt.errors import shortened


def text(name: str, value: Any) -> str:
    """Return a string that has more than white space."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: a string that is not empty; got {shortened(value)}")
    return value


def choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return one of the `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: {_listed(choices)}; got {shortened(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    """Return True or False, also for their names in any case."""
    named = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(named, bool):
        raise ValueError(f"{name}: true or false; got {shortened(value)}")
    return named


def number(name: str, value: Any, which: str, holds: Callable[[float], bool]) -> float:
    """Return a finite number for which `holds` is true; `which` describes those numbers."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result) or not holds(result):
        raise ValueError(f"{name}: a number {which}; got {shortened(value)}")
    return result


def whole(name: str, value: Any, which: str, holds: Callable[[int], bool]) -> int:
    """Return a whole number for which `holds` is true; `which` describes those numbers."""
    try:
        result = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    except ValueError:
        result = None
    if result is None or not holds(result):
        raise ValueError(f"{name}: a whole number {which}; got {shortened(value)}")
    return result


def _listed(choices: tuple[str, ...]) -> str:
    *first, last = (f'"{choice}"' for choice in choices)
    return f"{', '.join(first)} or {last}" if first else last
