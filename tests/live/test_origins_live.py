"""Checks of Host, Origin and Sec-Fetch-Site on a running server, with headers sent by curl."""

import base64
import hashlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from urllib.parse import quote

import pytest

from owt.testing import LiveServer

APP = "https://app.example.org"
USER = "alice:correct-horse"
DIGEST = hashlib.sha256(b"correct-horse").hexdigest()
CROSS = ("-H", "Sec-Fetch-Site: cross-site")
FROM_APP = (*CROSS, "-H", f"Origin: {APP}")
PAGES = ["/_owt/", "/_owt/sessions", "/_owt/runs", "/_owt/runs/x", "/_owt/cache", "/_owt/health", "/_owt/x"]
EXPOSED = "Owt-Run, Owt-Session, Owt-Cache, Owt-Base, Owt-Value, Retry-After"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """Server with a password, a host name, an allowed origin, and this machine as a trusted proxy."""
    options = ("--auth", f"alice:{DIGEST}", "--max-body", "64KiB")
    names = ("--allow-origin", APP, "--allow-host", "owt.example.org", "--trusted-proxy", "127.0.0.1")
    with LiveServer(*options, *names) as server:
        yield server


@dataclass
class Answer:
    status: int
    headers: Message
    body: str

    def all(self, name: str) -> list[str]:
        return self.headers.get_all(name, [])

    @property
    def vary(self) -> set[str]:
        """Return the headers that the response varies with, beside that of compression."""
        names = ",".join(self.all("Vary")).split(",")
        return {name.strip() for name in names} - {"Accept-Encoding"}

    @property
    def cors(self) -> dict[str, list[str]]:
        """Return the headers of the CORS protocol, each with all of its lines."""
        names = {name.lower() for name in self.headers if name.lower().startswith("access-control-")}
        return {name.removeprefix("access-control-"): self.all(name) for name in sorted(names)}


READABLE = {"allow-credentials": ["true"], "allow-origin": [APP], "expose-headers": [EXPOSED]}


def curl(server: LiveServer, path: str, *options: str, user: str | None = USER) -> Answer:
    who = ["-u", user] if user else []
    command = ["curl", "-sSi", "--noproxy", "*", *who, *options, server.url + path]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    first, _, rest = head.partition("\r\n")
    return Answer(int(first.split()[1]), Parser().parsestr(rest.replace("\r\n", "\n")), body)


