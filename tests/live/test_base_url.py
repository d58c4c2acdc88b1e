"""A server whose whole self lies under a path."""

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
    """A client of the host, without the path."""
    with httpx.Client(base_url=based.url.removesuffix("/my/owt"), timeout=30, trust_env=False) as client:
        yield client


def test_the_url_has_it_and_kernels_know_it(based):
    assert based.url == f"http://127.0.0.1:{based.port}/my/owt"
    assert based.call("Server.sing().url").text == based.url
    assert based.call("import os\nos.environ['OWT_URL']", session="a").text == based.url


@pytest.mark.parametrize(
    ("path", "inner"),
    [("/my/owt", "/"), ("/my/owt/", "/"), ("/my/owt/a/b", "/a/b"), ("/my/owt/my/owt", "/my/owt")],
)
def test_the_adaptors_path_is_what_follows_it(root, path, inner):
    code = "[request.path, request.script_root, request.url_root, request.url]"
    answer = root.post(path, data={"code": code}).json()
    host = str(root.base_url).rstrip("/")
    url = f"{host}{path}" if path != "/my/owt" else f"{host}{path}/"
    assert answer == [inner, "/my/owt", f"{host}/my/owt/", url]


@pytest.mark.parametrize("path", ["/", "/my", "/my/owtx", "/_owt/health", "/x/my/owt/", "/my/other"])
def test_what_lies_elsewhere_is_not_found_and_told_where_the_server_is(root, path):
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        answer = root.request(method, path, headers={"Accept": "application/json"})
        assert (answer.status_code, answer.headers["Owt-Base"]) == (404, "/my/owt")
        assert "lies under /my/owt/ (--base-url)" in answer.json()["detail"]
    refused = root.post(path, content=iter([b"x" * 1000]))
    assert refused.status_code == 404


def test_its_own_pages_are_there_and_link_to_each_other(root):
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


def test_a_session_is_made_there(root):
    assert root.put("/my/owt/_owt/sessions/b").status_code == 201
    assert root.delete("/my/owt/_owt/sessions/b").status_code == 200


def test_a_client_with_a_path_below_it_calls_and_finds_its_runs(based):
    for url in (based.url, f"{based.url}/", f"{based.url}/a"):
        with Client(url) as client:
            with pytest.raises(RemoteError) as caught:
                client.call("1 / 0")
            with Client(url) as other:
                assert other.run(caught.value.run)["failure"]["exception"] == "ZeroDivisionError"


def test_an_answer_that_breaks_off_is_told_by_its_run(based):
    with Client(f"{based.url}/a/b") as client, pytest.raises(RemoteError) as caught:
        client.call("def run():\n    yield 'begun'\n    raise ValueError('enough')")
    assert caught.value.exception == "ValueError"


def test_code_in_a_kernel_calls_the_server_that_it_runs_in(based):
    code = "def run():\n    from owt import Client\n    return Client().call('request.script_root')"
    assert based.call(code).text == "/my/owt"


def test_the_commands_take_the_url_with_it(based):
    env = {**os.environ, "OWT_URL": based.url}
    for words in (["call", "--code", "6*7"], ["session", "list"]):
        done = subprocess.run(
            [sys.executable, "-m", "owt", *words], env=env, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_server_of_ones_own_can_have_one():
    options = ("--base-url", "/x", "--address", "0.0.0.0", "--insecure", "--pool-min", "0", "--no-fork")
    with Server.start(*options) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/x"


# What a trusted proxy says, end to end; the rules are tested in tests/frontend/test_proxies.py.

FACTS = "[request.url, request.remote_addr, request.headers.get('X-Forwarded-For')]"
SAID = {
    "X-Forwarded-For": "203.0.113.9, 192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "owt.example.org",
}


def test_a_trusted_proxy_is_believed_and_its_headers_reach_the_adaptor(root):
    answer = root.post("/my/owt/", data={"code": FACTS}, headers=SAID)
    assert answer.json() == ["https://owt.example.org/my/owt/", "192.0.2.7", "203.0.113.9, 192.0.2.7"]
    # And the next request on the same connection is another one.
    assert root.post("/my/owt/", data={"code": FACTS}).json()[1:] == ["127.0.0.1", None]


def test_rubbish_from_a_proxy_is_ignored(root):
    rubbish = {"X-Forwarded-For": "<script>", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "a b"}
    url, remote, said = root.post("/my/owt/", data={"code": FACTS}, headers=rubbish).json()
    assert (url, remote, said) == (str(root.base_url.join("/my/owt/")), "127.0.0.1", "<script>")


def test_nobody_is_believed_unless_the_server_is_told_so(http):
    url, remote, said = http.post("/", data={"code": FACTS}, headers=SAID).json()
    assert (url, remote, said) == (str(http.base_url.join("/")), "127.0.0.1", SAID["X-Forwarded-For"])
