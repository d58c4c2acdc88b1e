"""owt.frontend.access.origins: checks of Host, Origin and Sec-Fetch-Site."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.frontend.access.origins import EXPOSED, OriginDecision, Origins, Preflight
from owt.frontend.config.setting import read_host, read_origin
from owt.frontend.config.settings import Settings
from owt.frontend.problems import Problem

APP = "https://app.example.org"
LOCAL = "http://localhost:3000"
STRICT = Origins(Settings())
OPEN = Origins(Settings(allow_origin=(APP, LOCAL), allow_host=("owt.example.org", "*.lan")))
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


def check(
    origins: Origins,
    *,
    method: str = "GET",
    scheme: str = "http",
    host: str | None = "127.0.0.1:9876",
    origin: str | None = None,
    site: str | None = None,
    **more: str,
) -> OriginDecision:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    headers |= {"Origin": origin} if origin is not None else {}
    headers |= {"Sec-Fetch-Site": site} if site is not None else {}
    return origins.check(method, scheme, host, headers)


def problem(decision: OriginDecision) -> Problem:
    assert isinstance(decision, Problem), decision
    assert decision.status == 403
    return decision


def allowed(decision: OriginDecision) -> bool:
    assert isinstance(decision, (list, Problem))
    return isinstance(decision, list)


class TestHost:
    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "127.0.0.1:9876",
            "127.0.0.1.",
            "127.0.0.1:",
            "0.0.0.0:9876",
            "192.0.2.7:80",
            "8.8.8.8",
            "[::1]",
            "[::1]:9876",
            "[2001:DB8::A]:1",
            "[::ffff:127.0.0.1]",
            "localhost",
            "localhost:9876",
            "LocalHost:9876",
            "localhost.",
            "localhost.:9876",
            "owt.localhost:9876",
            "a.b.LOCALHOST",
            "evil.example.localhost",
        ],
    )
    def test_addresses_and_localhost_are_known_hosts(self, host: str) -> None:
        assert allowed(check(STRICT, host=host))

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:9876",
            "EVIL.example.",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "evillocalhost",
            "local",
            "localhost.local",
            "xn--lcalhost-q1a",
            "localhost-",
            "-localhost",
            "_",
            "owt",
            "owt.example.org",
        ],
    )
    def test_other_names_are_unknown_hosts(self, host: str) -> None:
        refusal = problem(check(STRICT, host=host))
        assert refusal.type == "urn:owt:unknown-host"
        assert f"'{host}'" in refusal.detail
        name = host.partition(":")[0].lower().rstrip(".")
        assert refusal.detail.endswith(f"--allow-host {name}")

    def test_the_option_that_the_refusal_names_allows_the_host(self) -> None:
        detail = problem(check(STRICT, host="Owt.Example.org.:9876")).detail
        name = read_host(detail.rpartition("--allow-host ")[2])
        assert allowed(check(Origins(Settings(allow_host=(name,))), host="Owt.Example.org.:9876"))

    @pytest.mark.parametrize(
        "host",
        [
            "",
            " ",
            ".",
            "..",
            ".localhost",
            "localhost..",
            "a..localhost",
            ":9876",
            "localhost:80:80",
            "localhost:port",
            "localhost:-1",
            "localhost:999999",
            "localhost:\uff11",
            "localhost\n",
            "localhost ",
            "localhost\x00",
            "localhost,evil.example",
            "localhost, localhost",
            "localhost@evil.example",
            "evil.example@localhost",
            "evil.example:x@localhost",
            "user:password@127.0.0.1",
            "evil.example#@localhost",
            "evil.example/localhost",
            "evil.example\\.localhost",
            "evil.example?.localhost",
            "http://localhost",
            "%6cocalhost",
            "evil.example%00.localhost",
            "ⓛocalhost",
            "localhost\u3002",
            "*.localhost",
            "[localhost]",
            "[::1",
            "::1",
            "::1]",
            "[::1]x",
            "[::1].localhost",
            "[::1]evil.example",
            "[127.0.0.1]",
            "[::1%eth0]",
            "[::1%25eth0]",
            "[:::]",
            "[]",
            # Browsers convert these before they send them (WHATWG URL, section 3.5).
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0x7f000001",
            "0X7F.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1.0",
            "127.0.0.256",
            "127.0.0.0x1",
            "evil.example.1",
            "\u0661\u0662\u0667.0.0.1",
            "x" * 301,
            "a." * 200_000 + "localhost",
        ],
    )
    def test_a_host_that_is_neither_name_nor_address_is_refused(self, host: str) -> None:
        refusal = problem(check(STRICT, host=host))
        assert refusal.type == "urn:owt:unknown-host"
        assert "it must be a name or an IP address" in refusal.detail
        assert "--allow-host" in refusal.detail
        assert len(refusal.detail) < 400

    def test_a_request_without_a_host_is_allowed(self) -> None:
        assert allowed(check(STRICT, host=None))

    @pytest.mark.parametrize("host", ["owt.example.org", "OWT.Example.Org.:9876", "a.lan", "a.b.lan:80"])
    def test_names_of_allow_host_are_known_hosts(self, host: str) -> None:
        assert allowed(check(OPEN, host=host))

    @pytest.mark.parametrize(
        "host",
        ["example.org", "x.owt.example.org", "xowt.example.org", "lan", "xlan", "a.lan.example", ".lan"],
    )
    def test_names_similar_to_those_of_allow_host_are_unknown(self, host: str) -> None:
        problem(check(OPEN, host=host))

    @pytest.mark.parametrize("host", ["mybox", "MyBox:9876", "mybox."])
    def test_the_name_of_the_listening_address_is_a_known_host(self, host: str) -> None:
        assert allowed(check(Origins(Settings(address="MyBox.", insecure=True)), host=host))
        problem(check(Origins(Settings(address="0.0.0.0", insecure=True)), host=host))

    @pytest.mark.parametrize("host", ["evil.example", "", "anything@all", None])
    def test_a_unix_socket_accepts_any_host(self, host: str | None) -> None:
        assert allowed(check(Origins(Settings(unix_socket=Path("/run/owt"))), host=host))

    @pytest.mark.parametrize("site", ["same-origin", "none", None])
    @pytest.mark.parametrize("method", METHODS)
    def test_dns_rebinding_is_refused_although_the_origin_is_the_same(
        self, site: str | None, method: str
    ) -> None:
        decision = check(
            OPEN, host="evil.example:9876", origin="http://evil.example:9876", site=site, method=method
        )
        assert problem(decision).type == "urn:owt:unknown-host"

    def test_an_allowed_origin_needs_a_known_host(self) -> None:
        problem(check(OPEN, host="evil.example", origin=APP, site="cross-site"))

    @given(st.text(max_size=40))
    def test_any_host_gets_a_decision(self, host: str) -> None:
        check(STRICT, host=host)

    @given(st.ip_addresses(), st.none() | st.integers(0, 65535))
    def test_every_ip_address_is_allowed(self, address: Any, port: int | None) -> None:
        host = f"[{address}]" if address.version == 6 else str(address)
        assert allowed(check(STRICT, host=host if port is None else f"{host}:{port}"))

    @given(st.from_regex(r"[a-z0-9-]{1,8}(\.[a-z0-9-]{1,8}){0,3}\.[a-z]{2,6}", fullmatch=True))
    def test_no_name_of_a_domain_is_allowed(self, host: str) -> None:
        problem(check(STRICT, host=host))


class TestForwardedHost:
    @pytest.mark.parametrize("own", ["evil.example", "127.0.0.1.evil.example:9876", "", "local host"])
    def test_the_connections_own_host_must_be_known_beside_a_forwarded_one(self, own: str) -> None:
        refusal = problem(check(STRICT, host="localhost", Host=own))
        assert refusal.type == "urn:owt:unknown-host"
        assert repr(own) in refusal.detail

    def test_a_forwarded_host_must_be_known_beside_the_connections_own(self) -> None:
        assert "evil.example" in problem(check(STRICT, host="evil.example", Host="localhost")).detail

    @pytest.mark.parametrize("own", ["127.0.0.1:9876", "owt.example.org", "backend.lan"])
    def test_known_hosts_of_proxy_and_connection_pass(self, own: str) -> None:
        assert allowed(check(OPEN, host="owt.example.org", Host=own))

    def test_a_unix_socket_accepts_any_host_of_its_proxy(self) -> None:
        origins = Origins(Settings(unix_socket=Path("/run/owt.sock")))
        assert allowed(check(origins, host="localhost", Host="evil.example"))


class TestSite:
    @pytest.mark.parametrize("origin", [None, "http://127.0.0.1:9876", "http://evil.example", "null", "x y"])
    @pytest.mark.parametrize("site", ["same-origin", "none"])
    @pytest.mark.parametrize("method", METHODS)
    def test_own_pages_and_typed_addresses_are_allowed(
        self, method: str, site: str, origin: str | None
    ) -> None:
        assert check(STRICT, method=method, site=site, origin=origin) == []

    @pytest.mark.parametrize("origin", [None, "http://127.0.0.1:9876", "http://evil.example", "null", ""])
    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    @pytest.mark.parametrize("method", METHODS)
    def test_pages_of_other_sites_are_forbidden(self, method: str, site: str, origin: str | None) -> None:
        refusal = problem(check(STRICT, method=method, site=site, origin=origin))
        assert refusal.type == "urn:owt:other-origin"
        assert f"Sec-Fetch-Site: {site}" in refusal.detail
        assert "--allow-origin" in refusal.detail

    @pytest.mark.parametrize(
        "site", ["", " none", "None", "SAME-ORIGIN", "same-origin, cross-site", "none;x", "same-party", "1"]
    )
    @pytest.mark.parametrize("origin", [None, "http://127.0.0.1:9876", APP])
    def test_an_unknown_value_of_sec_fetch_site_is_forbidden(self, site: str, origin: str | None) -> None:
        assert "Sec-Fetch-Site" in problem(check(OPEN, site=site, origin=origin)).detail

    @given(st.text(max_size=30).filter(lambda text: text not in ("same-origin", "none")))
    def test_sites_other_than_same_origin_and_none_are_forbidden_without_an_origin(self, site: str) -> None:
        problem(check(OPEN, site=site))

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_a_unix_socket_forbids_other_sites_too(self, site: str) -> None:
        problem(check(Origins(Settings(unix_socket=Path("/run/owt"))), site=site))

    def test_links_and_images_are_forbidden_even_from_an_allowed_origin(self) -> None:
        detail = problem(check(OPEN, site="cross-site")).detail
        assert "address bar" in detail
        assert "fetch or EventSource" in detail


class TestOrigin:
    """Requests of browsers without Sec-Fetch-Site."""

    def test_a_request_without_both_headers_is_allowed(self) -> None:
        assert check(STRICT) == []

    @pytest.mark.parametrize(
        ("scheme", "host", "origin"),
        [
            ("http", "127.0.0.1:9876", "http://127.0.0.1:9876"),
            ("http", "localhost", "http://localhost"),
            ("http", "localhost:80", "http://localhost"),
            ("http", "localhost", "http://localhost:80"),
            ("http", "LOCALHOST:9876", "http://localhost:9876"),
            ("http", "localhost.:9876", "http://localhost.:9876"),
            ("http", "localhost:", "http://localhost"),
            ("https", "localhost:443", "https://localhost"),
            ("https", "localhost", "https://localhost:443"),
            ("https", "[::1]:9876", "https://[::1]:9876"),
            ("http", "[::1]", "http://[::1]"),
            ("http", "[::80]", "http://[::80]"),
        ],
    )
    def test_the_servers_own_origin_is_allowed(self, scheme: str, host: str, origin: str) -> None:
        assert check(STRICT, scheme=scheme, host=host, origin=origin, method="POST") == []

    @pytest.mark.parametrize(
        "origin",
        [
            "http://127.0.0.1",
            "http://127.0.0.1:9877",
            "https://127.0.0.1:9876",
            "http://localhost:9876",
            "http://127.0.0.1:9876.evil.example",
            "http://127.0.0.1:9876@evil.example",
            "http://evil.example",
            "http://evil.example, http://127.0.0.1:9876",
            "http://127.0.0.1:9876,http://127.0.0.1:9876",
            "http://127.0.0.1:9876 http://evil.example",
            "http://127.0.0.1:9876/",
            "null",
            "NULL",
            "",
            "127.0.0.1:9876",
            "file://",
            "chrome-extension://abcdefgh",
        ],
    )
    @pytest.mark.parametrize("method", METHODS)
    def test_any_other_origin_is_forbidden(self, method: str, origin: str) -> None:
        refusal = problem(check(STRICT, method=method, origin=origin))
        assert refusal.type == "urn:owt:other-origin"
        assert f"Origin: {origin}; the server's origin is http://127.0.0.1:9876" in refusal.detail
        assert "--allow-origin" in refusal.detail

    def test_the_refusal_names_the_option_that_allows_the_origin(self) -> None:
        assert problem(check(STRICT, origin=APP)).detail.endswith(f"--allow-origin {APP}")
        assert problem(check(STRICT, origin=APP, site="cross-site")).detail.endswith(f"--allow-origin {APP}")
        assert "a local file and a sandboxed frame have none" in problem(check(STRICT, origin="null")).detail

    def test_without_a_host_no_origin_is_the_servers_own(self) -> None:
        problem(check(STRICT, host=None, origin="http://127.0.0.1:9876"))
        for origin in ("http://", "http://None", ""):
            problem(check(STRICT, host=None, origin=origin))

    @given(st.text(max_size=40), st.sampled_from([None, "same-site", "cross-site"]))
    def test_no_other_text_is_an_allowed_origin(self, origin: str, site: str | None) -> None:
        detail = problem(check(OPEN, origin=origin, site=site, host="localhost")).detail
        assert len(detail) < 500


class TestBrowsersWithoutMetadata:
    """Old browsers, and all browsers at another machine's address without TLS."""

    GET: ClassVar = {"User_Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept_Language": "en"}
    OWN = "http://192.0.2.7:9876"

    @pytest.mark.parametrize("language", ["en", "", "*"])
    def test_a_get_of_unknown_origin_is_forbidden(self, language: str) -> None:
        decision = check(STRICT, host="192.0.2.7:9876", **{**self.GET, "Accept_Language": language})
        refusal = problem(decision)
        assert refusal.type == "urn:owt:other-origin"
        assert "--certfile" in refusal.detail
        assert refusal.detail.endswith(f"--allow-origin {self.OWN}")

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_a_browser_that_sends_sec_fetch_site_is_allowed(self, site: str) -> None:
        assert allowed(check(STRICT, site=site, **self.GET))

    def test_a_browser_that_sends_the_own_origin_is_allowed(self) -> None:
        decision = check(STRICT, host="192.0.2.7:9876", method="POST", origin=self.OWN, **self.GET)
        assert allowed(decision)

    def test_allow_origin_with_the_own_origin_allows_browsers_without_metadata(self) -> None:
        origins = Origins(Settings(allow_origin=(self.OWN,)))
        assert allowed(check(origins, host="192.0.2.7:9876", **self.GET))
        problem(check(origins, host="192.0.2.8:9876", **self.GET))

    @pytest.mark.parametrize(
        "headers",
        [
            {"User_Agent": "curl/8.0"},
            {"User_Agent": "python-httpx/0.28", "Accept_Language": "en"},
            {"User_Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1"},
            {"Accept_Language": "en"},
        ],
    )
    def test_programs_with_only_one_header_of_a_browser_are_allowed(self, headers: dict[str, str]) -> None:
        assert allowed(check(STRICT, **headers))


