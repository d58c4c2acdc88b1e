"""Rules for web pages that call the server, and for the host names of the server. Without I/O.

A browser sends requests on behalf of any page, so a page of another site could run code here through its
visitor. The checks, in this order:

- DNS rebinding, where a foreign name resolves to this server: the Host (RFC 9110, section 7.2) must be an IP
  address or a known name of this server. So must the connection's own Host where a proxy forwards another
  one: a browser on a trusted proxy's machine is not told apart from the proxy.
- Browsers state the relation between a page and its target in `Sec-Fetch-Site` (W3C Fetch Metadata, section
  2.4), also for links and images, which have no `Origin`.
- Without `Sec-Fetch-Site`, `Origin` (RFC 6454, section 7) must be the server's own origin.
- Programs send neither header. A GET from an old browser, or by plain HTTP to another machine, has neither
  header either: browsers send Fetch Metadata only to trustworthy URLs (section 3). Any page may have sent
  such a GET, so a request that looks like a browser's and has neither header is refused.

An address that was typed, a link in an email, and the target of a redirect from either all have
`Sec-Fetch-Site: none`; no rule can tell them apart.

An allowed origin may call like the server's own pages. Responses to it have the headers of the CORS protocol
(Fetch standard, section 3.3), and its preflight requests are answered.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from owt.errors import shortened
from owt.frontend.config.settings import Settings
from owt.frontend.problems import Headers, Problem
from owt.wire.http import TOKEN

OVERRULING = frozenset({"access-control-allow-origin", "access-control-allow-credentials"})
"""Headers that a response has at most once: for an allowed origin, the server's replace the adaptor's."""

EXPOSED = "Owt-Run, Owt-Session, Owt-Cache, Owt-Base, Owt-Value, Retry-After"
METHODS = "GET, POST, PUT, PATCH, DELETE"
MAX_AGE = "7200"
"""Time that a browser may cache the response to a preflight, in seconds; Chromium's maximum."""

MAX_HOST = 300
"""Maximum length of a Host header, in characters."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?::[0-9]{0,5})?")
_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?")
_NAMES = re.compile(rf"{TOKEN}(\s*,\s*{TOKEN})*")
# Hosts that a browser reads as an IP address or rejects: the last part is a number (WHATWG URL, section 3.5).
_LIKE_ADDRESS = re.compile(r"\[.*|(.*\.)?([0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True)
class Preflight:
    """The request is a permitted preflight (Fetch standard, section 4.8). The response is 204 with these
    headers."""

    headers: Headers


OriginDecision = Headers | Problem | Preflight
"""Headers of every response to the request if it may proceed, or the problem for which it is refused."""


class Origins:
    """Checks of a request's Host, Origin and Sec-Fetch-Site."""

    def __init__(self, settings: Settings) -> None:
        """The rules depend on `allow_host`, `allow_origin`, `address` and `unix_socket`.

        A Unix socket accepts any Host: only programs and proxies connect to it, and a proxy checks names
        itself.
        """
        self._any_host = settings.unix_socket is not None
        exact_names = [name for name in settings.allow_host if not name.startswith("*.")]
        self._names = {"localhost", settings.address.lower().rstrip("."), *exact_names}
        self._suffixes = (".localhost", *(name[1:] for name in settings.allow_host if name.startswith("*.")))
        self._origins = frozenset(settings.allow_origin)
        # In all responses, so that caches keep responses to different origins apart (Fetch, section 3.3.5).
        self._allowed: Headers = [("Vary", "Origin")] if self._origins else []

    def check(self, method: str, scheme: str, host: str | None, headers: Mapping[str, str]) -> OriginDecision:
        """Return the decision on a request.

        `scheme` and `host` (None if absent) are those of the URL that the client used, as a trusted proxy
        reports them. `headers` maps the usual spelling of header names to values.
        """
        if not self._any_host:
            own_host = headers["Host"] if "Host" in headers else host  # noqa: SIM401
            for name in (host,) if own_host == host else (host, own_host):
                if name is not None and (problem := self._host_problem(name)) is not None:
                    return problem
        site, origin = _value(headers, "Sec-Fetch-Site"), _value(headers, "Origin")
        if site == "same-origin" or site == "none":
            return self._allowed
        if origin is None:
            if site is not None:
                return _other_origin(f"Sec-Fetch-Site: {site[:40]}")
            if _is_browser(headers) and (own := _normal(f"{scheme}://{host or ''}")) not in self._origins:
                return _unknown_origin(own)
            return self._allowed
        normal_origin = _normal(origin)
        if normal_origin in self._origins and site in (None, "same-site", "cross-site"):
            return self._allow(method, origin, headers)
        if site is None:
            own = _normal(f"{scheme}://{host or ''}")
            if normal_origin == own and host:
                return self._allowed
            return _other_origin(f"Origin: {origin[:80]}; the server's origin is {own[:80]}", origin)
        return _other_origin(f"Sec-Fetch-Site: {site[:40]}", origin)

    def _host_problem(self, host: str) -> Problem | None:
        match = _HOST.fullmatch(host) if len(host) <= MAX_HOST else None
        name = match[1].lower().removesuffix(".") if match else ""
        if name and (name in self._names or name.endswith(self._suffixes) or _is_address(name)):
            return None
        if not name or _LIKE_ADDRESS.fullmatch(name):
            reason = (
                "it must be a name or an IP address such as 127.0.0.1 or [::1], with or without a port "
                "(--allow-host adds names to localhost)"
            )
        else:
            reason = (
                "this is not a known name of this server, so it may be a name of another site that resolves "
                "to this address. Use the IP address or localhost; if the name is right, or a proxy's name "
                "for this server, start owt with "
                f"--allow-host {shortened(name)[1:-1]}"
            )
        detail = f"the Host header is {shortened(host)}; {reason}"
        return Problem("urn:owt:unknown-host", "unknown host", 403, detail)

    def _allow(self, method: str, origin: str, headers: Mapping[str, str]) -> OriginDecision:
        cors = [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ]
        if method != "OPTIONS" or headers.get("Access-Control-Request-Method") is None:
            return [*cors, ("Access-Control-Expose-Headers", EXPOSED)]
        cors += [("Access-Control-Allow-Methods", METHODS), ("Access-Control-Max-Age", MAX_AGE)]
        # "*" covers neither requests with credentials nor, in any case, Authorization.
        if _NAMES.fullmatch(names := headers.get("Access-Control-Request-Headers", "")):
            cors.append(("Access-Control-Allow-Headers", names))
        # Chromium sends this before a request from the internet to a private network.
        if headers.get("Access-Control-Request-Private-Network") == "true":
            cors.append(("Access-Control-Allow-Private-Network", "true"))
        return Preflight(cors)


