"""Which web pages may call, and by which names the server may be called. Pure rules.

A browser sends what any page tells it to, so a page from elsewhere could run code here through its visitor.
What stands against that, in this order:

- DNS rebinding, a page's own name made to point here: the Host (RFC 9110, section 7.2) must be a name that
  is known to be the server's, or an IP address.
- Browsers say how a page is related to what it asks for, in `Sec-Fetch-Site` (W3C Fetch Metadata, section
  2.4), also for links and images, which carry no `Origin`.
- Where that is missing, `Origin` (RFC 6454, section 7) must be the server's own.
- Both are missing in what programs send, but also in a GET of a browser that is old, or that was sent by
  plain HTTP to another machine: browsers tell only trustworthy URLs (Fetch Metadata, section 3). A page
  elsewhere may have sent it then, so a browser that says nothing is refused.

What nobody can tell is whether an address was typed, or clicked in a mail, or is where such an address
redirected to: all of them are `none`.

An origin that is allowed may call as if it were the server's own. For its pages, answers carry the headers
of the CORS protocol (Fetch standard, section 3.3), and its preflights are answered.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from owt.errors import shortened
from owt.frontend.config.access import Access
from owt.frontend.problems import Headers, Problem
from owt.wire.http import TOKEN

OVERRULING = frozenset({"access-control-allow-origin", "access-control-allow-credentials"})
"""Headers of which an answer has one or none: an allowed origin gets ours, not the adaptor's."""

