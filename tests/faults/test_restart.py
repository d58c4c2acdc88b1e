"""A server with --keep replaces itself: SIGHUP and `owt restart`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from certificates import make
from event_lines import events_until
from tornado.websocket import websocket_connect

from owt.cli.main import main as owt
from owt.host.reaper import MARK, marked
from owt.testing import Gate, LiveServer, wait_until

KEEP = ("--keep", "5m", "--pool-min", "0")

PATCH = """
import os
from pathlib import Path

folder, execv = Path(__file__).parent, os.execv

def failing(*arguments):
    if (folder / "unusable").exists():
        raise OSError(7, "Argument list too long")
    execv(*arguments)

os.execv = failing
if (folder / "incompatible").exists():
    import owt.wire.template
    owt.wire.template.HOST_PROTOCOL = 99
if (folder / "without-option").exists():
    import owt.frontend.config.settings
    rows = [row for row in owt.frontend.config.settings.settings() if row.name != "pool_min"]
    owt.frontend.config.settings.settings = lambda: rows
if (folder / "broken").exists():
    raise SystemExit("there is a fault in the new code")
"""
"""Module that each Python of the server imports first: it makes its code another version."""

Restarter = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # The path of `tmp_path` is too long for sockets.
    with tempfile.TemporaryDirectory() as base:
        (Path(base) / "sitecustomize.py").write_text(PATCH)
        yield Path(base)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LiveServer]:
    options = ("--runtime-dir", str(folder / "r"), *KEEP)
    with LiveServer(*options, env={"PYTHONPATH": str(folder)}) as server:
        mark = server.call(f"import os\nos.environ[{MARK!r}]", session="mark").text
        yield server
    wait_until(lambda: not (folder / "r").exists())
    assert not list(marked(mark))


@pytest.fixture
def restart(server: LiveServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> Restarter:
    """Run `owt restart` with these options; return its exit status and what it prints."""

    def run(*options: str) -> tuple[int, str]:
        status = owt(["restart", "--runtime-dir", str(folder / "r"), *options])
        output = capsys.readouterr()
        return status, output.out + output.err

    return run


def restarts(server: LiveServer) -> int:
    return int(server.ask("GET", "/_owt/health").json()["kept"]["restarts"])


def descriptors(server: LiveServer) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def receive(client: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = client.recv(4096)
        assert piece, data
        data += piece
    return data


def test_process_sessions_and_idle_connections_go_on(
    server: LiveServer, session: str, restart: Restarter
) -> None:
    server.call("x = 41", session=session)
    pid, kernel, before = server.pid, server.session(session)["pid"], restarts(server)
    assert restart()[0] == 0
    server.call("x", session=session)
    count = descriptors(server)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        request = f"GET /?code=x%2B1&session={session} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        client.sendall(request)
        receive(client, b"\r\n\r\n42")
        # A part of a head that the new code reads to its end.
        client.sendall(request[:20])
        status, output = restart()
        assert status == 0
        assert f"restarted the server (process {pid}) in " in output
        assert " go on" in output
        client.sendall(request[20:])
        receive(client, b"\r\n\r\n42")
    assert server.session(session)["pid"] == kernel
    assert restarts(server) == before + 2
    wait_until(lambda: descriptors(server) <= count)


def test_sighup_restarts_and_more_of_them_do_no_harm(server: LiveServer, session: str) -> None:
    server.call("x = 41", session=session)
    before = restarts(server)

    def restarted() -> bool:
        server.send_signal(signal.SIGHUP)
        return restarts(server) > before

    wait_until(restarted)
    assert server.call("x", session=session).text == "41"


def test_a_client_of_events_gets_each_event_once(
    server: LiveServer, session: str, restart: Restarter, tmp_path: Path
) -> None:
    gates = [Gate(tmp_path, f"gate{n}") for n in range(2)]
    waits = "".join(f"    {gate.wait}\n    for _ in range(20): yield i; i += 1\n" for gate in gates)
    call = {"session": session, "code": f"def run():\n    i = 0\n    yield 'on'\n{waits}", "stream": "sse"}
    with httpx.stream("POST", server.url, data=call, timeout=60, trust_env=False) as response:
        lines = response.iter_lines()
        events = events_until(lines, "on")
        gates[0].open()
        events += events_until(lines, "11")
        assert restart()[0] == 0
    gates[1].open()
    last = {"Last-Event-ID": events[-1].id or ""}
    with httpx.stream("POST", server.url, data=call, headers=last, timeout=60, trust_env=False) as response:
        events += events_until(response.iter_lines(), None)
    data = [event.data for event in events if event.event != "done"]
    assert data == ["on", *map(str, range(40))]
    numbers = [int((event.id or "").rpartition("-")[2]) for event in events]
    assert numbers == list(range(1, len(events) + 1))


def test_a_response_under_way_is_finished_while_other_calls_are_answered(
    server: LiveServer, session: str, restart: Restarter, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    before = restarts(server)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, f"{gate.wait}\n42", session=session)
        gate.reached()
        restarting = threads.submit(restart, "--drain", "60", "-v")
        server.wait_for_log("restarting; running calls get 60 s")
        # The connections of `server` are kept alive.
        for _ in range(20):
            assert server.call("1 + 1", session=f"{session}-2").text == "2"
        assert restarts(server) == before
        gate.open()
        assert call.result().text == "42"
        assert restarting.result()[0] == 0
    assert restarts(server) == before + 1


def test_a_response_that_takes_longer_than_drain_says_so(
    server: LiveServer, session: str, restart: Restarter, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    code = f"import builtins\ntry: {gate.wait}\nexcept KeyboardInterrupt: builtins.ended = True"
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, code, session=session)
        gate.reached()
        assert restart("--drain", "0")[0] == 0
        answer = call.result()
    assert answer.status_code == 503
    assert "the server restarts" in answer.text
    # As after a disconnect.
    assert server.call("ended", session=session).text == "True"


def test_a_call_with_an_id_of_its_own_goes_on_and_its_client_learns_that(
    server: LiveServer, session: str, restart: Restarter, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)

    def call() -> httpx.Response:
        form = {"code": f"{gate.wait}\n42", "session": session}
        return server.ask("POST", "/", data=form, headers={"Owt-Run": f"run-of-{session}"})

    with ThreadPoolExecutor() as threads:
        first = threads.submit(call)
        gate.reached()
        assert restart("--drain", "0")[0] == 0
        answer = first.result()
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "the run goes on; send the request again, with the same Owt-Run" in answer.text
        again = threads.submit(call)
        gate.open()
        assert again.result().text == "42"


def test_clients_that_call_all_the_time_see_no_error(
    server: LiveServer, session: str, restart: Restarter, tmp_path: Path
) -> None:
    over = tmp_path / "over"
    names = [f"{session}-{n}" for n in range(5)]
    for name in names:
        server.call("n = 0", session=name)

    def count(name: str) -> int:
        """Call until the test is over, and return the number of calls."""
        calls = 0
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not over.exists():
                answer = client.post(server.url, data={"code": "n += 1\nn", "session": name})
                assert answer.status_code == 200, answer.text
                calls += 1
        return calls

    with ThreadPoolExecutor(20) as threads:
        futures = [threads.submit(count, name) for _ in range(4) for name in names]
        try:
            statuses = [restart("--drain", "20")[0] for _ in range(2)]
        finally:
            over.touch()
        calls = [future.result() for future in futures]
    assert statuses == [0, 0]
    for n, name in enumerate(names):
        assert server.call("n", session=name).text == str(sum(calls[n::5]))
        server.ask("DELETE", f"/_owt/sessions/{name}")


def test_websockets_are_closed_as_by_a_restart(server: LiveServer, session: str, restart: Restarter) -> None:
    async def close_code() -> int | None:
        url = f"{server.url.replace('http', 'ws')}/?session={session}&code="
        client = await websocket_connect(url + "import+time%0Awhile+True:+time.sleep(.01)")
        restarting = asyncio.create_task(asyncio.to_thread(restart))
        assert await client.read_message() is None
        assert (await restarting)[0] == 0
        client.close()
        return client.close_code

    server.call("1", session=session)
    assert asyncio.run(close_code()) == 1012


def test_a_file_that_cannot_be_read_is_refused(server: LiveServer, session: str, restart: Restarter) -> None:
    server.call("x = 41", session=session)
    before = restarts(server)
    status, output = restart("--auth-file", "missing")
    # The server has another working directory than the command may have.
    problem = f"no restart: --auth-file (OWT_AUTH_FILE): {os.getcwd()}/missing: cannot be read"
    assert status == 2
    assert problem in output
    assert problem in server.log()
    assert server.call("x", session=session).text == "41"
    assert restarts(server) == before


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("unusable", "[Errno 7] Argument list too long"),
        ("broken", "the new code does not start (exit status 1): SystemExit: there is"),
        ("incompatible", "owt restart --discard"),
        ("without-option", "(exit status 2): owt serve: no such option '--pool-min'"),
    ],
)
def test_new_code_that_cannot_go_on_is_refused(
    server: LiveServer, session: str, folder: Path, restart: Restarter, state: str, problem: str
) -> None:
    server.call("x = 41", session=session)
    (folder / state).touch()
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        client.get("/_owt/health")
        try:
            status, output = restart()
        finally:
            (folder / state).unlink()
        assert status == 2
        assert problem in output
        # Its connection, too, is the same.
        assert client.get("/", params={"code": "x", "session": session}).text == "41"
    assert server.call("x", session=session).text == "41"


def test_a_restart_waits_for_the_modules_that_the_template_imports(
    tmp_path: Path, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slow.py").write_text(gate.wait)
    with tempfile.TemporaryDirectory() as base, ThreadPoolExecutor() as executor:
        place = ("--runtime-dir", str(Path(base, "r")))
        with LiveServer(*place, *KEEP, "--preload", "slow", env={"PYTHONPATH": str(tmp_path)}) as server:
            gate.reached()
            status = executor.submit(owt, ["restart", *place])
            wait_until(lambda: status.done() or "the restart waits until" in server.log())
            assert server.ask("GET", "/_owt/health").json()["kept"]["restarts"] == 0
            gate.open()
            assert status.result() == 0, capsys.readouterr().err
            assert restarts(server) == 1


def test_discard_ends_the_sessions_and_says_so(
    server: LiveServer, session: str, restart: Restarter, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    call = {"session": session, "code": f"def run():\n    yield 'on'\n    {gate.wait}", "stream": "sse"}
    pid = server.pid
    with httpx.stream("POST", server.url, data=call, timeout=60, trust_env=False) as response:
        lines = response.iter_lines()
        events_until(lines, "on")
        status, output = restart("--discard")
        events = events_until(lines, None)
    assert (status, server.pid) == (0, pid)
    assert "sessions ended" in output
    assert "owt restart --discard" in (events[-2].data or "")
    answer = server.call("1 + 1", session=session)
    assert answer.text == "2"
    assert "owt restart --discard" in answer.headers["Owt-Restarted"]


def test_discard_ends_sessions_that_are_kept_without_a_server(
    server: LiveServer, session: str, folder: Path, restart: Restarter
) -> None:
    server.call("x = 41", session=session)
    server.send_signal(signal.SIGKILL)
    server.wait()
    status, output = restart()
    assert status == 3
    assert "start it by owt serve" in output
    status, output = restart("--discard")
    assert status == 0
    assert output.startswith("ended ")
    server.start()
    assert "owt restart --discard" in server.call("1", session=session).headers["Owt-Restarted"]


def test_credentials_are_those_of_the_files_now_and_secrets_stay_hidden(folder: Path) -> None:
    certificate = make(folder, "127.0.0.1")
    tokens = folder / "tokens"
    secret, old, new, last = (f"{name}-0123456789abcdef" for name in ("secret", "old", "new", "last"))
    tokens.write_text(old)
    tokens.chmod(0o600)
    options = ("--runtime-dir", str(folder / "a"), *KEEP, "--token-file", str(tokens), *certificate.options)
    with LiveServer(*options, env={"OWT_TOKEN": secret}) as server:

        def statuses() -> list[int]:
            context = certificate.trusting_context()
            with httpx.Client(base_url=server.url, verify=context, trust_env=False) as client:
                headers = [{"Authorization": f"Bearer {token}"} for token in (secret, old, new, last)]
                return [client.get("/?code=1", headers=header).status_code for header in headers]

        assert statuses() == [200, 200, 401, 401]
        tokens.write_text(new)
        idle = socket.create_connection(("127.0.0.1", server.port))
        secure = certificate.trusting_context().wrap_socket(idle, server_hostname="127.0.0.1")
        secure.sendall(b"GET /_owt/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert secure.recv(1 << 16).startswith(b"HTTP/1.1 401 ")
        # TLS has another certificate, too.
        certificate = make(folder, "127.0.0.1")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            statuses()
        assert owt(["restart", "--runtime-dir", str(folder / "a"), "-v"]) == 0
        with secure, contextlib.suppress(ssl.SSLEOFError):
            # No other program can go on with it.
            assert secure.recv(1 << 16) == b""
        assert statuses() == [200, 401, 200, 401]
        command = [sys.executable, "-m", "owt", "restart", "--runtime-dir", str(folder / "a")]
        run = subprocess.run([*command, "--token", last], capture_output=True, text=True, check=True)
        assert "--token on the command line: other users could read it" in run.stderr
        assert statuses() == [401, 401, 200, 200]
        for file in ("cmdline", "environ"):
            text = Path(f"/proc/{server.pid}/{file}").read_bytes().decode()
            assert not any(word in text for word in (secret, new, last))
        assert "--token ..." in Path(f"/proc/{server.pid}/cmdline").read_text()


def test_a_server_without_keep_goes_on_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveServer("--pool-min", "0", "--no-fork") as server:
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("SIGHUP: the server goes on as it is: a restart would end its sessions")
        assert owt(["restart", "--port", str(server.port)]) == 2
        assert "Start the server with --keep" in capsys.readouterr().err
        assert server.ask("GET", "/_owt/health/live").status_code == 200
        assert server.log().count("SIGHUP") == 1


def test_the_end_of_its_terminal_ends_a_server() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        # The tests themselves may ignore it, under nohup.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        command = [sys.executable, "-m", "owt", "serve", "--port", "0", "--pool-min", "0", "--no-fork"]
        os.execv(sys.executable, command)
    output = b""
    while b"serving" not in output:
        output += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
