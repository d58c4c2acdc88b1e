"""A call's fields to an HTTP request: a JSON body, or everything in the URL."""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from owt.client.options import Options
from owt.errors import CannotSend, shortened
from owt.server import Server, split_unix
from owt.wire.http import is_loopback

LONGEST_URL = 65_536
"""httpx takes no longer one. The server does."""
CONNECT = 5.0
"""Seconds that a connection may take. An answer may take as long as the call does."""

_SCALARS = frozenset({str, int, bool, type(None)})
_HINTS = {
    "bytes": "Send base64 text",
    "bytearray": "Send base64 text",
    "ndarray": "Send its .tolist()",
    "Tensor": "Send its .tolist()",
    "DataFrame": 'Send its .to_dict("records")',
    "Series": "Send its .tolist()",
    "set": "Send a list",
    "frozenset": "Send a list",
    "datetime": "Send its .isoformat()",
    "date": "Send its .isoformat()",
    "function": "Define it in the code that is sent",
}
_HINT = "Send what it is made of, or have it made there: with_options(kwargs='a Python expression')"


@dataclass(frozen=True)
class Address:
    """Where to call: `url` with its path and query, `server` without them, `auth` from the URL.

    Whether the path, or a part of it, is a server's base URL or all of it the adaptor's, an address does
    not say.
    """

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
        auth = None
        if parts.username is not None:
            auth = unquote(parts.username), unquote(parts.password or "")
        return cls(whole, Server(root, host.address, host.port), auth)

    @property
    def http(self) -> str:
        """`url` as an HTTP client is to ask it, over the `socket` if there is one."""
        return split_unix(self.url)[1]

    @property
    def path(self) -> str:
        """The path of `url`, without a slash at its end."""
        return urlsplit(self.url).path.rstrip("/")

    @property
    def socket(self) -> str | None:
        """The Unix socket to connect to, or None."""
        return split_unix(self.url)[0]

    @property
    def is_local(self) -> bool:
        """Whether it is this machine's loopback or Unix socket, which no proxy can reach."""
        return self.socket is not None or is_loopback(self.server.address)


@dataclass(frozen=True)
class Request:
    """An HTTP request that carries a call or comes back to one; its connection may take `connect` seconds."""

    method: str
    url: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    connect: float = CONNECT


def call_fields(code: str | None, kwargs: dict[str, Any], options: Options) -> dict[str, Any]:
    """The fields of a call. Raises `CannotSend` for what does not fit together or is no JSON."""
    said = options.as_fields()
    if code is None and "adaptor" not in said and not ("session" in said and "fn_name" in said):
        raise CannotSend("there is no code; give code, or an adaptor, or a session and a fn_name")
    if code is not None and "adaptor" in said:
        raise CannotSend(f"there is code and the adaptor {said['adaptor']!r}; give one of them")
    if kwargs and "kwargs" in said:
        raise CannotSend("there are keyword arguments and the option kwargs; give one of them")
    for name, value in said.items():
        _check(value, name)
    fields = {} if code is None else {"code": code}
    if kwargs:
        _check(kwargs, "")
        fields["kwargs"] = kwargs  # type: ignore[assignment]
    return fields | said


def post(address: Address, fields: dict[str, Any], accept: str) -> Request:
    """A POST with the fields as a JSON object. Raises `CannotSend`."""
    headers = {"Accept": _accept(accept), "Content-Type": "application/json"}
    return Request("POST", address.http, _utf8(_json(fields)), headers)


def get(address: Address, fields: dict[str, Any], accept: str) -> Request:
    """A GET with the fields in the URL. Raises `CannotSend`, also for a URL that is too long."""
    url = as_url(address, fields)
    if len(url) > LONGEST_URL:
        raise CannotSend(
            f"the URL of a GET would have {len(url)} characters, and {LONGEST_URL} is the most; send a POST"
        )
    return Request("GET", split_unix(url)[1], None, {"Accept": _accept(accept)})


def as_url(address: Address, fields: dict[str, Any]) -> str:
    """The URL that carries the call, also in a browser. Raises `CannotSend`."""
    pairs = {}
    for name, value in fields.items():
        match name:
            case "code" | "kwargs":
                text = _utf8(value if isinstance(value, str) else _json(value))
                pairs[f"{name}_b64"] = urlsafe_b64encode(text).rstrip(b"=").decode()
            case _:
                pairs[name] = "1" if value is True else str(value)
    return f"{address.url}{'&' if urlsplit(address.url).query else '?'}{urlencode(pairs)}"


def _accept(accept: str) -> str:
    # First, because the server asks whether JSON comes before text; no value has this type.
    return f"application/problem+json, {accept}"


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        place = text[max(error.start - 20, 0) : error.end + 20]
        raise CannotSend(
            f"the call has a character that UTF-8 does not hold, in {shortened(place)}"
        ) from None


def _check(value: Any, where: str) -> None:
    """Raise `CannotSend` unless JSON holds `value` and gives it back as it was, but tuples as lists."""
    match value:
        case _ if type(value) in _SCALARS:
            return
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise CannotSend(f"{where}: the names in a JSON object are str; got {shortened(key)}")
                _check(item, f"{where}[{key!r}]" if where else key)
        case list() | tuple():
            if not _SCALARS.issuperset(map(type, value)):
                for index, item in enumerate(value):
                    _check(item, f"{where}[{index}]")
        case float() if not math.isfinite(value):
            raise CannotSend(f"{where}: JSON has no {value}")
        case str() | int() | float():
            return
        case _:
            kinds = [each.__name__ for each in type(value).__mro__]
            hint = next((_HINTS[kind] for kind in kinds if kind in _HINTS), _HINT)
            raise CannotSend(f"{where}: JSON holds no {kinds[0]}; got {shortened(value)}. {hint}")
