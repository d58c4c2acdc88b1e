"""HTTP rules that several processes apply: statuses, headers, loopback addresses."""

from __future__ import annotations

import ipaddress
import re
from typing import TypeGuard

from owt.errors import shortened

BODILESS = (204, 304)
"""Statuses of responses that have no body (RFC 9110, 15.3.5 and 15.4.5)."""

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
