"""owt.frontend.access.proxies: X-Forwarded headers of trusted proxies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from owt.frontend.access.proxies import apply_forwarded
from owt.frontend.config.setting import Network, read_network
from owt.frontend.config.settings import Settings


class RequestSource(NamedTuple):
    """Client and target of a request."""

    remote: str | None
    scheme: str
    host: str


class Context:
    def __init__(self, remote_ip: str) -> None:
        self.remote_ip = remote_ip
        self.protocol = "http"


class Connection:
    def __init__(self, remote_ip: str) -> None:
        self.context = Context(remote_ip)


def request(peer: str, *lines: tuple[str, str]) -> HTTPServerRequest:
    fields = HTTPHeaders({"Host": "127.0.0.1:9876"})
    for name, value in lines:
        fields.add(name, value)
    start = RequestStartLine("GET", "/", "HTTP/1.1")
    return HTTPServerRequest(start_line=start, headers=fields, connection=Connection(peer))  # type: ignore[arg-type]


def forwarded(peer: RequestSource, fields: Mapping[str, str], trusted: tuple[Network, ...]) -> RequestSource:
    """Return the source of a request with these headers from this peer."""
    received = request(peer.remote or "")
    received.protocol, received.host = peer.scheme, peer.host
    # A header that Tornado would refuse to add is one, too.
    received.headers = cast("HTTPHeaders", fields)
    unix_socket = Path("owt") if peer.remote == "unix" else None
    apply_forwarded(received, Settings(trusted_proxy=trusted, unix_socket=unix_socket))
    return RequestSource(received.remote_ip, received.protocol, received.host)


PROXY = "10.0.0.1"
DIRECT = RequestSource(PROXY, "http", "127.0.0.1:9876")
TRUSTED = tuple(map(read_network, ("10.0.0.0/8", "fd00::/8")))


def headers(**values: str) -> dict[str, str]:
    return {f"X-Forwarded-{name.title()}": value for name, value in values.items()}


def remote(chain: str, peer: str = PROXY, trusted: tuple[Network, ...] = TRUSTED) -> str | None:
    return forwarded(RequestSource(peer, "http", "h"), headers(FOR=chain), trusted).remote


def test_headers_of_a_trusted_proxy_set_client_scheme_and_host() -> None:
    forwarded_headers = headers(FOR="192.0.2.7", PROTO="https", HOST="owt.example.org")
    source = RequestSource("192.0.2.7", "https", "owt.example.org")
    assert forwarded(DIRECT, forwarded_headers, TRUSTED) == source


@pytest.mark.parametrize("peer", ["192.0.2.1", "127.0.0.1", "fe80::1%eth0", "11.0.0.1", ""])
def test_headers_of_other_peers_are_ignored(peer: str) -> None:
    peer_only = RequestSource(peer, "http", "h")
    assert forwarded(peer_only, headers(FOR="192.0.2.7", PROTO="https", HOST="evil"), TRUSTED) == peer_only


def test_without_trusted_proxies_the_headers_are_ignored_even_on_a_unix_socket() -> None:
    forwarded_headers = headers(FOR="192.0.2.7", PROTO="https", HOST="evil")
    for peer in (PROXY, "unix"):
        peer_only = RequestSource(peer, "http", "h")
        assert forwarded(peer_only, forwarded_headers, ()) == peer_only


def test_with_trusted_proxies_every_peer_on_the_unix_socket_is_trusted() -> None:
    assert remote("192.0.2.7", peer="unix") == "192.0.2.7"
    assert remote("", peer="unix") == "unix"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("", PROXY),
        ("192.0.2.7", "192.0.2.7"),
        # Values that the client wrote itself are on the left.
        ("127.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("10.9.9.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("192.0.2.7, 10.0.0.3,10.0.0.2", "192.0.2.7"),
        ("fd00::5, 2001:db8::1, fd00::2", "2001:db8::1"),
        # All are proxies: one of them made the request.
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, ::ffff:10.0.0.2", "192.0.2.7"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxys(chain: str, client: str) -> None:
    assert remote(chain) == client


@pytest.mark.parametrize(
    "malformed",
    ["unknown", "_hidden", "localhost", "1.2.3", "1.2.3.4.5", "192.0.2.7:", "[::1", "fe80::1%x", "\x00"],
)
def test_values_to_the_left_of_a_malformed_one_are_ignored(malformed: str) -> None:
    assert remote(malformed) == PROXY
    assert remote(f"192.0.2.7, {malformed}") == PROXY
    assert remote(f"192.0.2.7, {malformed}, 10.0.0.2") == "10.0.0.2"
    assert remote(f"{malformed}, 192.0.2.7") == "192.0.2.7"


def test_a_proxy_with_an_ipv4_address_mapped_to_ipv6_is_trusted() -> None:
    assert remote("192.0.2.7", peer="::ffff:10.0.0.1") == "192.0.2.7"


def test_a_chain_of_thousands_of_addresses_is_read() -> None:
    assert remote("10.0.0.2," * 8000) == PROXY
    assert remote("192.0.2.7" + ",10.0.0.2" * 8000) == "192.0.2.7"


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http, https", "https"),
        ("https, http", "http"),
        ("ws", "http"),
        ("", "http"),
    ],
)
def test_the_scheme_is_the_last_proxys_if_it_is_http_or_https(proto: str, scheme: str) -> None:
    assert forwarded(DIRECT, headers(PROTO=proto), TRUSTED).scheme == scheme


@pytest.mark.parametrize(
    "host", ["owt.example.org", "owt.example.org:8443", "192.0.2.1:1", "[2001:db8::1]", "[::1]:65535", "a_b"]
)
def test_the_host_is_the_last_proxys(host: str) -> None:
    assert forwarded(DIRECT, headers(HOST=host), TRUSTED).host == host
    assert forwarded(DIRECT, headers(HOST=f"evil.example, {host}"), TRUSTED).host == host


@pytest.mark.parametrize(
    "host",
    ["", "a b", "a/b", "user@h", "h:port", "h:65536", "h:", "[::1", "[1.2.3.4]", "[::1]x", "[...]", "ö.org"],
)
def test_a_malformed_host_is_ignored(host: str) -> None:
    assert forwarded(DIRECT, headers(HOST=host), TRUSTED).host == DIRECT.host


def test_apply_forwarded_changes_the_request_and_not_its_headers() -> None:
    received = request(
        PROXY,
        ("x-forwarded-for", "192.0.2.9"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "Owt.example.org:8443"),
    )
    before = list(received.headers.get_all())
    apply_forwarded(received, Settings(trusted_proxy=TRUSTED))
    assert (received.remote_ip, received.protocol) == ("192.0.2.7", "https")
    assert (received.host, received.host_name) == ("Owt.example.org:8443", "owt.example.org")
    assert received.full_url() == "https://Owt.example.org:8443/"
    assert list(received.headers.get_all()) == before


def test_a_request_on_the_unix_socket_has_no_ip_address() -> None:
    # Tornado's address of a peer on a Unix socket.
    received = request("0.0.0.0")
    apply_forwarded(received, Settings(unix_socket=Path("owt")))
    assert (received.remote_ip, received.host) == ("unix", "127.0.0.1:9876")
