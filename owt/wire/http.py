"""HTTP rules that several processes apply: statuses, headers, loopback addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from owt.errors import shortened

if TYPE_CHECKING:
    from typing import TypeGuard

BODILESS = (204, 304)
"""Statuses of responses that have no body (RFC 9110, 15.3.5 and 15.4.5)."""

MAX_HEADERS = 500
MAX_HEADERS_SIZE = 64 * 1024
"""Maximum number of headers of an adaptor's answer, and their size in bytes, names and values together.

Each header costs the server some microseconds at the start of an answer, while other calls wait, and common
clients read no more bytes."""

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""Pattern of a token, such as a header's name (RFC 9110, 5.6.2)."""

_NAME = re.compile(TOKEN)
# Of obs-text, the characters of Latin-1.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def is_final_status(status: object) -> TypeGuard[int]:
    """Return whether `status` can be the status of a final response: an int from 200 to 599, not a bool."""
    kind = type(status)
    # `isinstance` would ask the object for its class, and mocks say that they are integers.
    return issubclass(kind, int) and kind is not bool and 200 <= status <= 599  # type: ignore[operator]


def headers_problem(headers: Sequence[tuple[str, str]], *, added: int = 0) -> str | None:
    """Return why an answer cannot have these headers, or None if it can.

    Up to `added` short ones may be the kernel's, such as a Content-Type.
    """
    if len(headers) > MAX_HEADERS + added:
        return f"an answer has at most {MAX_HEADERS} headers; got {len(headers)}"
    size = sum(len(name) + len(value) for name, value in headers)
    if size > MAX_HEADERS_SIZE + 100 * added:
        largest = max(headers, key=lambda pair: len(pair[0]) + len(pair[1]))[0]
        return (
            f"the headers of an answer have at most {MAX_HEADERS_SIZE} characters; got {size}, most of them "
            f"in {shortened(largest)}"
        )
    return next((problem for pair in headers if (problem := header_problem(*pair)) is not None), None)


def header_problem(name: str, value: str) -> str | None:
    """Return why HTTP cannot carry this header, or None if it can (RFC 9110, 5.1 and 5.5)."""
    if not _NAME.fullmatch(name):
        return f"header {shortened(name)}: a header's name has only letters, digits and !#$%&'*+-.^_`|~"
    if not _VALUE.fullmatch(value):
        return (
            f"header {name}: a header's value has no line break, NUL or other control character, and no "
            f"character outside Latin-1; got {shortened(value)}. Percent-encode it"
        )
    return None


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach `address`: a loopback IP address, or `localhost`.

    Of names, `localhost` and names that end in `.localhost` count (RFC 6761, 6.3); none is looked up. For
    addresses see RFC 1122, 3.2.1.3, and RFC 4291, 2.5.3.
    """
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        name = address.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
