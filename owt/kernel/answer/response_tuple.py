"""What an adaptor says around a body: `(body, status)`, `(body, headers)`, `(body, status, headers)`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from owt.errors import shortened
from owt.kernel.answer.json_encoding import loaded
from owt.wire.http import TOKEN, is_final_status

Headers = tuple[tuple[str, str], ...]

_NAME = re.compile(TOKEN)
# RFC 9110, 5.5; of obs-text, the characters of Latin-1.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class ResponseTuple(NamedTuple):
    """A body with the status and headers that it is to be sent with; None: nothing was said."""

    body: object
    status: int | None = None
    headers: Headers = ()


def opened(value: tuple[object, ...]) -> ResponseTuple | None:
    """The envelope that `value` is, or None if it is just a tuple.

    A status is an int from 200 to 599; headers are a dict of str to str or int, a list of pairs of
    str, or werkzeug's Headers. Raises ValueError for a header that HTTP cannot carry.
    """
    match value:
        case (body, int(status)) if is_final_status(status):
            return ResponseTuple(body, int(status))
        case (body, headers) if headers != [] and (pairs := _pairs(headers)) is not None:
            return ResponseTuple(body, None, checked(pairs))
        case (body, int(status), headers) if (
            is_final_status(status) and (pairs := _pairs(headers)) is not None
        ):
            return ResponseTuple(body, int(status), checked(pairs))
    return None


def checked(headers: Iterable[tuple[str, str]]) -> Headers:
    """`headers`, values stripped of spaces around them. Raises ValueError naming the bad one."""
    good = []
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"header {shortened(name)}: a header's name has only letters, digits and !#$%&'*+-.^_`|~"
            )
        if not _VALUE.fullmatch(value):
            raise ValueError(
                f"header {name}: a header's value has no line break, NUL or other control character, and no "
                f"character outside Latin-1; got {shortened(value)}. Percent-encode it"
            )
        good.append((name, value.strip(" \t")))
    return tuple(good)


def merged(old: Headers, new: Headers) -> Headers:
    """`old` without the headers that `new` names in any spelling, then `new`."""
    if not old or not new:
        return new or old
    names = {name.lower() for name, _ in new}
    return (*(pair for pair in old if pair[0].lower() not in names), *new)


def header(headers: Headers, wanted: str) -> str | None:
    """The value of the first header with the name `wanted`, given in lower case."""
    return next((value for name, value in headers if name.lower() == wanted), None)


def _pairs(headers: object) -> list[tuple[str, str]] | None:
    """The pairs of `headers`, or None if it is something else."""
    if isinstance(headers, loaded("werkzeug.datastructures", "Headers")):
        return [(str(name), str(value)) for name, value in headers]
    if isinstance(headers, dict):
        plain = all(
            isinstance(name, str) and isinstance(value, (str, int)) and not isinstance(value, bool)
            for name, value in headers.items()
        )
        return [(name, str(value)) for name, value in headers.items()] if plain else None
    if isinstance(headers, list):
        pairs = []
        for pair in headers:
            match pair:
                case (str(name), str(value)) if isinstance(pair, tuple):
                    pairs.append((name, value))
                case _:
                    return None
        return pairs
    return None
