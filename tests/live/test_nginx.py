"""owt behind nginx, with the configuration of docs/how-to/proxy-tls.md.

Paths, ports and certificates are replaced by those of the test.
nginx is an ordinary process here, on a port of its own.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from certificates import Certificate, make
from free_ports import free_ports

from owt.testing import Gate, LiveServer, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "proxy-tls.md"
CLIENT = "127.0.0.5"
"""Source address of the client in these tests; nginx connects from another."""

FAILING = {
    "chunks": "def run():\n    yield 'begun'\n    raise ValueError",
    "a length": (
        "from flask import Response\n"
        "def parts():\n    yield b'begun'\n    raise ValueError\n"
        "def run(): return Response(parts(), headers={'Content-Length': '100'})"
    ),
}


def program() -> str:
    """Return the path of nginx; without it fail where CI has installed it, else skip."""
    match = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if match is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is missing; Debian's package is nginx-light")
        pytest.skip("there is no nginx here")
    return match


def configured() -> tuple[str, str, list[list[str]]]:
    """Return owt_proxy.conf, owt.conf, and the options of the servers that they are for, from the page."""
    proxy, places = re.findall(r"^```nginx\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    options = [line.split() for line in re.findall(r"^# owt serve (.+)$", places, re.MULTILINE)]
    return proxy, places, options


def replaced(text: str, old: str, new: object, times: int = 1) -> str:
    assert text.count(old) == times, old
    return text.replace(old, str(new))


@dataclass(frozen=True)
class Place:
    """A server behind nginx: its certificate, port and path there."""

    certificate: Certificate
    port: int
    path: str
    server: LiveServer

    @property
    def host(self) -> str:
        return f"{self.certificate.name}:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.host}{self.path}"

    def command(self, *words: str, path: str = "") -> list[str]:
        reach = ["--resolve", f"{self.host}:127.0.0.1", "--cacert", str(self.certificate.authority)]
        return ["curl", "-sSN", "--interface", CLIENT, *reach, *words, self.url + path]

    def ask(self, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words, path=path), capture_output=True, text=True, timeout=60)

    def call(self, code: str, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
        return self.ask("--data-urlencode", f"code={code}", *words, path=path)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    nginx = program()
    folder = tmp_path_factory.mktemp("nginx")
    proxy, config, (by_port, by_socket) = configured()
    unix = tmp_path_factory.mktemp("run") / "owt.sock"
    by_socket[by_socket.index("--unix-socket") + 1] = str(unix)
    port = free_ports(1)
    with LiveServer("-v", *by_port) as one, LiveServer("-v", *by_socket) as two:
        config = replaced(config, "127.0.0.1:9876", f"127.0.0.1:{one.port}")
        config = replaced(config, "unix:/run/owt.sock", f"unix:{unix}")
        config = replaced(config, "listen 443 ssl", f"listen 127.0.0.1:{port} ssl", 2)
        host, shared = [make(folder, name) for name in ("owt.example.org", "example.org")]
        for certificate in (host, shared):
            config = replaced(config, f"/etc/ssl/{certificate.name}.pem", certificate.certfile)
            config = replaced(config, f"/etc/ssl/{certificate.name}.key", certificate.keyfile)
        (folder / "owt_proxy.conf").write_text(proxy)
        (folder / "owt.conf").write_text(config)
        # Debian's nginx.conf, for a user without write access outside of this folder.
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user}\nerror_log stderr;\npid {folder}/pid;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}\ninclude owt.conf;\n}}\n"
        )
        log = folder / "log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr", "-g", "daemon off;"],
                stderr=errors,
            )

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            wait_until(listens)
            yield {
                "whole host": Place(host, port, "/", one),
                "path": Place(shared, port, "/owt/", two),
            }
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(params=["whole host", "path"])
def place(request, places):
    return places[request.param]


def test_call_passes_and_sees_its_original_url_and_address(place):
    code = "[request.url, request.url_root, request.path, request.remote_addr]"
    done = place.call(code, path="a%20b?c=d")
    assert done.stderr == ""
    assert json.loads(done.stdout) == [f"{place.url}a%20b?c=d", place.url, "/a b", CLIENT]


def test_client_cannot_forge_its_address(place):
    lies = [
        word
        for name, value in (("For", "192.0.2.1"), ("Proto", "http"), ("Host", "evil.example"))
        for word in ("-H", f"X-Forwarded-{name}: {value}")
    ]
    done = place.call("[request.url, request.remote_addr, request.headers['X-Forwarded-For']]", *lies)
    assert json.loads(done.stdout) == [place.url, CLIENT, f"192.0.2.1, {CLIENT}"]


def test_links_between_the_servers_own_pages_work(place):
    page = place.ask().stdout
    [index] = re.findall(r'href="([^"]+_owt/)"', page)
    assert index == f"{place.path}_owt/"
    [health] = re.findall(r'href="([^"]+/health)"', place.ask(path="_owt/").stdout)
    done = place.ask(path=health.removeprefix(place.path))
    assert json.loads(done.stdout)["status"] == "ok"


def test_an_event_arrives_while_the_adaptor_still_runs(place, tmp_path):
    gate = Gate(tmp_path)
    code = f"def run():\n    yield 'one'\n    open({str(gate)!r}).read()\n    yield 'two'"
    for kind in ("sse", "raw"):
        command = place.command("-d", f"stream={kind}", "--data-urlencode", f"code={code}")
        with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
            seen = b""
            while b"one" not in seen:
                seen += os.read(curl.stdout.fileno(), 100)
            gate.open()
            assert b"two" in curl.stdout.read()
        assert curl.returncode == 0


@pytest.mark.parametrize("failure", FAILING)
def test_an_aborted_response_makes_curl_fail(place, failure):
    done = place.call(FAILING[failure])
    assert done.stdout == "begun"
    assert done.returncode != 0


def test_client_that_disconnects_cancels_its_call(place, tmp_path):
    gate = Gate(tmp_path)
    code = f"def run():\n    yield request.environ['HTTP_X_MARK']\n    open({str(gate)!r}).read()"
    command = place.command("-H", f"X-Mark: {tmp_path.name}", "-i", "--data-urlencode", f"code={code}")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        gate.reached()
        seen = b""
        while not (match := re.search(rb"owt-run: (\S+)\r\n", seen, re.IGNORECASE)):
            seen += os.read(curl.stdout.fileno(), 1000)
        curl.kill()
    run = match[1].decode()
    wait_until(lambda: place.server.ask("GET", f"/_owt/runs/{run}").json()["status"] == 499)


def test_large_url_and_larger_body_pass(place):
    # Not by curl: 7.88 waits for ever when it could not send all of a request's headers at once.
    with socket.create_connection(("127.0.0.1", place.port), 30) as plain:
        name = place.certificate.name
        with place.certificate.trusting_context().wrap_socket(plain, server_hostname=name) as wrapped:
            connection = http.client.HTTPConnection(name)
            connection.sock = wrapped
            connection.request("GET", f"{place.path}?code=len('{'x' * 1_000_000}')")
            assert connection.getresponse().read() == b"1000000"
            kind = {"Content-Type": "text/x-python"}
            connection.request("POST", place.path, f"len('{'x' * 3_000_000}')", kind)
            assert connection.getresponse().read() == b"3000000"


def test_paths_beside_the_base_url_do_not_reach_the_server(places):
    done = places["path"].ask("-o", "/dev/null", "-w", "%{http_code}", path="../other")
    assert done.stdout == "404"
    done = places["path"].ask("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", path="../owt")
    assert done.stdout == f"301 {places['path'].url}"
