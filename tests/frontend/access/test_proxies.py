"""owt.frontend.access.proxies: what is believed of X-Forwarded headers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from owt.frontend.access.proxies import Origin, forwarded, settle
from owt.frontend.config.access import Network, read_network
from owt.frontend.config.settings import Settings

PROXY = "10.0.0.1"
SEEN = Origin(PROXY, "http", "127.0.0.1:9876")
TRUSTED = tuple(map(read_network, ("10.0.0.0/8", "fd00::/8")))


def headers(**given: str) -> dict[str, str]:
    return {f"X-Forwarded-{name.title()}": value for name, value in given.items()}


def remote(chain: str, peer: str = PROXY, trusted: tuple[Network, ...] = TRUSTED) -> str:
    return forwarded(Origin(peer, "http", "h"), headers(FOR=chain), trusted).remote


def test_a_trusted_proxy_says_who_asks_for_what() -> None:
    said = headers(FOR="192.0.2.7", PROTO="https", HOST="owt.example.org")
    assert forwarded(SEEN, said, TRUSTED) == Origin("192.0.2.7", "https", "owt.example.org")


@pytest.mark.parametrize("peer", ["192.0.2.1", "127.0.0.1", "fe80::1%eth0", "11.0.0.1", ""])
def test_nobody_else_is_believed(peer: str) -> None:
    seen = Origin(peer, "http", "h")
    assert forwarded(seen, headers(FOR="192.0.2.7", PROTO="https", HOST="evil"), TRUSTED) is seen


def test_without_a_trusted_proxy_nobody_is_believed_not_even_by_the_unix_socket() -> None:
    said = headers(FOR="192.0.2.7", PROTO="https", HOST="evil")
    for peer in (PROXY, "unix"):
        seen = Origin(peer, "http", "h")
        assert forwarded(seen, said, ()) is seen


def test_who_comes_by_the_unix_socket_is_believed_where_any_proxy_is() -> None:
    assert remote("192.0.2.7", peer="unix") == "192.0.2.7"
    assert remote("", peer="unix") == "unix"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("", PROXY),
        ("192.0.2.7", "192.0.2.7"),
        # What the client wrote itself stands on the left.
        ("127.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("10.9.9.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("192.0.2.7, 10.0.0.3,10.0.0.2", "192.0.2.7"),
        ("fd00::5, 2001:db8::1, fd00::2", "2001:db8::1"),
        # All are proxies: the request was made by one of them.
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, ::ffff:10.0.0.2", "192.0.2.7"),
    ],
)
def test_the_client_is_the_last_that_is_no_trusted_proxy(chain: str, client: str) -> None:
    assert remote(chain) == client


@pytest.mark.parametrize(
    "rubbish",
    ["unknown", "_hidden", "localhost", "1.2.3", "1.2.3.4.5", "192.0.2.7:", "[::1", "fe80::1%x", "\x00"],
)
def test_what_stands_left_of_rubbish_is_not_believed(rubbish: str) -> None:
    assert remote(rubbish) == PROXY
    assert remote(f"192.0.2.7, {rubbish}") == PROXY
    assert remote(f"192.0.2.7, {rubbish}, 10.0.0.2") == "10.0.0.2"
    assert remote(f"{rubbish}, 192.0.2.7") == "192.0.2.7"


def test_a_peer_whose_ipv4_address_comes_as_ipv6_is_the_same_proxy() -> None:
    assert remote("192.0.2.7", peer="::ffff:10.0.0.1") == "192.0.2.7"


def test_a_chain_as_long_as_a_header_is_walked() -> None:
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
def test_the_scheme_is_the_last_proxys_and_one_that_there_is(proto: str, scheme: str) -> None:
    assert forwarded(SEEN, headers(PROTO=proto), TRUSTED).scheme == scheme


@pytest.mark.parametrize(
    "host", ["owt.example.org", "owt.example.org:8443", "192.0.2.1:1", "[2001:db8::1]", "[::1]:65535", "a_b"]
)
def test_the_host_is_the_last_proxys(host: str) -> None:
    assert forwarded(SEEN, headers(HOST=host), TRUSTED).host == host
    assert forwarded(SEEN, headers(HOST=f"evil.example, {host}"), TRUSTED).host == host


@pytest.mark.parametrize(
    "host",
    ["", "a b", "a/b", "user@h", "h:port", "h:65536", "h:", "[::1", "[1.2.3.4]", "[::1]x", "[...]", "ö.org"],
)
def test_a_host_that_is_none_is_ignored(host: str) -> None:
    assert forwarded(SEEN, headers(HOST=host), TRUSTED).host == SEEN.host


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


def test_a_request_is_settled_and_its_headers_stay_as_they_came() -> None:
    came = request(
        PROXY,
        ("x-forwarded-for", "192.0.2.9"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "Owt.example.org:8443"),
    )
    before = list(came.headers.get_all())
    settle(came, Settings(trusted_proxy=TRUSTED))
    assert (came.remote_ip, came.protocol) == ("192.0.2.7", "https")
    assert (came.host, came.host_name) == ("Owt.example.org:8443", "owt.example.org")
    assert came.full_url() == "https://Owt.example.org:8443/"
    assert list(came.headers.get_all()) == before


def test_a_request_by_the_unix_socket_has_no_address() -> None:
    # What Tornado has for it.
    came = request("0.0.0.0")
    settle(came, Settings(unix_socket=Path("owt")))
    assert (came.remote_ip, came.host) == ("unix", "127.0.0.1:9876")
