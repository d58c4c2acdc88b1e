"""HTTP requests of calls: the fields in a JSON body, a form or the URL, and the Authorization header."""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from owt.client import parts
from owt.client.options import Options
from owt.client.parts import Part
from owt.errors import CannotSend, ConfigError, shortened
from owt.server import Server, split_unix
from owt.server.url import with_scheme
from owt.wire.http import is_loopback

MAX_URL = 65_536
"""Maximum length of a URL in httpx. The server accepts longer ones."""
CONNECT_TIMEOUT = 5.0
"""Seconds until an attempt to connect fails. A response has no limit of time."""

_SCALARS = frozenset({str, int, bool, type(None)})
_HINTS = {
    "bytes": "Send base64 text",
    "bytearray": "Send base64 text",
    "memoryview": "Send base64 text",
    "Image": "Send its PNG in base64",
    "_IOBase": "Send its content in base64",
    "ndarray": "Send its .tolist()",
    "generic": "Send its .item()",
    "Tensor": "Send its .tolist()",
    "DataFrame": 'Send its .to_dict("records")',
    "Series": "Send its .tolist()",
    "set": "Send a list",
    "frozenset": "Send a list",
    "datetime": "Send its .isoformat()",
    "date": "Send its .isoformat()",
    "time": "Send its .isoformat()",
    "timedelta": "Send its .total_seconds()",
    "Decimal": "Send its str() or float()",
    "Enum": "Send its .value",
    "PurePath": "Send its str()",
    "UUID": "Send its str()",
    "function": "Define it in the code that is sent",
}
_SENT_AS_PARTS = frozenset(
    {"bytes", "bytearray", "memoryview", "ndarray", "Tensor", "DataFrame", "Image", "_IOBase", "Path"}
)
_HINT = "Send its parts, or an expression that makes it there: with_options(kwargs='a Python expression')"


@dataclass(frozen=True)
class Address:
    """Address of a call: `url` with its path and query, `server` without them, `auth` from the URL.

    A part of the path, or none of it, may be the server's base URL; the rest is the adaptor's.
    """

    url: str
    server: Server
    auth: tuple[str, str] | None

    @classmethod
    def of(cls, url: str, source: str = "url") -> Address:
        """Return the address of a URL; `source` names the setting in errors. Raises `ConfigError`."""
        url = with_scheme(url)
        server = Server.from_url(url, source=source)
        parts = urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        root = urlunsplit((parts.scheme, netloc, "", "", ""))
        without_auth = urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
        auth = None
        if parts.username is not None:
            auth = unquote(parts.username), unquote(parts.password or "")
        return cls(without_auth, Server(root, server.address, server.port), auth)

    @property
    def http(self) -> str:
        """The URL for an HTTP client, over the `socket` if there is one."""
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
        """True for a loopback address or a Unix socket, which no proxy can reach."""
        return self.socket is not None or is_loopback(self.server.address)


@dataclass(frozen=True)
class Request:
    """HTTP request. `timeout` limits each step of it, in seconds; `connect_timeout` the connection.

    `body` is one that is sent as it comes (`owt.client.upload`), instead of `content`. `follows` is the
    id of the run whose response the request asks for, if it begins none.
    """

    method: str
    url: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    connect_timeout: float = CONNECT_TIMEOUT
    timeout: float | None = None
    body: Any = None
    follows: str | None = None

    @property
    def run(self) -> str | None:
        """The id of the run that the request chooses, or None."""
        return chosen_run(self.headers)


def chosen_run(headers: Mapping[str, str]) -> str | None:
    """Return the id of the run that the headers of a request choose, or None."""
    return next((value for name, value in headers.items() if name.lower() == "owt-run"), None)


def call_fields(
    code: str | None, kwargs: dict[str, Any], options: Options, *, has_path: bool = False
) -> dict[str, Any]:
    """Return the fields of a call. Raises `CannotSend` for values that exclude each other or are not JSON.

    With `has_path`, an endpoint can be called: code is not needed.
    """
    option_fields = options.as_fields()
    names_function = "adaptor" in option_fields or {"session", "fn_name"} <= option_fields.keys()
    if code is None and not names_function and not has_path:
        raise CannotSend(
            "there is no code; give code, or an adaptor, or a session and a fn_name, or the path of an "
            "endpoint in the URL"
        )
    if code is not None and "adaptor" in option_fields:
        raise CannotSend(f"there is code and the adaptor {option_fields['adaptor']!r}; give one of them")
    if kwargs and "kwargs" in option_fields:
        raise CannotSend("there are keyword arguments and the option kwargs; give one of them")
    for name, value in (*kwargs.items(), *option_fields.items()):
        try:
            _check(value, name)
        except RecursionError:
            raise CannotSend(f"{name}: contains itself, or has too many levels for JSON") from None
    fields = {} if code is None else {"code": code}
    if kwargs:
        fields["kwargs"] = kwargs  # type: ignore[assignment]
    return fields | option_fields


