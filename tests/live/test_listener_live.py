"""Refusals that curl can read, and disconnected clients, with real kernels."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from owt.testing import LiveServer, wait_until

MIB = 1024 * 1024
SOFT = 500


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """Server that was started with a soft limit on descriptors below the hard one."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, hard))
    live = LiveServer("--max-url", "4KiB", "--max-header", "4KiB", "--max-body", "1MiB")
    try:
        live.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
    with contextlib.ExitStack() as stack:
        stack.push(live)
        yield live


def curl(*arguments: str | Path) -> str:
    """Run curl, which must succeed, and return its output."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "30", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_reads_the_refusal_of_a_body_of_200_mib(
    server: LiveServer, tmp_path: Path
) -> None:
    body = tmp_path / "body"
    with body.open("wb") as file:
        file.truncate(200 * MIB)
    for number in range(20):
        how = ["-H", "Transfer-Encoding: chunked"] if number % 2 else []
        output = curl("-H", "Expect:", *how, "-X", "POST", "-T", body, "-w", "%{http_code}", server.url)
        assert "--max-body" in output
        assert output.endswith("413")


def test_curl_reads_the_refusal_of_a_long_url_and_of_large_headers(server: LiveServer) -> None:
    for size in (5000, 100_000):
        output = curl("-w", "%{http_code}", f"{server.url}/{'u' * size}")
        assert "--max-url" in output
        assert output.endswith("414")
        output = curl("-H", "Accept: application/json", "-H", f"X: {'h' * size}", server.url)
        problem = json.loads(output)
        assert (problem["status"], problem["type"]) == (431, "urn:owt:headers-too-large")
        assert "--max-header" in problem["detail"]


FILES = """
import hashlib
def run():
    file = request.files["file"]
    digest = hashlib.sha256(file.stream.read()).hexdigest()
    return [request.form["title"], file.filename, digest]
"""


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film"
    path.write_bytes(os.urandom(3 * MIB))
    return path


def test_an_adaptor_reads_the_files_of_a_form_that_is_larger_than_the_limit(
    server: LiveServer, film: Path
) -> None:
    form = ["-F", "title=a film", "-F", f"file=@{film}"]
    result = curl(*form, f"{server.url}/?code={quote(FILES)}")
    assert json.loads(result) == ["a film", "film", hashlib.sha256(film.read_bytes()).hexdigest()]


def test_the_parts_of_a_form_that_is_larger_than_the_limit_are_no_arguments(
    server: LiveServer, film: Path
) -> None:
    code = quote("lambda file: len(file)")
    result = curl("-F", f"kwargs.file=@{film}", "-w", "%{http_code}", f"{server.url}/?code={code}")
    assert "read its files from request.files" in result
    assert result.endswith("400")


def test_a_form_with_code_that_is_larger_than_the_limit_is_refused(server: LiveServer, film: Path) -> None:
    result = curl("-F", f"file=@{film}", "-F", "code=1", "-w", "%{http_code}", server.url)
    assert "--max-body" in result
    assert result.endswith("413")


ENDLESS = """
import time
def run():
    while True:
        time.sleep(0.01)
"""


def state(server: LiveServer, session: str) -> str | None:
    """Return the state of a session, or None if there is none."""
    answer = server.ask("GET", f"/_owt/sessions/{session}")
    return str(answer.json()["state"]) if answer.status_code == 200 else None


def spare_states(server: LiveServer) -> list[str]:
    """Return the states of the pool's kernels."""
    return [str(kernel["state"]) for kernel in server.ask("GET", "/_owt/sessions").json()["pool"]]


@pytest.mark.parametrize("ahead", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_disconnect_cancels_a_silent_call_behind_requests_sent_ahead(
    server: LiveServer, ahead: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        target = f"/?session=silent&code={quote(ENDLESS)}"
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() + ahead)
        wait_until(lambda: state(server, "silent") == "busy")
    wait_until(lambda: state(server, "silent") == "idle")


def test_the_server_raises_its_descriptor_limit_and_kernels_get_the_original_one(
    server: LiveServer,
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    code = "import resource\nresource.getrlimit(resource.RLIMIT_NOFILE)[0]"
    assert server.call(code, session="forked").text == str(SOFT)
    answer = server.call(code, session="spawned", kernel="python3")
    assert answer.text == str(SOFT)


def test_without_free_descriptors_old_sessions_work_and_new_ones_get_503(server: LiveServer) -> None:
    assert server.call("def f(): return 'well'\n", session="old").status_code == 200
    # The start of a spare kernel takes descriptors, too.
    wait_until(lambda: spare_states(server) == ["idle"])
    limit = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    descriptors = set(map(int, os.listdir(f"/proc/{server.pid}/fd")))
    lowest_free = next(number for number in itertools.count() if number not in descriptors)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (lowest_free, limit[1]))
    try:
        refused = server.call("'well'", session="new")
        created = server.ask("PUT", "/_owt/sessions/new")
        assert server.call("f()", session="old").text == "well"
        names = [session["name"] for session in server.ask("GET", "/_owt/sessions").json()["sessions"]]
        output = curl("-w", "%{http_code}", server.url)
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limit)
    for answer in (refused, created):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "cannot start a kernel" in answer.text
        assert "(ulimit -n)" in answer.text
    assert "old" in names
    assert "new" not in names
    assert "file descriptors" in output
    assert output.endswith("503")
    assert server.call("'well'", session="new").text == "well"
    assert curl("-w", "%{http_code}", "-o", os.devnull, server.url) == "200"
    assert "Traceback" not in server.log()