def _other_origin(reason: str, origin: str | None = None) -> Problem:
    """Return the problem of a request from a page of another origin."""
    if origin is None:
        # Links, images, scripts, frames: pages of allowed origins cannot call in these ways either.
        hint = (
            "To call by hand, enter the address in the browser's address bar; to call from a page, use fetch "
            "or EventSource, and start owt with --allow-origin and the page's origin"
        )
    elif _ORIGIN.fullmatch(origin):
        hint = f"If that page may run code here, start owt with --allow-origin {origin[:80]}"
    else:
        hint = (
            "--allow-origin accepts origins of pages loaded by http or https; a local file and a sandboxed "
            "frame have none"
        )
    return Problem(
        "urn:owt:other-origin", "request from another origin", 403,
        f"a page of another origin sent this request ({reason}) and may not run code here. {hint}",
    )


def _unknown_origin(own: str) -> Problem:
    """Return the problem of a request from a browser that does not state the page's origin."""
    return Problem(
        "urn:owt:other-origin", "request of unknown origin", 403,
        "the browser does not state which page sent this request, so any page may have sent it. Current "
        "browsers state it for https addresses and for localhost: use --certfile, or a tunnel "
        "(ssh -L 9876:localhost:9876). If no page in this browser can do harm, start owt with "
        f"--allow-origin {own[:80]}",
    )


def _value(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header, or None. For one that is absent, Tornado's `get` takes three times as long."""
    return headers[name] if name in headers else None  # noqa: SIM401


def is_browser(headers: Mapping[str, str]) -> bool:
    """Return whether a browser sent these headers, or a program with the fetch of browsers, such as Node."""
    return "Sec-Fetch-Mode" in headers or _is_browser(headers)


def _is_browser(headers: Mapping[str, str]) -> bool:
    """Return whether the headers are a browser's: pages cannot remove either of the two. Some programs,
    such as PowerShell, call themselves Mozilla too, but hardly any sends a language."""
    agent = _value(headers, "User-Agent")
    return agent is not None and agent.startswith("Mozilla/") and headers.get("Accept-Language") is not None


def _normal(origin: str) -> str:
    """Return an origin in lower case, without its scheme's default port (RFC 6454, section 6.2)."""
    origin = origin.lower()
    return origin.removesuffix(":").removesuffix(":443" if origin.startswith("https:") else ":80")


@lru_cache(maxsize=64)
def _is_address(name: str) -> bool:
    """Return whether `name`, of a Host, is an IP address in a browser's notation (WHATWG URL, section 3.5).

    Browsers convert other notations of an IPv4 address (127.1, 0x7f.0.0.1) to the usual one.
    """
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
