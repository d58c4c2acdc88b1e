"""`owt serve`: options, errors at the start, access, and the environment of kernels."""

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from owt.testing import LiveServer, wait_until

SECRET = "correct-horse"
IDLE = ("--pool-min", "0", "--no-fork")
"""Options of a server without kernels, which starts quickly."""
AUTH = f"alice:{hashlib.sha256(SECRET.encode()).hexdigest()}"


def serve(*args, module="owt", env=None):
    """Run `owt serve` until it exits; return its status, standard output and standard error."""
    words = ["serve", *args] if module == "owt" else list(args)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OWT_")}
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env={**clean, **(env or {})})
    return done.returncode, done.stdout, done.stderr


def test_two_servers_on_free_ports_are_independent():
    with LiveServer() as one, LiveServer() as two:
        assert one.port != two.port
        assert [server.url for server in (one, two)] == [f"http://127.0.0.1:{s.port}" for s in (one, two)]
        one.call("x = 'one'", session="same")
        two.call("x = 'two'", session="same")
        assert [server.call("x", session="same").text for server in (one, two)] == ["one", "two"]
        folders = {os.path.dirname(server.session("same")["connection_file"]) for server in (one, two)}
        assert len(folders) == 2
        one.stop()
        assert two.call("x", session="same").text == "two"


def test_a_port_in_use_is_one_line_and_status_2():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        for status, out, err in (serve("--port", port), serve(env={"OWT_PORT": port})):
            assert (status, out) == (2, "")
            assert err.count("\n") == 1
            assert port in err
            assert "in use" in err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["--port", "eighty"], "eighty"),
        (["--port", "70000"], "70000"),
        (["--auth", "alice"], "--auth"),
        (["--auth", "alice:12345"], "--auth"),
        (["--auth", ":" + "0" * 64], "--auth"),
        (["--queue", "-1"], "--queue"),
        (["--pool-min", "5", "--pool-max", "2"], "--pool-max"),
        (["--address", "999.1.1.1"], "999.1.1.1"),
        (["--address", "0.0.0.0"], "--insecure"),
        (["--runtime-dir", "/nonexistent/folder"], "/nonexistent/folder"),
        (["--runtime-dir", __file__], f"{__file__} is a file; give a directory"),
        (["--runtime-dir", __file__, "--keep", "1m"], f"{__file__} is a file; give a directory"),
        (["--kernel", "a b"], "--kernel"),
        (["--kernel", "none"], "--kernel: there is no such kernelspec; got 'none'. There are: owt"),
        (["--preload", "1x"], "--preload"),
        (["surplus"], "surplus"),
    ],
)
def test_an_invalid_option_is_one_line_and_status_2(args, text):
    status, out, err = serve("--port", "0", *args)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert text in err
    assert "Traceback" not in err


def test_the_secret_of_a_malformed_auth_is_not_shown():
    status, _, err = serve("--auth", "alice:" + "z" * 64)
    assert status == 2
    assert "zzz" not in err


def test_a_public_address_without_credentials_is_refused_with_the_reason():
    status, _, err = serve("--port", "0", env={"OWT_ADDRESS": "0.0.0.0"})
    assert status == 2
    assert "run code as this user" in err


def test_insecure_allows_a_public_address():
    with LiveServer("--address", "0.0.0.0", "--insecure") as server:
        url = f"http://127.0.0.1:{server.port}"
        assert server.url == f"http://0.0.0.0:{server.port}"
        # The URL in adaptors is reachable from this machine.
        assert httpx.get(url, params={"code": "Server.sing().url"}, trust_env=False).text == url


def test_credentials_allow_a_public_address():
    with LiveServer("--address", "0.0.0.0", "--auth", AUTH, *IDLE) as server:
        assert httpx.get(f"http://127.0.0.1:{server.port}/_owt/health", trust_env=False).status_code == 401


def test_settings_are_read_from_the_environment():
    settings = {"OWT_QUEUE": "0", "OWT_MAX_SESSIONS": "1", "OWT_POOL_MIN": "0", "OWT_VERBOSE": "1"}
    with LiveServer(env={**settings, "OWT_QUEU": "1"}) as server:
        assert "OWT_QUEU is no variable of owt and has no effect; did you mean OWT_QUEUE?" in server.log()
        assert server.call("def run(): print('seen')", session="one").status_code == 200
        assert "--max-sessions 1" in server.call("1", session="two").text
        server.wait_for_log("stdout: seen")


def test_an_option_overrides_its_variable():
    with LiveServer("--max-body", "2000", *IDLE, env={"OWT_MAX_BODY": "1000"}) as server:
        sent = [server.ask("POST", "/_owt/nothing", content=b"x" * size) for size in (1500, 2500)]
        assert [answer.status_code for answer in sent] == [404, 413]


