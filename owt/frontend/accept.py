"""The Accept header (RFC 9110, section 12.5.1): which media ranges a client takes, best first."""

from __future__ import annotations

import re

_WEIGHT = re.compile(r"[01](\.[0-9]*)?")


def ranges(accept: str) -> list[str]:
    """The media ranges of `accept` in lower case and without parameters, best first.

    Ranges of equal weight keep their order; those of weight 0 are left out. A weight that cannot
    be read counts as 1, so that no header makes a request fail.
    """
    weighted = []
    for item in accept.lower().split(","):
        media, *parameters = item.split(";")
        if "/" not in media:
            continue
        weight = _weight(parameters)
        if weight > 0:
            weighted.append((-weight, media.strip()))
    # Only by weight: sorting is stable, and the client's order decides between equals.
    weighted.sort(key=lambda pair: pair[0])
    return [media for _, media in weighted]


def lists(accept: str, media: str) -> bool:
    """Whether `accept` names exactly `media`, not only a wildcard that would cover it."""
    return accept == media or (media in accept.lower() and media in ranges(accept))


def prefers_json(accept: str) -> bool:
    """Whether an error for this client is JSON: it ranks JSON before text, HTML and `*/*`."""
    if "application/" not in accept.lower():
        return False
    for media in ranges(accept):
        if media in ("application/json", "application/problem+json", "application/*"):
            return True
        if media in ("text/plain", "text/html", "text/*", "*/*"):
            return False
    return False


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q" and _WEIGHT.fullmatch(value.strip()):
            return min(float(value), 1.0)
    return 1.0
