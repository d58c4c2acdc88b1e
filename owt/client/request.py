"""A call's fields to an HTTP request: a JSON body, or everything in the URL."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from owt.client.options import Options
from owt.errors import CannotSend
from owt.server import Server

LONGEST_URL = 65_536
"""httpx takes no longer one. The server does."""

_SCALARS = frozenset({str, int, float, bool, type(None)})
_PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Address:
    """Where to call: `url` with its path and query, `server` without them, `auth` from the URL."""

    url: str
    server: Server
    auth: tuple[str, str] | None

    @classmethod
    def of(cls, url: str, source: str = "url") -> Address:
        """The address that a URL says; `source` names it in errors. Raises `ConfigError`."""
        host = Server.from_url(url, source=source)
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        root = urlunsplit((parts.scheme, place, "", "", ""))
        whole = urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))
        # httpx undoes the percent-encoding of what stands in a URL; here it is done by hand.
        auth = (parts.username or "", parts.password or "") if parts.username is not None else None
        return cls(whole, Server(root, host.address, host.port), auth)

    @property
    def is_local(self) -> bool:
        """Whether it is this machine's loopback, which no proxy can reach."""
        return self.server.address in ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Request:
    """An HTTP request that carries a call."""

    method: str
    url: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def call_fields(code: str | None, kwargs: dict[str, Any], options: Options) -> dict[str, Any]:
    """The fields of a call. Raises `CannotSend` for what does not fit together or is no JSON."""
    said = options.as_fields()
    if code is None and "adaptor" not in said and not ("session" in said and "fn_name" in said):
        raise CannotSend("there is no code; give code, or an adaptor, or a session and the fn_name of its function")
    if code is not None and "adaptor" in said:
        raise CannotSend(f"there is code and the adaptor {said['adaptor']!r}; give one of them")
    if kwargs and "kwargs" in said:
        raise CannotSend("there are keyword arguments and the option kwargs; give one of them")
    fields = {} if code is None else {"code": code}
    if kwargs:
        _check(kwargs, "")
        fields["kwargs"] = kwargs  # type: ignore[assignment]
    return fields | said


def post(address: Address, fields: dict[str, Any], accept: str) -> Request:
    """A POST with the fields as a JSON object. Raises `CannotSend`."""
    headers = {"Accept": f"{accept}, {_PROBLEM}", "Content-Type": "application/json"}
    return Request("POST", address.url, _json(fields), headers)


def get(address: Address, fields: dict[str, Any], accept: str) -> Request:
    """A GET with the fields in the URL. Raises `CannotSend`, also for a URL that is too long."""
    url = as_url(address, fields)
    if len(url) > LONGEST_URL:
        raise CannotSend(
            f"the URL of a GET would have {len(url)} characters, and {LONGEST_URL} is the most; send a POST"
        )
    return Request("GET", url, None, {"Accept": f"{accept}, {_PROBLEM}"})


def as_url(address: Address, fields: dict[str, Any]) -> str:
    """The URL that carries the call, also in a browser. Raises `CannotSend`."""
    pairs = {}
    for name, value in fields.items():
        match name:
            case "code" | "kwargs":
                text = value.encode() if isinstance(value, str) else _json(value)
                pairs[f"{name}_b64"] = urlsafe_b64encode(text).rstrip(b"=").decode()
            case _:
                pairs[name] = "1" if value is True else str(value)
    return f"{address.url}{'&' if urlsplit(address.url).query else '?'}{urlencode(pairs)}"


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _check(value: Any, where: str) -> None:
    """Raise `CannotSend` unless JSON holds `value` and gives it back as it was (tuples as lists)."""
    ...