def test_python_m_owt_server_is_owt_serve():
    status, _, err = serve("--port", "eighty", module="owt.server")
    assert status == 2
    assert "eighty" in err
    command = [sys.executable, "-m", "owt.server", "--port", "0", *IDLE]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        url = process.stdout.readline().removeprefix("Owt serving on ").strip()
        assert httpx.get(f"{url}/_owt/health/live", trust_env=False).json()["status"] == "ok"
        process.terminate()
    assert process.returncode == 0


def test_preloaded_modules_are_imported_before_any_code():
    with LiveServer("--preload", "numpy,colorsys") as server:
        code = "import sys\n['numpy' in sys.modules, 'colorsys' in sys.modules, 'wave' in sys.modules]"
        assert server.call(code).json() == [True, True, False]
        assert server.call("import numpy\nnumpy.arange(3).sum().item()").text == "3"
        # Every kernel has its own random numbers.
        code = "import numpy, random\n[numpy.random.rand(), random.random()]"
        draws = [server.call(code, session=name).json() for name in "ab"]
        assert not set(draws[0]) & set(draws[1])


def test_a_preload_that_fails_is_a_warning(tmp_path):
    (tmp_path / "owt_test_raises.py").write_text("raise RuntimeError('no good')")
    (tmp_path / "owt_test_exits.py").write_text("raise SystemExit(3)")
    (tmp_path / "owt_test_dies.py").write_text("import os\nos._exit(3)")
    modules = "owt_test_nosuch,owt_test_raises,owt_test_exits,colorsys"
    with LiveServer("--preload", modules, env={"PYTHONPATH": str(tmp_path)}) as server:
        assert server.call("import sys\n'colorsys' in sys.modules").text == "True"
        log = server.log()
    assert "--preload owt_test_nosuch: ModuleNotFoundError" in log
    assert "--preload owt_test_raises: RuntimeError: no good" in log
    assert "--preload owt_test_exits: SystemExit: 3" in log
    assert "Traceback" not in log
    # A module that ends the importing process leaves only spawned kernels.
    with LiveServer("--preload", "owt_test_dies", env={"PYTHONPATH": str(tmp_path)}) as server:
        assert server.call("'served'").text == "served"
        server.wait_for_log("exit code 3.; kernels start without it")
        code = "import sys\n['served', 'owt_test_dies' in sys.modules]"
        assert server.call(code, session="spawned").json() == ["served", False]


def test_without_fork_kernels_are_spawned():
    with LiveServer("--no-fork", "--preload", "owt_test_nosuch,colorsys") as server:
        server.call("x = 41", session="a")
        assert server.call("x + 1", session="a").text == "42"
        assert server.call("import os\nos.getppid()", session="a").text == str(server.pid)
        assert server.call("while True: pass", session="a", timeout=0.2).status_code == 504
        assert server.call("x", session="a").text == "41"
        answer = server.call("import os\nos._exit(3)", session="a")
        assert answer.status_code == 502
        assert "exited with status 3" in answer.text
        assert server.call("'x' in state", session="a").text == "False"
        assert server.call("import sys\n'colorsys' in sys.modules", session="b").text == "True"
        server.wait_for_log("--preload owt_test_nosuch: ModuleNotFoundError")
        assert server.call("import os\n[name for name in os.environ if 'PRELOAD' in name]").json() == []


def test_the_runtime_directory_is_accessible_to_its_owner_only(server, session):
    server.call("1", session=session)
    file = Path(server.session(session)["connection_file"])
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o077 == 0
    assert '"transport": "ipc"' in file.read_text()
    assert all(len(str(path)) < 108 for path in file.parent.iterdir())


def test_the_runtime_directory_can_be_set(tmp_path_factory):
    folder = Path("/tmp") / f"owt-test-{os.getpid()}"
    folder.mkdir()
    try:
        with LiveServer("--runtime-dir", str(folder)) as server:
            server.call("1", session="a")
            assert Path(server.session("a")["connection_file"]).parent.parent == folder
        assert list(folder.iterdir()) == []
    finally:
        folder.rmdir()


def test_kernels_lead_their_own_process_group(server, session):
    code = "import os\n[os.getpid(), os.getpgrp(), os.getsid(0)]"
    assert len(set(server.call(code, session=session).json())) == 1


def test_deleted_sessions_leave_no_descriptors_and_no_files():
    def descriptors():
        return len(os.listdir(f"/proc/{server.pid}/fd"))

    with LiveServer("--pool-min", "0") as server:
        server.call("1", session="warm")
        folder = Path(server.session("warm")["connection_file"]).parent
        server.ask("DELETE", "/_owt/sessions/warm")
        before = descriptors()
        for n in range(10):
            server.call("1", session=f"s{n}")
            server.ask("DELETE", f"/_owt/sessions/s{n}")
        wait_until(lambda: descriptors() <= before)
        wait_until(lambda: {file.name for file in folder.iterdir()} == {"server-id", "frontend.json"})
