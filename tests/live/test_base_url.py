"""Server with a base URL, and headers of trusted proxies."""

import os
import re
import subprocess
import sys

import httpx
import pytest

from owt import Server
from owt.client import Client, RemoteError
from owt.testing import LiveServer


@pytest.fixture(scope="module")
def based():
    proxy = ("--trusted-proxy", "127.0.0.1", "--allow-host", "owt.example.org")
    with LiveServer("--base-url", "/my/owt", *proxy) as server:
        yield server


@pytest.fixture(scope="module")
def root(based):
    """Client of the host, without the base URL."""
    with httpx.Client(base_url=based.url.removesuffix("/my/owt"), timeout=30, trust_env=False) as client:
        yield client


def test_the_url_and_the_kernels_have_the_base_url(based):
    assert based.url == f"http://127.0.0.1:{based.port}/my/owt"
    assert based.call("Server.sing().url").text == based.url
    assert based.call("import os\nos.environ['OWT_URL']", session="a").text == based.url


@pytest.mark.parametrize(
    ("path", "inner"),
    [("/my/owt", "/"), ("/my/owt/", "/"), ("/my/owt/a/b", "/a/b"), ("/my/owt/my/owt", "/my/owt")],
)
def test_the_adaptors_path_follows_the_base_url(root, path, inner):
    code = "[request.path, request.script_root, request.url_root, request.url]"
    answer = root.post(path, data={"code": code}).json()
    host = str(root.base_url).rstrip("/")
    url = f"{host}{path}" if path != "/my/owt" else f"{host}{path}/"
    assert answer == [inner, "/my/owt", f"{host}/my/owt/", url]


@pytest.mark.parametrize("path", ["/", "/my", "/my/owtx", "/_owt/health", "/x/my/owt/", "/my/other"])
def test_a_path_outside_is_not_found_and_names_the_base_url(root, path):
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        answer = root.request(method, path, headers={"Accept": "application/json"})
        assert (answer.status_code, answer.headers["Owt-Base"]) == (404, "/my/owt")
        assert "is not under /my/owt/, the server's base path (--base-url)" in answer.json()["detail"]
    refused = root.post(path, content=iter([b"x" * 1000]))
    assert refused.status_code == 404


def test_the_servers_pages_link_to_each_other_with_the_base_url(root):
    assert root.get("/my/owt/_owt/health").json()["status"] == "ok"
    seen, waiting = set(), ["/my/owt", "/my/owt/"]
    while waiting:
        page = root.get(waiting.pop())
        assert page.status_code == 200, page.url
        if page.headers["Content-Type"].startswith("text/html"):
            links = re.findall(r'href="([^"]+)"', page.text)
            new = [link.replace("&amp;", "&") for link in links if link not in seen]
            seen.update(links)
            waiting += new
    assert "/my/owt/_owt/sessions" in seen
    assert root.get("/my/owt/_owt/", headers={"Accept": "application/json"}).json()["links"][0].startswith(
        "/my/owt/_owt/"
    )


def test_a_session_is_created_below_the_base_url(root):
    assert root.put("/my/owt/_owt/sessions/b").status_code == 201
    assert root.delete("/my/owt/_owt/sessions/b").status_code == 200


def test_a_client_with_a_longer_path_calls_and_finds_its_runs(based):
    for url in (based.url, f"{based.url}/", f"{based.url}/a"):
        with Client(url) as client:
            with pytest.raises(RemoteError) as caught:
                client.call("1 / 0")
            with Client(url) as other:
                assert other.run(caught.value.run)["failure"]["exception"] == "ZeroDivisionError"


def test_the_client_reads_the_failure_of_an_aborted_response_from_its_run(based):
    with Client(f"{based.url}/a/b") as client, pytest.raises(RemoteError) as caught:
        client.call("def run():\n    yield 'begun'\n    raise ValueError('enough')")
    assert caught.value.exception == "ValueError"


def test_code_in_a_kernel_calls_its_own_server(based):
    code = "def run():\n    from owt import Client\n    return Client().call('request.script_root')"
    assert based.call(code).text == "/my/owt"


def test_commands_accept_a_url_with_the_base_url(based):
    env = {**os.environ, "OWT_URL": based.url}
    for words in (["call", "--code", "6*7"], ["session", "list"]):
        done = subprocess.run(
            [sys.executable, "-m", "owt", *words], env=env, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_server_start_accepts_a_base_url():
    options = ("--base-url", "/x", "--address", "0.0.0.0", "--insecure", "--pool-min", "0", "--no-fork")
    with Server.start(*options) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/x"


# Headers of a trusted proxy, end to end; tests/frontend/access/test_proxies.py tests the rules.

FACTS = "[request.url, request.remote_addr, request.headers.get('X-Forwarded-For')]"
FORWARDED = {
    "X-Forwarded-For": "203.0.113.9, 192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "owt.example.org",
}


def test_headers_of_a_trusted_proxy_apply_and_reach_the_adaptor(root):
    answer = root.post("/my/owt/", data={"code": FACTS}, headers=FORWARDED)
    assert answer.json() == ["https://owt.example.org/my/owt/", "192.0.2.7", "203.0.113.9, 192.0.2.7"]
    # They do not apply to the next request on the same connection.
    assert root.post("/my/owt/", data={"code": FACTS}).json()[1:] == ["127.0.0.1", None]


def test_malformed_headers_of_a_proxy_are_ignored(root):
    malformed = {"X-Forwarded-For": "<script>", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "a b"}
    url, remote, chain = root.post("/my/owt/", data={"code": FACTS}, headers=malformed).json()
    assert (url, remote, chain) == (str(root.base_url.join("/my/owt/")), "127.0.0.1", "<script>")


def test_without_trusted_proxies_forwarded_headers_are_ignored(http):
    url, remote, chain = http.post("/", data={"code": FACTS}, headers=FORWARDED).json()
    assert (url, remote, chain) == (str(http.base_url.join("/")), "127.0.0.1", FORWARDED["X-Forwarded-For"])
