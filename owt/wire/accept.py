"""Accept header (RFC 9110, 12.5.1), as the frontend and the kernel read it."""

from __future__ import annotations

import re
from functools import lru_cache

from owt.errors import BadRequest

PROBLEM = "application/problem+json"
"""Media type of a problem document (RFC 9457)."""

MAX_LENGTH = 1000
"""Maximum length of the field `display`, in characters."""

_TOKEN = r"[\w!#$%&'*+.^`|~-]+"
_RANGE = re.compile(rf"{_TOKEN}/{_TOKEN}(\s*;\s*{_TOKEN}=[^;,]+)*", re.ASCII)
_QUALITY = re.compile(r"[01](\.[0-9]*)?|\.[0-9]+")


@lru_cache(maxsize=64)
def media_ranges(accept: str) -> tuple[tuple[str, float], ...]:
    """Return the media ranges of `accept`, in lower case and without parameters, with their quality.

    The best comes first; ranges of equal quality keep their order. Quality 0 means "not acceptable". `*`
    stands for `*/*`. A quality that cannot be read counts as 1, so that no header makes a request fail.
    """
    ranges = []
    for item in accept.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if "/" in name or name == "*":
            ranges.append(("*/*" if name == "*" else name, _quality(parameters)))
    # Sorting is stable: the client's order decides between equals.
    ranges.sort(key=lambda pair: -pair[1])
    return tuple(ranges)


def checked_ranges(text: str, field: str = "display") -> str:
    """Return media ranges in the form of an Accept header. Raises `BadRequest`.

    A URL turns the `+` of `image/svg+xml` into a blank, which no media type has.
    """
    ranges = [re.sub(r"^([^;]*\S) (?=[^;\s])", r"\1+", item.strip()) for item in text[:MAX_LENGTH].split(",")]
    if len(text) > MAX_LENGTH or not all(_RANGE.fullmatch(item) for item in ranges):
        rule = "must be media types such as image/png, image/* or 'text/html, text/csv;q=0.5'"
        raise BadRequest(field, rule, text)
    return ", ".join(ranges)


def names(accept: str, media_type: str) -> bool:
    """Return True if `accept` names exactly this media type, rather than a wildcard that covers it."""
    return accept == media_type or (
        media_type in accept.lower()
        and any(name == media_type and quality for name, quality in media_ranges(accept))
    )


def ranks_first(accept: str, media_type: str) -> bool:
    """Return True if no other media range comes before this media type, by quality and then by order.

    The type of problem documents does not count, as no value has it.
    """
    return accept == media_type or media_type == next(
        (name for name, _ in media_ranges(accept) if name != PROBLEM), None
    )


def prefers_json(accept: str, *, by_default: bool = False, problem: bool = True) -> bool:
    """Return True if `accept` ranks JSON before text and HTML, or, with `by_default`, not after them.

    The type of problem documents counts only for a `problem`.
    """
    if accept == "*/*" or not (by_default or "application/" in accept.lower()):
        return by_default
    ranges = media_ranges(accept)
    for name, quality in ranges:
        if name == PROBLEM and not problem:
            continue
        if not quality or name in ("text/plain", "text/html", "text/*"):
            return False
        if name in ("application/json", PROBLEM, "application/*"):
            return True
        if name == "*/*":
            return by_default and ("application/json", 0.0) not in ranges
    return by_default


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q" and _QUALITY.fullmatch(value.strip()):
            return min(float(value), 1.0)
    return 1.0