class TestAllowed:
    @pytest.mark.parametrize("origin", [APP, LOCAL])
    @pytest.mark.parametrize("site", ["cross-site", "same-site", None])
    @pytest.mark.parametrize("method", METHODS)
    def test_an_allowed_origin_gets_the_cors_headers(
        self, method: str, site: str | None, origin: str
    ) -> None:
        assert check(OPEN, method=method, origin=origin, site=site) == [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
            ("Access-Control-Expose-Headers", EXPOSED),
        ]

    @pytest.mark.parametrize("origin", ["https://app.example.org:443", "HTTPS://App.Example.org"])
    def test_another_spelling_of_an_allowed_origin_is_returned_unchanged(self, origin: str) -> None:
        decision = check(OPEN, origin=origin)
        assert isinstance(decision, list)
        assert ("Access-Control-Allow-Origin", origin) in decision

    @pytest.mark.parametrize(
        "origin",
        [
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://app.example.org.evil.example",
            "https://evil.example/https://app.example.org",
            "https://xapp.example.org",
            "https://example.org",
            "https://app.example.org, https://evil.example",
            "http://localhost",
            "http://localhost:30000",
            "null",
        ],
    )
    @pytest.mark.parametrize("site", ["cross-site", "same-site", None])
    def test_an_origin_similar_to_an_allowed_one_is_forbidden(self, site: str | None, origin: str) -> None:
        problem(check(OPEN, origin=origin, site=site))

    def test_every_response_has_vary_if_any_origin_is_allowed(self) -> None:
        assert check(OPEN) == check(OPEN, site="same-origin", origin=APP) == [("Vary", "Origin")]

    @given(
        st.sampled_from(["http", "https"]),
        st.from_regex(r"[a-zA-Z0-9]{1,9}(\.[a-z]{1,5}){0,2}", fullmatch=True),
        st.none() | st.integers(0, 65535),
    )
    def test_every_origin_that_the_option_accepts_is_allowed(
        self, scheme: str, name: str, port: int | None
    ) -> None:
        origin = f"{scheme}://{name}" + ("" if port is None else f":{port}")
        origins = Origins(Settings(allow_origin=(read_origin(origin),)))
        assert isinstance(check(origins, origin=origin, site="cross-site"), list)


