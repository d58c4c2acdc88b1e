"""owt.frontend.access.origins: which pages may call, and by which names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.frontend.access.origins import EXPOSED, Admitted, OriginDecision, Origins, Preflight, Refused
from owt.frontend.config.access import Access, read_host, read_origin
from owt.frontend.problems import Problem

APP = "https://app.example.org"
LOCAL = "http://localhost:3000"
STRICT = Origins(Access())
OPEN = Origins(Access(allow_origin=(APP, LOCAL), allow_host=("owt.example.org", "*.lan")))
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


def judge(
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
    return origins.judge(method, scheme, host, headers)


def problem(verdict: OriginDecision) -> Problem:
    assert isinstance(verdict, Refused), verdict
    assert verdict.problem.status == 403
    return verdict.problem


def admitted(verdict: OriginDecision) -> bool:
    assert isinstance(verdict, (Admitted, Refused))
    return isinstance(verdict, Admitted)


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
    def test_addresses_and_localhost_are_the_servers(self, host: str) -> None:
        assert admitted(judge(STRICT, host=host))

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
    def test_other_names_are_not(self, host: str) -> None:
        refusal = problem(judge(STRICT, host=host))
        assert refusal.type == "urn:owt:unknown-host"
        assert f"'{host}'" in refusal.detail
        name = host.partition(":")[0].lower().rstrip(".")
        assert refusal.detail.endswith(f"--allow-host {name}")

    def test_what_the_refusal_says_to_do_does_it(self) -> None:
        detail = problem(judge(STRICT, host="Owt.Example.org.:9876")).detail
        allowed = read_host(detail.rpartition("--allow-host ")[2])
        assert admitted(judge(Origins(Access(allow_host=(allowed,))), host="Owt.Example.org.:9876"))

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
            # No browser sends these (WHATWG URL, section 3.5): they would be 127.0.0.1 there.
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
    def test_what_is_neither_a_name_nor_an_address_is_refused(self, host: str) -> None:
        refusal = problem(judge(STRICT, host=host))
        assert refusal.type == "urn:owt:unknown-host"
        assert "it must be a name or an IP address" in refusal.detail
        assert "--allow-host" in refusal.detail
        assert len(refusal.detail) < 400

    def test_a_request_without_a_host_is_a_programs(self) -> None:
        assert admitted(judge(STRICT, host=None))

    @pytest.mark.parametrize("host", ["owt.example.org", "OWT.Example.Org.:9876", "a.lan", "a.b.lan:80"])
    def test_allowed_names_are_the_servers(self, host: str) -> None:
        assert admitted(judge(OPEN, host=host))

    @pytest.mark.parametrize(
        "host",
        ["example.org", "x.owt.example.org", "xowt.example.org", "lan", "xlan", "a.lan.example", ".lan"],
    )
    def test_names_beside_them_are_not(self, host: str) -> None:
        problem(judge(OPEN, host=host))

    @pytest.mark.parametrize("host", ["mybox", "MyBox:9876", "mybox."])
    def test_the_name_that_the_server_listens_at_is_its_own(self, host: str) -> None:
        assert admitted(judge(Origins(Access(address="MyBox.")), host=host))
        problem(judge(Origins(Access(address="0.0.0.0")), host=host))

    @pytest.mark.parametrize("host", ["evil.example", "", "anything@all", None])
    def test_over_a_unix_socket_any_will_do(self, host: str | None) -> None:
        assert admitted(judge(Origins(Access(unix_socket=Path("/run/owt"))), host=host))

    @pytest.mark.parametrize("site", ["same-origin", "none", None])
    @pytest.mark.parametrize("method", METHODS)
    def test_a_page_whose_name_was_made_to_point_here_is_of_the_same_origin_and_refused(
        self, site: str | None, method: str
    ) -> None:
        asked = judge(
            OPEN, host="evil.example:9876", origin="http://evil.example:9876", site=site, method=method
        )
        assert problem(asked).type == "urn:owt:unknown-host"

    def test_an_allowed_origin_needs_a_known_host_too(self) -> None:
        problem(judge(OPEN, host="evil.example", origin=APP, site="cross-site"))

    @given(st.text(max_size=40))
    def test_any_text_is_judged(self, host: str) -> None:
        judge(STRICT, host=host)

    @given(st.ip_addresses(), st.none() | st.integers(0, 65535))
    def test_every_address_may_be_used(self, address: Any, port: int | None) -> None:
        host = f"[{address}]" if address.version == 6 else str(address)
        assert admitted(judge(STRICT, host=host if port is None else f"{host}:{port}"))

    @given(st.from_regex(r"[a-z0-9-]{1,8}(\.[a-z0-9-]{1,8}){0,3}\.[a-z]{2,6}", fullmatch=True))
    def test_no_name_under_a_domain_may(self, host: str) -> None:
        problem(judge(STRICT, host=host))


class TestSite:
    @pytest.mark.parametrize("origin", [None, "http://127.0.0.1:9876", "http://evil.example", "null", "x y"])
    @pytest.mark.parametrize("site", ["same-origin", "none"])
    @pytest.mark.parametrize("method", METHODS)
    def test_the_servers_own_pages_and_typed_addresses_are_fine(
        self, method: str, site: str, origin: str | None
    ) -> None:
        assert judge(STRICT, method=method, site=site, origin=origin) == Admitted([])

    @pytest.mark.parametrize("origin", [None, "http://127.0.0.1:9876", "http://evil.example", "null", ""])
    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    @pytest.mark.parametrize("method", METHODS)
    def test_other_pages_are_not(self, method: str, site: str, origin: str | None) -> None:
        refusal = problem(judge(STRICT, method=method, site=site, origin=origin))
        assert refusal.type == "urn:owt:other-origin"
        assert f"Sec-Fetch-Site: {site}" in refusal.detail
        assert "--allow-origin" in refusal.detail

    @pytest.mark.parametrize(
        "site", ["", " none", "None", "SAME-ORIGIN", "same-origin, cross-site", "none;x", "same-party", "1"]
    )
    @pytest.mark.parametrize("origin", [None, "http://127.0.0.1:9876", APP])
    def test_a_site_that_the_standard_does_not_know_is_refused(self, site: str, origin: str | None) -> None:
        assert "Sec-Fetch-Site" in problem(judge(OPEN, site=site, origin=origin)).detail

    @given(st.text(max_size=30).filter(lambda text: text not in ("same-origin", "none")))
    def test_only_two_are_fine_without_an_origin(self, site: str) -> None:
        problem(judge(OPEN, site=site))

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_a_unix_socket_makes_no_difference_to_it(self, site: str) -> None:
        problem(judge(Origins(Access(unix_socket=Path("/run/owt"))), site=site))

    def test_links_and_images_of_an_allowed_origin_do_not_say_that_it_is_one(self) -> None:
        detail = problem(judge(OPEN, site="cross-site")).detail
        assert "address bar" in detail
        assert "fetch or EventSource" in detail


class TestOrigin:
    """What browsers send that do not know Sec-Fetch-Site."""

    def test_programs_send_neither(self) -> None:
        assert judge(STRICT) == Admitted([])

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
    def test_the_own_origin_is_fine(self, scheme: str, host: str, origin: str) -> None:
        assert judge(STRICT, scheme=scheme, host=host, origin=origin, method="POST") == Admitted([])

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
    def test_any_other_is_refused(self, method: str, origin: str) -> None:
        refusal = problem(judge(STRICT, method=method, origin=origin))
        assert refusal.type == "urn:owt:other-origin"
        assert f"Origin: {origin}, here is http://127.0.0.1:9876" in refusal.detail
        assert "--allow-origin" in refusal.detail

    def test_it_is_said_how_to_allow_it(self) -> None:
        assert problem(judge(STRICT, origin=APP)).detail.endswith(f"--allow-origin {APP}")
        assert problem(judge(STRICT, origin=APP, site="cross-site")).detail.endswith(f"--allow-origin {APP}")
        assert "a file or a frame in a sandbox has none" in problem(judge(STRICT, origin="null")).detail

    def test_without_a_host_no_origin_is_the_own_one(self) -> None:
        problem(judge(STRICT, host=None, origin="http://127.0.0.1:9876"))
        for origin in ("http://", "http://None", ""):
            problem(judge(STRICT, host=None, origin=origin))

    @given(st.text(max_size=40), st.sampled_from([None, "same-site", "cross-site"]))
    def test_no_text_passes_for_another(self, origin: str, site: str | None) -> None:
        detail = problem(judge(OPEN, origin=origin, site=site, host="localhost")).detail
        assert len(detail) < 500


class TestBrowsersThatSayNothing:
    """Old ones, and all of them at an address of another machine without TLS."""

    GET: ClassVar = {"User_Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept_Language": "en"}
    OWN = "http://192.0.2.7:9876"

    @pytest.mark.parametrize("language", ["en", "", "*"])
    def test_a_get_may_be_that_of_any_page(self, language: str) -> None:
        asked = judge(STRICT, host="192.0.2.7:9876", **{**self.GET, "Accept_Language": language})
        refusal = problem(asked)
        assert refusal.type == "urn:owt:other-origin"
        assert "--certfile" in refusal.detail
        assert refusal.detail.endswith(f"--allow-origin {self.OWN}")

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_those_that_say_something_are_believed(self, site: str) -> None:
        assert admitted(judge(STRICT, site=site, **self.GET))

    def test_so_are_those_that_send_the_own_origin(self) -> None:
        asked = judge(STRICT, host="192.0.2.7:9876", method="POST", origin=self.OWN, **self.GET)
        assert admitted(asked)

    def test_the_own_origin_can_be_allowed_to_everyone(self) -> None:
        origins = Origins(Access(allow_origin=(self.OWN,)))
        assert admitted(judge(origins, host="192.0.2.7:9876", **self.GET))
        problem(judge(origins, host="192.0.2.8:9876", **self.GET))

    @pytest.mark.parametrize(
        "headers",
        [
            {"User_Agent": "curl/8.0"},
            {"User_Agent": "python-httpx/0.28", "Accept_Language": "en"},
            {"User_Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1"},
            {"Accept_Language": "en"},
        ],
    )
    def test_programs_say_nothing_either(self, headers: dict[str, str]) -> None:
        assert admitted(judge(STRICT, **headers))


class TestAllowed:
    @pytest.mark.parametrize("origin", [APP, LOCAL])
    @pytest.mark.parametrize("site", ["cross-site", "same-site", None])
    @pytest.mark.parametrize("method", METHODS)
    def test_an_allowed_origin_may_call_and_read_the_answer(
        self, method: str, site: str | None, origin: str
    ) -> None:
        assert judge(OPEN, method=method, origin=origin, site=site) == Admitted(
            [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Vary", "Origin"),
                ("Access-Control-Expose-Headers", EXPOSED),
            ]
        )

    @pytest.mark.parametrize("origin", ["https://app.example.org:443", "HTTPS://App.Example.org"])
    def test_another_spelling_of_it_is_sent_back_as_it_came(self, origin: str) -> None:
        verdict = judge(OPEN, origin=origin)
        assert isinstance(verdict, Admitted)
        assert ("Access-Control-Allow-Origin", origin) in verdict.headers

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
    def test_one_that_only_looks_like_it_is_refused(self, site: str | None, origin: str) -> None:
        problem(judge(OPEN, origin=origin, site=site))

    def test_caches_are_told_of_it_in_every_answer(self) -> None:
        assert judge(OPEN) == judge(OPEN, site="same-origin", origin=APP) == Admitted([("Vary", "Origin")])

    @given(
        st.sampled_from(["http", "https"]),
        st.from_regex(r"[a-zA-Z0-9]{1,9}(\.[a-z]{1,5}){0,2}", fullmatch=True),
        st.none() | st.integers(0, 65535),
    )
    def test_whatever_can_be_given_can_be_used(self, scheme: str, name: str, port: int | None) -> None:
        origin = f"{scheme}://{name}" + ("" if port is None else f":{port}")
        origins = Origins(Access(allow_origin=(read_origin(origin),)))
        assert isinstance(judge(origins, origin=origin, site="cross-site"), Admitted)


class TestPreflight:
    def ask(self, origins: Origins = OPEN, **more: Any) -> OriginDecision:
        given = {
            "method": "OPTIONS",
            "origin": APP,
            "site": "cross-site",
            "Access_Control_Request_Method": "POST",
        }
        return judge(origins, **{**given, **more})

    def headers(self, **more: Any) -> dict[str, str]:
        verdict = self.ask(**more)
        assert isinstance(verdict, Preflight)
        assert len(dict(verdict.headers)) == len(verdict.headers)
        return dict(verdict.headers)

    def test_it_says_what_may_come(self) -> None:
        assert self.headers(Access_Control_Request_Headers="authorization,content-type") == {
            "Access-Control-Allow-Origin": APP,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
            "Access-Control-Allow-Headers": "authorization,content-type",
            "Access-Control-Max-Age": "7200",
            "Vary": "Origin",
        }

    def test_without_a_site_it_is_the_same(self) -> None:
        assert self.headers(site=None) == self.headers()

    @pytest.mark.parametrize("asked", ["", ",", "a b", "a,,b", "a\nb", "a: b", "ü", "a,"])
    def test_what_is_no_list_of_headers_is_not_sent_back(self, asked: str) -> None:
        assert "Access-Control-Allow-Headers" not in self.headers(Access_Control_Request_Headers=asked)

    def test_a_private_network_is_allowed_when_asked_for(self) -> None:
        name = "Access-Control-Allow-Private-Network"
        assert name not in self.headers()
        assert name not in self.headers(Access_Control_Request_Private_Network="false")
        assert self.headers(Access_Control_Request_Private_Network="true")[name] == "true"

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "", None])
    def test_others_are_refused(self, origin: str | None) -> None:
        problem(self.ask(origin=origin))
        problem(self.ask(origin=origin, Access_Control_Request_Private_Network="true"))

    def test_so_is_everyone_where_nobody_is_allowed(self) -> None:
        problem(self.ask(STRICT))

    def test_only_options_with_a_method_to_ask_for_is_one(self) -> None:
        assert isinstance(self.ask(method="POST"), Admitted)
        asked = judge(OPEN, method="OPTIONS", origin=APP, site="cross-site")
        assert isinstance(asked, Admitted)