class Mark:
    """File to which a call appends when it runs."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "mark"
        self._file.touch()
        self.code = f"open({str(self._file)!r}, 'a').write('x')"
        self.path = "/?code=" + quote(self.code)

    def __len__(self) -> int:
        return len(self._file.read_text())


@pytest.fixture
def mark(tmp_path: Path) -> Mark:
    return Mark(tmp_path)


class TestHost:
    @pytest.mark.parametrize("host", ["evil.example", "evil.example:9876", "127.1", "localhost.evil.example"])
    def test_a_request_for_an_unknown_host_name_runs_nothing(self, server, mark, host):
        answer = curl(server, mark.path, "-H", f"Host: {host}")
        assert answer.status == 403
        assert answer.body.startswith(f"unknown host: the Host header is '{host}'")
        assert "--allow-host" in answer.body
        assert len(mark) == 0

    @pytest.mark.parametrize(
        "host",
        ["localhost", "a.localhost:1", "10.1.2.3", "[::1]:9876", "owt.example.org", "OWT.example.org.:80"],
    )
    def test_a_request_for_a_known_host_name_runs(self, server, mark, host):
        assert curl(server, mark.path, "-H", f"Host: {host}").status == 200
        assert len(mark) == 1

    @pytest.mark.parametrize(
        "options",
        [
            ("-H", "Host: localhost@evil.example"),
            ("-H", "Host: evil.example@localhost"),
            ("-H", "Host: localhost, evil.example"),
            ("-H", "Host: evil.example/"),
            ("-H", "Host;"),
            ("-H", "Host:"),
            ("-H", "Host: local host"),
        ],
    )
    def test_a_request_with_a_malformed_host_runs_nothing(self, server, mark, options):
        # Tornado refuses most of these with 400 (RFC 9112, section 3.2).
        assert curl(server, mark.path, *options).status in (400, 403)
        assert len(mark) == 0

    @pytest.mark.parametrize(
        "hosts", ["localhost evil.example", "evil.example localhost", "localhost localhost"]
    )
    def test_a_request_with_several_hosts_is_refused(self, server, mark, hosts):
        # curl sends only one Host header.
        lines = [f"GET {mark.path} HTTP/1.1", *(f"Host: {host}" for host in hosts.split())]
        lines.append("Authorization: Basic " + base64.b64encode(USER.encode()).decode())
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            assert connection.makefile().readline().split()[1] == "400"
        assert len(mark) == 0

    def test_a_forwarded_host_hides_no_unknown_host(self, server, mark):
        forwarded = ("-H", "X-Forwarded-Host: localhost")
        refused = curl(server, mark.path, "-H", "Host: evil.example", *forwarded)
        assert refused.status == 403
        assert "'evil.example'" in refused.body
        assert len(mark) == 0
        assert curl(server, mark.path, *forwarded).status == 200

    def test_http_1_0_needs_no_host(self, server, mark):
        assert curl(server, mark.path, "--http1.0", "-H", "Host:").status == 200
        assert len(mark) == 1

    @pytest.mark.parametrize("path", PAGES)
    def test_the_servers_pages_refuse_an_unknown_host(self, server, path):
        answer = curl(server, path, "-H", "Host: evil.example", "-H", "Accept: application/json")
        assert answer.status == 403
        assert '"type":"urn:owt:unknown-host"' in answer.body


class TestSite:
    @pytest.mark.parametrize(
        "options",
        [
            CROSS,
            ("-H", "Sec-Fetch-Site: same-site"),
            ("-H", "Sec-Fetch-Site: nonsense"),
            ("-H", "Sec-Fetch-Site: none", "-H", "Sec-Fetch-Site: none"),
            ("-H", "Sec-Fetch-Site;"),
            ("-H", "Origin: https://evil.example"),
            ("-H", "Origin: null"),
            ("-H", f"Origin: {APP}", "-H", "Origin: https://evil.example"),
            (*CROSS, "-H", "Origin: https://evil.example"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_pages_of_other_origins_run_nothing(self, server, mark, method, options):
        call = [mark.path] if method == "GET" else ["/", "--data-urlencode", f"code={mark.code}"]
        answer = curl(server, *call, *options)
        assert answer.status == 403
        assert "a page of another origin sent this request" in answer.body
        assert "--allow-origin" in answer.body
        assert answer.cors == {}
        assert len(mark) == 0

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
    @pytest.mark.parametrize("path", ["/", "/_owt/sessions/mine"])
    def test_pages_of_other_origins_are_refused_for_every_method(self, server, path, method):
        options = ["-I"] if method == "HEAD" else ["-X", method]
        assert curl(server, path, *options, *CROSS).status == 403
        assert curl(server, "/_owt/sessions/mine").status == 404

    @pytest.mark.parametrize("path", PAGES)
    def test_pages_of_other_origins_cannot_read_the_servers_pages(self, server, path):
        assert curl(server, path, *CROSS).status == 403

    def test_pages_of_other_origins_get_no_challenge(self, server, mark):
        answer = curl(server, mark.path, *CROSS, user=None)
        assert answer.status == 403
        assert "www-authenticate" not in answer.headers

    def test_a_refusal_does_not_wait_for_a_large_body(self, server):
        assert curl(server, "/", *CROSS, "-H", "Content-Length: 1000000000", "-d", "x").status == 403

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_requests_of_own_pages_and_typed_addresses_run(self, server, mark, site):
        assert curl(server, mark.path, "-H", f"Sec-Fetch-Site: {site}").status == 200
        assert len(mark) == 1

    def test_a_post_from_the_own_origin_runs(self, server, mark):
        options = ("-H", f"Origin: {server.url}", "--data-urlencode", f"code={mark.code}")
        assert curl(server, "/", *options).status == 200
        assert len(mark) == 1


class TestAllowedOrigin:
    @pytest.mark.parametrize(
        ("options", "status"),
        [
            (["/?code=6*7"], 200),
            (["/?code=1/0"], 500),
            (["/?code=def"], 400),
            (["/"], 200),
            (["/?fn_name=f&session=none"], 404),
            (["/?code=(n for n in 'ab')&stream=sse"], 200),
            (["/?code=1/0", "-H", "Accept: text/event-stream"], 200),
            (["/?code=def run(): return '', 204"], 204),
            (["/?code=1&timeout=never"], 400),
            (["/", "-d", "x" * 70_000], 413),
            (["/", "-d", "x" * 70_000, "-H", "Transfer-Encoding: chunked"], 413),
            (["/", "-X", "PUT"], 405),
            (["/", "-X", "OPTIONS"], 204),
            (["/_owt/health"], 200),
            (["/_owt/"], 200),
            (["/_owt/nothing"], 404),
            (["/_owt/runs/nothing"], 404),
            (["/_owt/health", "-X", "OPTIONS"], 204),
            (["/_owt/sessions/mine", "-X", "PUT", "-d", "{"], 400),
            (["/_owt/sessions/none", "-X", "DELETE"], 404),
        ],
    )
    def test_an_allowed_origin_can_read_every_response(self, server, options, status):
        path, *rest = options
        answer = curl(server, path.replace(" ", "%20"), *rest, *FROM_APP)
        assert answer.status == status
        assert answer.cors == READABLE
        # The body of an error is text or JSON, as Accept says; so is a number and text.
        is_negotiated = status >= 400 or path in ("/?code=6*7", "/?code=def run(): return '', 204")
        assert answer.vary == ({"Origin", "Accept"} if is_negotiated else {"Origin"})

    def test_an_allowed_origin_can_read_a_401(self, server, mark):
        answer = curl(server, mark.path, *FROM_APP, user=None)
        assert answer.status == 401
        assert answer.cors == READABLE
        assert len(mark) == 0

    def test_an_allowed_origin_can_read_cached_responses(self, server):
        answers = [curl(server, "/?code=21*2&use_cache=1", *FROM_APP) for _ in range(2)]
        assert [answer.headers["Owt-Cache"] for answer in answers] == ["miss", "hit"]
        assert [answer.cors for answer in answers] == [READABLE, READABLE]
        assert curl(server, "/?code=21*2&use_cache=1").cors == {}

    def test_an_allowed_origin_gets_the_servers_cors_headers_not_the_adaptors(self, server):
        headers = {
            "Access-Control-Allow-Origin": "*",
            "access-control-allow-credentials": "false",
            "Access-Control-Expose-Headers": "X-Mine",
            "Vary": "Accept",
        }
        path = "/?code=" + quote(f"def run(): return 'text', {headers}")
        response = curl(server, path, *FROM_APP)
        assert response.cors == {**READABLE, "expose-headers": [EXPOSED, "X-Mine"]}
        assert response.vary == {"Origin", "Accept"}

    def test_other_clients_get_the_adaptors_cors_headers(self, server):
        path = "/?code=" + quote("def run(): return 'text', {'Access-Control-Allow-Origin': '*'}")
        assert curl(server, path).cors == {"allow-origin": ["*"]}


class TestPreflight:
    ASK = (*FROM_APP, "-X", "OPTIONS", "-H", "Access-Control-Request-Method: POST")

    @pytest.mark.parametrize("path", ["/", "/any/path", "/_owt/sessions/mine"])
    def test_a_preflight_of_an_allowed_origin_needs_no_credentials(self, server, path):
        headers = ("-H", "Access-Control-Request-Headers: authorization,content-type,owt-run")
        answer = curl(server, path, *self.ASK, *headers, user=None)
        assert (answer.status, answer.body) == (204, "")
        assert answer.cors == {
            "allow-credentials": ["true"],
            "allow-headers": ["authorization,content-type,owt-run"],
            "allow-methods": ["GET, POST, PUT, PATCH, DELETE"],
            "allow-origin": [APP],
            "max-age": ["7200"],
        }
        assert answer.vary == {"Origin"}

    def test_a_preflight_for_a_private_network_is_allowed(self, server):
        answer = curl(server, "/", *self.ASK, "-H", "Access-Control-Request-Private-Network: true")
        assert answer.cors["allow-private-network"] == ["true"]

    def test_preflights_of_other_origins_are_refused(self, server):
        answer = curl(server, "/", *self.ASK[2:], "-H", "Origin: https://evil.example", user=None)
        assert answer.status == 403
        assert answer.cors == {}

    def test_a_preflight_runs_nothing(self, server, mark):
        assert curl(server, mark.path, *self.ASK).status == 204
        assert len(mark) == 0
