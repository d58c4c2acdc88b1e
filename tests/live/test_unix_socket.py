"""Server on a Unix socket: access, clients, and cleanup of the socket."""

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from owt import Server
from owt.client import AsyncClient, Client
from owt.errors import ConfigError
from owt.server import unix_url
from owt.server.child import Child
from owt.testing import Gate, LiveServer, wait_until

FAILING = "def run():\n    yield 'begun'\n    raise ValueError"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("here") / "owt socket"


@pytest.fixture(scope="module")
def unix(path):
    with LiveServer("-v", "--unix-socket", str(path)) as server:
        yield server


def curl(path, *words):
    command = ["curl", "-sSN", "--unix-socket", path, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def owt(*words, **env):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
    command = [sys.executable, "-m", "owt", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**clean, **env})


def test_the_socket_has_its_own_url_and_is_accessible_to_its_owner_only(unix, path):
    assert unix.url == unix_url(path)
    assert "%2Fowt%20socket" in unix.url
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_both_directions_of_a_call_use_the_socket(unix):
    with Client(unix.url) as client, client.duplex("def run(): yield from request.messages") as stream:
        stream.send("a")
        assert next(iter(stream)) == "a"


def links(folder):
    """Yield the targets of the links in a folder, without links that are removed meanwhile."""
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(f"{folder}/{name}")


def test_the_server_listens_on_no_port(unix):
    with open(f"/proc/{unix.pid}/net/tcp") as file:
        listening = [line.split()[9] for line in file if line.split()[3] == "0A"]
    held = list(links(f"/proc/{unix.pid}/fd"))
    assert not {f"socket:[{inode}]" for inode in listening} & set(held)


def test_curl_calls_the_server(unix, path):
    code = "code=[request.url, request.remote_addr, Server.sing().url, Server.sing().address]"
    done = curl(path, "http://owt/a", "--data-urlencode", code)
    assert json.loads(done.stdout) == ["http://owt/a", "unix", unix.url, str(path)]


def test_the_python_clients_call_the_server(unix):
    with Client(f"{unix.url}/a/b") as client:
        assert client.call("request.path") == "/a/b"
        assert [event.data for event in client.stream("(n for n in 'ab')")][:2] == ["a", "b"]
        assert client.with_options(method="GET").call("request.method") == "GET"
        with client.open("1") as answer:
            run = answer.headers["Owt-Run"]
        assert client.run(run)["id"] == run

    async def call():
        async with AsyncClient(unix.url) as client:
            return await client.call("6 * 7")

    assert asyncio.run(call()) == 42


def test_the_commands_call_the_server(unix, path):
    assert owt("call", "--code", "6*7", OWT_URL=unix.url).stdout.strip() == "42"
    assert owt("call", "--code", "6*7", "--address", unix.url).stdout.strip() == "42"
    assert owt("call", "--code", "6*7", OWT_UNIX_SOCKET=str(path)).stdout.strip() == "42"
    assert owt("session", "list", "--url", unix.url).returncode == 0
    missing = owt("call", "--code", "1", OWT_URL=unix_url(path.with_name("none")))
    assert missing.returncode == 3
    assert "no server answers at http+unix://" in missing.stderr


def test_owt_console_finds_a_session(unix):
    unix.call("x = 1", session="console")
    done = subprocess.run(
        [sys.executable, "-m", "owt", "console", "console", "--url", unix.url],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    # The session was found; jupyter_console need not be installed.
    assert "Ctrl-D leaves the console" in done.stderr or "jupyter_console is not installed" in done.stderr


def test_code_in_a_kernel_calls_its_own_server(unix):
    code = "def run():\n    from owt import Client\n    return Client().call('6 * 7')"
    assert unix.call(code).text == "42"


def test_an_event_arrives_while_the_adaptor_runs(unix, tmp_path):
    gate = Gate(tmp_path)
    with Client(unix.url) as client:
        code = f"def run():\n    yield 'one'\n    open({str(gate)!r}).read()\n    yield 'two'"
        events = client.stream(code)
        assert next(events).data == "one"
        gate.open()
        assert next(events).data == "two"
        events.close()


def test_a_client_that_disconnects_cancels_its_call(unix, tmp_path):
    gate = Gate(tmp_path)
    with Client(unix.url) as client:
        with client.open(f"def run():\n    yield 'one'\n    open({str(gate)!r}).read()") as answer:
            run = answer.headers["Owt-Run"]
            gate.reached()
        wait_until(lambda: client.run(run)["status"] == 499)


def test_an_aborted_response_makes_curl_fail(unix, path):
    done = curl(path, "http://owt/", "--data-urlencode", f"code={FAILING}")
    assert (done.returncode, done.stdout) == (18, "begun")


def test_http_1_0_is_refused_because_an_aborted_response_would_look_complete(unix, path):
    ask = ("--http1.0", "-w", "%{http_code}", "http://owt/")
    done = curl(path, *ask, "--data-urlencode", f"code={FAILING}")
    assert done.stdout.endswith("505")
    assert "proxy_http_version 1.1" in done.stdout
    # Responses of the server itself have a length.
    assert '"status":"ok"' in curl(path, "--http1.0", "http://owt/_owt/health").stdout


def test_the_printed_examples_work(tmp_path):
    path = tmp_path / "owt"
    command = [sys.executable, "-m", "owt", "serve", "--unix-socket", path, "--base-url", "/owt"]
    with subprocess.Popen([*command, "--show-examples"], stdout=subprocess.PIPE, text=True) as process:
        try:
            banner = ""
            while "hello.wav" not in banner:
                banner += process.stdout.readline()
            first, _, rest = banner.partition("# A session")
            hello = first[first.index("curl") :]
            session = rest[rest.index("curl") : rest.index("# Speech")]
            for command, answer in ((hello, "Hello, owt!\n"), (session, "42")):
                done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
                assert (done.stdout, done.stderr) == (answer, "")
        finally:
            process.terminate()


def test_a_stopped_server_removes_its_socket_and_a_stale_socket_is_replaced(tmp_path):
    path = tmp_path / "owt"
    options = ("--unix-socket", str(path), "--pool-min", "0", "--no-fork")
    with LiveServer(*options) as killed:
        killed.stop(signal.SIGKILL)
    assert path.is_socket()
    with LiveServer(*options) as server:
        with pytest.raises(ConfigError, match=r"--unix-socket .* it is in use"):
            Child(*options).wait_ready()
        assert server.ask("GET", "/_owt/health").status_code == 200
    assert not path.exists()


def test_a_server_that_fails_to_start_removes_its_socket(tmp_path):
    path = tmp_path / "owt"
    with pytest.raises(ConfigError, match="--runtime-dir"):
        Child("--unix-socket", str(path), "--runtime-dir", str(tmp_path / "none")).wait_ready()
    assert not path.exists()


def test_server_start_accepts_a_unix_socket(tmp_path):
    with Server.start("--unix-socket", str(tmp_path / "owt")) as server, Client(server.url) as client:
        assert (server.address, server.port) == (str(tmp_path / "owt"), 0)
        assert client.call("Server.sing().url") == server.url


def test_a_body_streams_over_the_socket(unix, path):
    code = "def run():\n    for line in request.stream: yield line.decode().upper()"
    command = ["curl", "-sSN", "--unix-socket", path, "-T", "-", "--url-query", f"code={code}", "http://owt/"]
    done = subprocess.run(command, input=b"one\n" * 50_000, capture_output=True, timeout=30)
    assert done.stdout == b"ONE\n" * 50_000
