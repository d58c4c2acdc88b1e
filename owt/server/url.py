"""URLs of servers, also of those that listen on a Unix socket."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote_to_bytes

ADDRESS = "127.0.0.1"
"""Address that `owt serve` listens on by default."""
PORT = 9876
"""Port that `owt serve` listens on by default."""

_UNIX = "http+unix://"
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}(?=[/?#]|$)")


def base_url(address: str, port: int, *, scheme: str = "http") -> str:
    """Return the URL of `address` and `port`, without a slash at its end.

    An IPv6 address is put in brackets (RFC 3986, 3.2.2).
    """
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{port}"


def unix_url(path: str | os.PathLike[str]) -> str:
    """Return the URL of the server that listens on the Unix socket at `path`: `http+unix://%2Frun%2Fowt`."""
    return _UNIX + quote(os.path.abspath(os.fsencode(path)), safe="")


def with_scheme(url: str) -> str:
    """Return `url` with `http://` before it if it begins with a host and a port."""
    return f"http://{url}" if _HOST_AND_PORT.match(url) else url


def split_unix(url: str) -> tuple[str | None, str]:
    """Return the path of the Unix socket in a URL, or None, and the URL to request over that socket.

    `http+unix://%2Frun%2Fowt/a?b` gives `/run/owt` and `http://owt/a?b`.
    """
    if not url.startswith(_UNIX):
        return None, url
    authority = re.match("[^/?#]*", url[len(_UNIX) :])
    assert authority is not None
    path = os.fsdecode(unquote_to_bytes(authority[0].rpartition("@")[2]))
    return path, f"http://owt{url[len(_UNIX) + authority.end() :]}"
