"""Response tuples: a body with status and headers, `(body, status)`, `(body, headers)` or all three."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from owt.kernel.answer.json_encoding import loaded
from owt.wire.http import headers_problem, is_final_status

Headers = tuple[tuple[str, str], ...]


class ResponseTuple(NamedTuple):
    """Body with its status and headers. `status` is None if the tuple has none."""

    body: object
    status: int | None = None
    headers: Headers = ()


def parse_response_tuple(value: tuple[object, ...]) -> ResponseTuple | None:
    """Return `value` as a response tuple, or None if it is an ordinary tuple.

    A status is an int from 200 to 599; headers are a dict of str to str or int, a list of pairs of str, or
    werkzeug's Headers. Raises ValueError for a header that HTTP cannot carry.
    """
    if len(value) not in (2, 3):
        return None
    body, second, headers = value[0], value[1], value[-1]
    status = int(second) if is_final_status(second) else None
    if len(value) == 2 and status is not None:
        return ResponseTuple(body, status)
    # An empty list is a list. Other values may not be compared with one: arrays compare their items.
    if status is None and (len(value) == 3 or (type(headers) is list and not headers)):
        return None
    pairs = _pairs(headers)
    return None if pairs is None else ResponseTuple(body, status, validated(pairs))


def validated(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return `headers` without spaces around the values. Raises ValueError, naming the header or the limit,
    if an answer cannot have them."""
    valid = tuple((name, value.strip(" \t")) for name, value in headers)
    if (problem := headers_problem(valid)) is not None:
        raise ValueError(problem)
    return valid


def merged(old: Headers, new: Headers) -> Headers:
    """Return `old` without the headers that `new` names, in any spelling, then `new`."""
    if not old or not new:
        return new or old
    names = {name.lower() for name, _ in new}
    return (*(pair for pair in old if pair[0].lower() not in names), *new)


def header(headers: Headers, lowercase_name: str) -> str | None:
    """Return the value of the first header with this name, or None."""
    return next((value for name, value in headers if name.lower() == lowercase_name), None)


def _pairs(headers: object) -> list[tuple[str, str]] | None:
    """Return the pairs of `headers`, or None if it is something else."""
    if isinstance(headers, loaded("werkzeug.datastructures", "Headers")):
        return [(str(name), str(value)) for name, value in headers]
    if isinstance(headers, dict):
        valid = all(
            isinstance(name, str) and isinstance(value, (str, int)) and not isinstance(value, bool)
            for name, value in headers.items()
        )
        return [(name, str(value)) for name, value in headers.items()] if valid else None
    if isinstance(headers, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in headers):
        return headers if all(isinstance(text, str) for pair in headers for text in pair) else None
    return None
