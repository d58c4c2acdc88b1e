"""X-Forwarded-For, -Proto and -Host headers of reverse proxies.

Any client can send these headers, so only those of trusted proxies count. They are not standardised (RFC 7239
defines the `Forwarded` header, which few proxies send); the rules are those of nginx's real_ip_recursive.
Each proxy appends the address of its own client, so the client is the right-most address that is not a
trusted proxy's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from tornado.httputil import HTTPServerRequest, split_host_and_port

from owt.frontend.config.setting import Network
from owt.frontend.config.settings import Settings

UNIX = "unix"
"""Address of a client that connects to the Unix socket."""

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[(?P<ip>[0-9A-Fa-f:.]+)\])(:(?P<port>[0-9]{1,5}))?")


def apply_forwarded(request: HTTPServerRequest, settings: Settings) -> None:
    """Set the client, scheme and host of a request to those that trusted proxies report.

    If there are trusted proxies, each peer on the Unix socket is one. Without one, they are those of the
    connection and of the Host header. Values that cannot be parsed are ignored. The headers stay unchanged.
    """
    if settings.unix_socket is not None:
        request.remote_ip = UNIX
    # Repeated headers are joined by commas (RFC 9110, section 5.3).
    headers, trusted, peer = request.headers, settings.trusted_proxy, request.remote_ip or ""
    if not trusted or not (peer == UNIX or _is_trusted(_address(peer), trusted)):
        return
    request.remote_ip = _client(peer, headers.get("X-Forwarded-For", ""), trusted)
    scheme = _last(headers.get("X-Forwarded-Proto", "")).lower()
    if scheme in ("http", "https"):
        request.protocol = scheme
    host = _last(headers.get("X-Forwarded-Host", ""))
    if _is_host(host):
        request.host = host
        request.host_name = split_host_and_port(host.lower())[0]


def _client(peer: str, chain: str, trusted: Sequence[Network]) -> str:
    """Return the right-most address that is not a trusted proxy's, or the left-most if all are.

    A value that is no address was not written by a trusted proxy, so the values to its left do not count.
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
    # Not split at once: a header has room for thousands of addresses, and the last few suffice.
    while chain:
        chain, _, last = chain.rpartition(",")
        # A zone (RFC 4007, section 11) may be any text and has no meaning on another machine.
        yield None if "%" in last else _address(last.strip())


def _address(text: str) -> IP | None:
    """Return the IP address in `text`, with or without a port (IPv6: in brackets), or None.

    An IPv4 address that is mapped to IPv6 (RFC 4291, 2.5.5.2) is returned as IPv4.
    """
    if match := re.fullmatch(r"\[(.+)\](:\d+)?|(\d+\.\d+\.\d+\.\d+):\d+", text):
        text = match[1] or match[3]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: IP | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def _is_host(text: str) -> bool:
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or 0) > 65535:
        return False
    return match["ip"] is None or isinstance(_address(text[: match.end("ip") + 1]), ipaddress.IPv6Address)


def _last(values: str) -> str:
    return values.rpartition(",")[2].strip()
