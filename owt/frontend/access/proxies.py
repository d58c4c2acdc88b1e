"""What a reverse proxy says of a request that it passes on: X-Forwarded-For, -Proto and -Host.

Anybody can write these headers, so they are believed only of proxies that are trusted. They are not
standardised (RFC 7239 has the `Forwarded` header, which few proxies send); the rules are those of
nginx's real_ip_recursive: of the addresses, each of which was added by the proxy behind it, the
right-most that is no trusted proxy's is the client's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tornado.httputil import HTTPServerRequest, split_host_and_port

from owt.frontend.config.access import Network
from owt.frontend.config.settings import Settings

UNIX = "unix"
"""The address of a client that came by the Unix socket."""

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[(?P<ip>[0-9A-Fa-f:.]+)\])(:(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Origin:
    """Where a request came from, and what it was sent to.

    `remote` is the client's IP address, or `unix`; `scheme` is `http` or `https`; `host` has a port if
    the URL has one.
    """

    remote: str
    scheme: str
    host: str


def settle(request: HTTPServerRequest, settings: Settings) -> None:
    """Put the true client, scheme and host of a request into it; its headers stay as they came.

    Without a trusted proxy these are the connection's own, and those of its Host header.
    """
    unix = settings.unix_socket is not None
    seen = Origin(UNIX if unix else request.remote_ip or "", request.protocol, request.host)
    origin = forwarded(seen, request.headers, settings.trusted_proxy)
    request.remote_ip, request.protocol = origin.remote, origin.scheme
    if origin.host != request.host:
        request.host = origin.host
        request.host_name = split_host_and_port(origin.host.lower())[0]


def forwarded(seen: Origin, headers: Mapping[str, str], trusted: Sequence[Network]) -> Origin:
    """The request's origin, of what the connection shows and what the headers say.

    `headers` have several lines of one name joined by commas (RFC 9110, 5.3). Whoever reaches the Unix
    socket is a trusted proxy if there is any. What cannot be read is as if it were not there.
    """
    if not trusted or not (seen.remote == UNIX or _is_trusted(_address(seen.remote), trusted)):
        return seen
    scheme = _last(headers.get("X-Forwarded-Proto", "")).lower()
    host = _last(headers.get("X-Forwarded-Host", ""))
    return Origin(
        remote=_client(seen.remote, headers.get("X-Forwarded-For", ""), trusted),
        scheme=scheme if scheme in ("http", "https") else seen.scheme,
        host=host if _is_host(host) else seen.host,
    )


def _client(peer: str, chain: str, trusted: Sequence[Network]) -> str:
    """The right-most address that is no trusted proxy's; the left-most, if all are.

    What stands left of something that is no address was not written by a trusted proxy.
    """
    remote = peer
    for address in _from_the_right(chain):
        if address is None:
            break
        remote = str(address)
        if not _is_trusted(address, trusted):
            break
    return remote


def _from_the_right(chain: str) -> Iterator[IP | None]:
    # Not split at once: a header has room for thousands, and the first few say it.
    while chain:
        chain, _, last = chain.rpartition(",")
        # A zone (RFC 4007, section 11) may hold any text, and means nothing on another machine.
        yield None if "%" in last else _address(last.strip())


def _address(text: str) -> IP | None:
    """An IP address, which may have a port (with IPv6: and brackets), or None.

    An IPv4 address that was mapped to an IPv6 one (RFC 4291, 2.5.5.2) is what it was.
    """
    if found := re.fullmatch(r"\[(.+)\](:\d+)?|(\d+\.\d+\.\d+\.\d+):\d+", text):
        text = found[1] or found[3]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _is_trusted(address: IP | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        return False
    return found["ip"] is None or isinstance(_address(text[: found.end("ip") + 1]), ipaddress.IPv6Address)


def _last(values: str) -> str:
    return values.rpartition(",")[2].strip()