EXPOSED = "Owt-Run, Owt-Session, Owt-Cache, Owt-Base, Retry-After"
METHODS = "GET, POST, PUT, PATCH, DELETE"
MAX_AGE = "7200"
"""Seconds that a browser may remember the answer to a preflight; Chromium takes no more."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)(?::[0-9]{0,5})?")
_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?")
_NAMES = re.compile(rf"{TOKEN}(\s*,\s*{TOKEN})*")
_LONGEST_HOST = 300
# What a browser reads as an address, or not at all: its last part is a number (WHATWG URL, section 3.5).
_LIKE_ADDRESS = re.compile(r"\[.*|(.*\.)?([0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True)
class Admitted:
    """The request may go on; its answer gets these headers, whatever it will be."""

    headers: Headers


@dataclass(frozen=True)
class Refused:
    """The request is answered with this."""

    problem: Problem


@dataclass(frozen=True)
class Preflight:
    """The request asks whether another may come (Fetch standard, section 4.8): it may. Status 204."""

    headers: Headers


OriginDecision = Admitted | Refused | Preflight


class Origins:
    """Judges requests by where they come from."""

    def __init__(self, access: Access) -> None:
        """Of the settings it uses `allow_host`, `allow_origin`, `address` and `unix_socket`.

        Nothing that has a Host of its own reaches a Unix socket but programs, and proxies whose matter
        that name is, so there any will do.
        """
        self._any_host = access.unix_socket is not None
        exact = [name for name in access.allow_host if not name.startswith("*.")]
        self._names = {"localhost", access.address.lower().rstrip("."), *exact}
        self._below = (".localhost", *(name[1:] for name in access.allow_host if name.startswith("*.")))
        self._origins = frozenset(access.allow_origin)
        # A cache must not give the answer for one origin to another (Fetch standard, section 3.3.5), so
        # this is in all answers.
        vary = [("Vary", "Origin")] if self._origins else []
        self._admitted = Admitted(vary)

    def judge(self, method: str, scheme: str, host: str | None, headers: Mapping[str, str]) -> OriginDecision:
        """What becomes of a request.

        `scheme` and `host` (None: the request has none) are those of the URL that the client used, and
        `headers` gives the values of the request's headers by their usual spelling.
        """
        if not self._any_host and host is not None and (problem := self._judge_host(host)) is not None:
            return Refused(problem)
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        if site == "same-origin" or site == "none":
            return self._admitted
        if origin is None:
            if site is not None:
                return Refused(_foreign(f"Sec-Fetch-Site: {site[:40]}"))
            if _is_browser(headers) and (own := _normal(f"{scheme}://{host or ''}")) not in self._origins:
                return Refused(_silent(own))
            return self._admitted
        known = _normal(origin)
        if known in self._origins and site in (None, "same-site", "cross-site"):
            return self._allowed(method, origin, headers)
        if site is None:
            own = _normal(f"{scheme}://{host or ''}")
            if known == own and host:
                return self._admitted
            return Refused(_foreign(f"Origin: {origin[:80]}, here is {own[:80]}", origin))
        return Refused(_foreign(f"Sec-Fetch-Site: {site[:40]}", origin))

    def _judge_host(self, host: str) -> Problem | None:
        found = _HOST.fullmatch(host) if len(host) <= _LONGEST_HOST else None
        name = found[1].lower().removesuffix(".") if found else ""
        if name and (name in self._names or name.endswith(self._below) or _is_address(name)):
            return None
        if not name or _LIKE_ADDRESS.fullmatch(name):
            why = (
                "it must be a name or an IP address such as 127.0.0.1 or [::1], with or without a port "
                "(names other than localhost are given by --allow-host)"
            )
        else:
            why = (
                "a name that this server does not know as its own, so it could be that of a site which only "
                "points here. Use the IP address or localhost; if the name is right, start owt with "
                f"--allow-host {shortened(name)[1:-1]}"
            )
        problem = f"the Host header is {shortened(host)}; {why}"
        return Problem("urn:owt:unknown-host", "unknown host", 403, problem)

    def _allowed(self, method: str, origin: str, headers: Mapping[str, str]) -> OriginDecision:
        cors = [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ]
        if method != "OPTIONS" or headers.get("Access-Control-Request-Method") is None:
            return Admitted([*cors, ("Access-Control-Expose-Headers", EXPOSED)])
        cors += [("Access-Control-Allow-Methods", METHODS), ("Access-Control-Max-Age", MAX_AGE)]
        # "*" would not stand for all of them, since credentials are allowed, and never for Authorization.
        if _NAMES.fullmatch(asked := headers.get("Access-Control-Request-Headers", "")):
            cors.append(("Access-Control-Allow-Headers", asked))
        # Chromium asked this before it went from the internet to a private network.
        if headers.get("Access-Control-Request-Private-Network") == "true":
            cors.append(("Access-Control-Allow-Private-Network", "true"))
        return Preflight(cors)


def _foreign(why: str, origin: str | None = None) -> Problem:
    """The refusal for a page from elsewhere."""
    if origin is None:
        # Links, images, scripts, frames: a page of an allowed origin cannot call like this either.
        hint = (
            "To call by hand, put the address into the browser's address bar; to call from a page, use fetch "
            "or EventSource, and start owt with --allow-origin and the page's origin"
        )
    elif _ORIGIN.fullmatch(origin):
        hint = f"If that page may run code here, start owt with --allow-origin {origin[:80]}"
    else:
        hint = (
            "--allow-origin takes the origins of pages that come by http or https; a file or a frame in a "
            "sandbox has none"
        )
    return Problem(
        "urn:owt:other-origin", "request from another origin", 403,
        f"a page from elsewhere sent this request ({why}), and may not run code here. {hint}",
    )


def _silent(own: str) -> Problem:
    """The refusal for a browser that does not say where a request comes from."""
    return Problem(
        "urn:owt:other-origin", "request of unknown origin", 403,
        "this browser does not say which page sent the request, so any page may have. Browsers of today say "
        "so at https addresses and at localhost: use --certfile, or a tunnel (ssh -L 9876:localhost:9876). "
        f"If no page in this browser can do harm, start owt with --allow-origin {own[:80]}",
    )


def _is_browser(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent these headers. Pages cannot make it leave out either of the two, and of the
    programs that call themselves Mozilla, PowerShell for one, hardly any names a language."""
    agent = headers.get("User-Agent")
    return agent is not None and agent.startswith("Mozilla/") and headers.get("Accept-Language") is not None


def _normal(origin: str) -> str:
    """An origin in lower case, without the port that its scheme has anyway (RFC 6454, section 6.2)."""
    origin = origin.lower()
    return origin.removesuffix(":").removesuffix(":443" if origin.startswith("https:") else ":80")


def _is_address(name: str) -> bool:
    """Whether `name`, of a Host, is an IP address as a browser writes it (WHATWG URL, section 3.5).

    Other ways to write an IPv4 address (127.1, 0x7f.0.0.1) are turned into this one by browsers, so
    whoever sends them raw is told to send the usual one.
    """
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