class TestPreflight:
    def ask(self, origins: Origins = OPEN, **more: Any) -> OriginDecision:
        options = {
            "method": "OPTIONS",
            "origin": APP,
            "site": "cross-site",
            "Access_Control_Request_Method": "POST",
        }
        return check(origins, **{**options, **more})

    def headers(self, **more: Any) -> dict[str, str]:
        decision = self.ask(**more)
        assert isinstance(decision, Preflight)
        assert len(dict(decision.headers)) == len(decision.headers)
        return dict(decision.headers)

    def test_a_preflight_gets_methods_headers_and_max_age(self) -> None:
        assert self.headers(Access_Control_Request_Headers="authorization,content-type") == {
            "Access-Control-Allow-Origin": APP,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
            "Access-Control-Allow-Headers": "authorization,content-type",
            "Access-Control-Max-Age": "7200",
            "Vary": "Origin",
        }

    def test_a_preflight_without_sec_fetch_site_gets_the_same_headers(self) -> None:
        assert self.headers(site=None) == self.headers()

    @pytest.mark.parametrize("names", ["", ",", "a b", "a,,b", "a\nb", "a: b", "ü", "a,"])
    def test_malformed_request_headers_are_not_returned(self, names: str) -> None:
        assert "Access-Control-Allow-Headers" not in self.headers(Access_Control_Request_Headers=names)

    def test_a_private_network_is_allowed_on_request(self) -> None:
        name = "Access-Control-Allow-Private-Network"
        assert name not in self.headers()
        assert name not in self.headers(Access_Control_Request_Private_Network="false")
        assert self.headers(Access_Control_Request_Private_Network="true")[name] == "true"

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "", None])
    def test_preflights_of_other_origins_are_forbidden(self, origin: str | None) -> None:
        problem(self.ask(origin=origin))
        problem(self.ask(origin=origin, Access_Control_Request_Private_Network="true"))

    def test_without_allowed_origins_every_preflight_is_forbidden(self) -> None:
        problem(self.ask(STRICT))

    def test_a_preflight_is_an_options_request_with_a_requested_method(self) -> None:
        assert isinstance(self.ask(method="POST"), list)
        decision = check(OPEN, method="OPTIONS", origin=APP, site="cross-site")
        assert isinstance(decision, list)