def post(
    address: Address,
    fields: dict[str, Any],
    accept: str,
    arguments: Mapping[str, Part] = MappingProxyType({}),
) -> Request:
    """Return a POST with the fields as a JSON object, or as a form if there are `arguments` that are parts.

    Raises `CannotSend`.
    """
    content_type, content = "application/json", _utf8(_json(fields))
    if arguments:
        texts = {name: _utf8(_text(value)) for name, value in fields.items()}
        content_type, content = parts.encode(texts, arguments)
    headers = {"Accept": _accept(accept), "Content-Type": content_type}
    return Request("POST", address.http, content, headers)


def upload(address: Address, fields: dict[str, Any], accept: str, body: Any) -> Request:
    """Return a POST of this body, which is sent as it comes, with the fields in the URL.

    Raises `CannotSend`, also for a URL that is too long.
    """
    url = as_url(address, fields)
    if len(url) > MAX_URL:
        raise CannotSend(
            f"the URL of the call would have {len(url)} characters, and the maximum is {MAX_URL}; make it "
            "shorter, or send data as bytes"
        )
    headers = {"Accept": _accept(accept), "Content-Type": "application/octet-stream"}
    return Request("POST", split_unix(url)[1], None, headers, body=body)


def get(address: Address, fields: dict[str, Any], accept: str) -> Request:
    """Return a GET with the fields in the URL. Raises `CannotSend`, also for a URL that is too long."""
    url = as_url(address, fields)
    if len(url) > MAX_URL:
        raise CannotSend(
            f"the URL of a GET would have {len(url)} characters, and the maximum is {MAX_URL}; send a POST"
        )
    return Request("GET", split_unix(url)[1], None, {"Accept": _accept(accept)})


def handshake(address: Address, fields: dict[str, Any], accept: str) -> Request:
    """Return the handshake of a WebSocket with the fields in the URL. Raises `CannotSend`."""
    url = split_unix(as_url(address, fields))[1]
    return Request("GET", url.replace("http", "ws", 1), headers={"Accept": _accept(accept)})


def as_url(address: Address, fields: dict[str, Any]) -> str:
    """Return the URL that makes the call, also in a browser. Raises `CannotSend`."""
    pairs = {}
    for name, value in fields.items():
        match name:
            case "code" | "kwargs":
                pairs[f"{name}_b64"] = urlsafe_b64encode(_utf8(_text(value))).rstrip(b"=").decode()
            case _:
                pairs[name] = _text(value)
    return f"{address.url}{'&' if urlsplit(address.url).query else '?'}{urlencode(pairs)}"


def item_text(item: Any) -> str:
    """Return a text, or another value as JSON, for a message to a call. Raises `CannotSend`."""
    try:
        _check(item, "the item")
    except RecursionError:
        raise CannotSend("the item contains itself, or has too many levels for JSON") from None
    text = item if isinstance(item, str) else _json(item)
    if not text.isascii():
        _utf8(text)
    return text


def credentials(auth: str) -> tuple[str, str]:
    """Split user and password; the password may contain colons. Raises `ConfigError` without the value."""
    user, colon, password = auth.partition(":")
    if not colon:
        raise ConfigError("auth: give user:password; the value has no colon")
    return user, password


def authorization(auth: tuple[str, str] | None, token: str | None) -> dict[str, str]:
    """Return the Authorization header (RFC 7617, RFC 6750). Raises `ConfigError` without the secret."""
    if auth is not None and token is not None:
        raise ConfigError("token: give auth or token, not both")
    if auth is not None:
        pair = ":".join(auth).encode("utf-8", "surrogateescape")
        return {"Authorization": f"Basic {b64encode(pair).decode()}"}
    if token is None:
        return {}
    if not re.fullmatch(r"[!-~]+", token):
        raise ConfigError("token: give letters, digits and signs without blanks")
    return {"Authorization": f"Bearer {token}"}


def _accept(accept: str) -> str:
    # First, because the server compares the places of JSON and text; no value has this type.
    return f"application/problem+json, {accept}"


def _text(value: Any) -> str:
    """Return a field as text, for a URL or a form."""
    if value is True:
        return "1"
    return value if isinstance(value, str) else _json(value)


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        context = text[max(error.start - 20, 0) : error.end + 20]
        raise CannotSend(
            f"the call has a character that UTF-8 cannot encode, in {shortened(context)}"
        ) from None


def _check(value: Any, where: str) -> None:
    """Raise `CannotSend` unless JSON preserves `value`, except that tuples become lists."""
    match value:
        case _ if type(value) in _SCALARS:
            return
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise CannotSend(f"{where}: the keys of a JSON object are str; got {shortened(key)}")
                _check(item, f"{where}[{key!r}]")
        case list() | tuple():
            if not _SCALARS.issuperset(map(type, value)):
                for index, item in enumerate(value):
                    _check(item, f"{where}[{index}]")
        case float() if not math.isfinite(value):
            raise CannotSend(f"{where}: JSON has no {value}")
        case str() | int() | float():
            return
        case _:
            kinds = [base.__name__ for base in type(value).__mro__]
            hint = next((_HINTS[kind] for kind in kinds if kind in _HINTS), _HINT)
            if not _SENT_AS_PARTS.isdisjoint(kinds):
                hint = f"{hint}, or the object itself as an argument of its own, by POST"
            raise CannotSend(f"{where}: JSON has no {kinds[0]}; got {shortened(value)}. {hint}")
