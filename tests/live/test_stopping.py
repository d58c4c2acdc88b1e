"""Ends of a server: the results of its calls, and the absence of processes and files afterwards."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from owt.host.reaper import MARK, marked
from owt.testing import Gate, LiveServer, wait_until

WAIT = "def run(path): return open(path).read() + 'finished'"

# Processes that adaptors start and that only the server's end ends.
LEFTOVERS = """
import os, subprocess, sys
def run():
    pids = []
    # A child in a session of its own.
    pids.append(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)
    # A daemon by double fork.
    inner, outer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.close(inner); os.close(outer)
            os.execvp('sleep', ['sleep', '1000'])
        os.write(outer, b'%d' % pid)
        os._exit(0)
    os.wait()
    pids.append(int(os.read(inner, 20)))
    # A grandchild that ignores what can be ignored.
    code = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(1000)"
    pids.append(subprocess.Popen([sys.executable, '-c', code], start_new_session=True).pid)
    return pids
"""
UNMARKED = """
import subprocess
def run():
    return [subprocess.Popen(['/bin/sleep', '1000'], start_new_session=True, env={}).pid]
"""


def waiting(gate: Gate) -> dict[str, str]:
    return {"kwargs": repr({"path": str(gate)})}


def mark_of(server):
    return server.call(f"import os\nos.environ[{MARK!r}]").text


def folder_of(server, session="leftovers"):
    return Path(server.session(session)["connection_file"]).parent


def template_of(mark):
    def find():
        for pid in marked(mark):
            if Path(f"/proc/{pid}/comm").read_text() == "owt-template\n":
                return pid
        return None

    return wait_until(find)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


class Scene:
    """Server with kernels, one of them busy, and with processes that adaptors have started."""

    def __init__(self, server):
        self.server = server
        self.mark = mark_of(server)
        self.pids = server.call(LEFTOVERS, session="leftovers").json()
        self.pids.append(server.session("leftovers")["pid"])
        self.folder = folder_of(server)
        self.template = template_of(self.mark)
        assert {*self.pids, self.template} <= set(marked(self.mark))

    def assert_nothing_left(self):
        wait_until(lambda: not list(marked(self.mark)))
        wait_until(lambda: not any(map(alive, self.pids)))
        wait_until(lambda: not self.folder.exists())


@pytest.mark.parametrize(("number", "fork"), [(signal.SIGTERM, "--fork"), (signal.SIGINT, "--no-fork")])
def test_a_signal_ends_the_server_and_all_processes_that_it_started(number, fork):
    with LiveServer(fork) as server:
        scene = Scene(server)
        assert server.stop(number) == 0
        scene.assert_nothing_left()
        assert server.log() == ""


def test_no_spawned_process_is_left_when_the_frontend_is_killed():
    with LiveServer("--no-fork") as server:
        scene = Scene(server)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        scene.assert_nothing_left()


def test_no_busy_kernel_is_left_when_the_frontend_is_killed(tmp_path):
    stubborn = (
        "import signal\n"
        "def run(path):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n"
        "    while True:\n"
        "        try:\n"
        "            open(path).read()\n"
        "            while True: pass\n"
        "        except BaseException: pass\n"
    )
    gate = Gate(tmp_path)
    with LiveServer() as server, ThreadPoolExecutor() as threads:
        scene = Scene(server)
        call = threads.submit(server.call, stubborn, session="busy", **waiting(gate))
        gate.open()
        scene.pids.append(server.session("busy")["pid"])
        server.send_signal(signal.SIGKILL)
        assert isinstance(call.exception(), httpx.HTTPError)
        scene.assert_nothing_left()


@pytest.mark.parametrize(("fork", "first"), [("--fork", "frontend"), ("--no-fork", "template")])
def test_no_process_is_left_when_frontend_and_template_are_killed(fork, first):
    with LiveServer(fork) as server:
        scene = Scene(server)
        both = [server.pid, scene.template]
        # Both are stopped, so that neither detects the end of the other before its own.
        for pid in both:
            os.kill(pid, signal.SIGSTOP)
        for pid in both if first == "frontend" else reversed(both):
            os.kill(pid, signal.SIGKILL)
        scene.assert_nothing_left()


def test_processes_without_the_servers_mark_end_with_the_server(tmp_path):
    with LiveServer() as server:
        server.call("1", session="leftovers")
        folder = folder_of(server)
        [pid] = server.call(UNMARKED, session="leftovers").json()
        # Its parent's end is no act of the server, which then does not know whose it was.
        os.kill(server.session("leftovers")["pid"], signal.SIGKILL)
        wait_until(lambda: server.session("leftovers")["restarts"])
        assert alive(pid)
        server.stop(signal.SIGKILL)
        wait_until(lambda: not alive(pid))
        wait_until(lambda: not folder.exists())


def test_a_killed_template_is_replaced_and_sessions_continue(tmp_path):
    gate = Gate(tmp_path)
    with LiveServer() as server, ThreadPoolExecutor() as threads:
        scene = Scene(server)
        server.call("x = 41", session="old")
        call = threads.submit(server.call, WAIT, session="old", **waiting(gate))
        gate.reached()
        os.kill(scene.template, signal.SIGKILL)
        server.wait_for_log("template process ended")
        # Kernels may start meanwhile.
        assert server.call("'new'", session="new").text == "new"
        gate.open()
        assert call.result().text == "finished"
        assert server.call("x + 1", session="old").text == "42"
        again = template_of(scene.mark)
        assert again != scene.template

        def forked():
            name = f"f{next(numbers)}"
            parent = server.call("import os\nos.getppid()", session=name).text
            server.ask("DELETE", f"/_owt/sessions/{name}")
            return parent == str(again)

        numbers = iter(range(100))
        wait_until(forked)
        # The end of a kernel of the old template is detected, but its exit status is unknown.
        os.kill(server.session("old")["pid"], signal.SIGKILL)
        wait_until(lambda: server.session("old")["restarts"] == 1)
        assert "is not known" in server.session("old")["last_death"]
        assert server.call("'x' in state", session="old").text == "False"
        server.stop(signal.SIGKILL)
        scene.assert_nothing_left()


# Calls in flight ------------------------------------------------------------------------------------


def test_running_and_queued_calls_finish_before_the_server_ends(tmp_path):
    gate = Gate(tmp_path)
    with LiveServer("--drain", "60") as server, ThreadPoolExecutor() as threads:
        keep = httpx.Client(base_url=server.url, trust_env=False)
        assert keep.get("/_owt/health/live").status_code == 200
        call = threads.submit(server.call, WAIT, session="s", **waiting(gate))
        gate.reached()
        queued = threads.submit(server.call, "'queued'", session="s")
        wait_until(lambda: server.session("s")["queue"] == 1)
        server.send_signal(signal.SIGTERM)
        # No new calls: new connections are refused, and calls on old ones.
        wait_until(lambda: keep.get("/_owt/health").json()["status"] == "draining")
        assert keep.get("/_owt/health").status_code == 503
        assert keep.get("/_owt/health/ready").json()["status"] == "draining"
        assert keep.get("/_owt/health/live").status_code == 200
        refused = keep.get("/", params={"code": "1"})
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url, trust_env=False)
        gate.open()
        assert call.result().text == "finished"
        assert queued.result().text == "queued"
        keep.close()
        assert server.wait() == 0


def test_a_stream_is_sent_completely_before_the_server_ends(tmp_path):
    gate = Gate(tmp_path)
    code = (
        "def run(path):\n"
        "    yield 'begin\\n'\n"
        "    open(path).read()\n"
        "    for n in range(300): yield b'x' * 10_000\n"
    )
    with LiveServer("--drain", "60") as server:
        fields = {"code": code, "session": "s", **waiting(gate)}
        with httpx.stream("POST", server.url, data=fields, timeout=30, trust_env=False) as answer:
            gate.reached()
            server.send_signal(signal.SIGTERM)
            gate.open()
            # The run ends long before this client has read the response.
            body = b"".join(answer.iter_bytes())
        assert len(body) == 6 + 3_000_000
        assert server.wait() == 0


def refuses(server):
    """Return True if the server accepts no more connections, because it is ending."""
    try:
        return httpx.get(f"{server.url}/_owt/health", trust_env=False) is None
    except httpx.TransportError:
        # A connection that waited to be accepted is reset.
        return True


@pytest.mark.parametrize("again", [False, True], ids=["drain is over", "second signal"])
def test_calls_that_exceed_the_shutdown_time_fail_with_a_response(again, tmp_path):
    gate = Gate(tmp_path)
    with LiveServer("--drain", "60" if again else "0.1") as server, ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, WAIT, session="s", **waiting(gate))
        gate.reached()
        queued = threads.submit(server.call, "'queued'", session="s")
        wait_until(lambda: server.session("s")["queue"] == 1)
        pooled = threads.submit(server.call, "while True: pass")
        wait_until(lambda: server.ask("GET", "/_owt/health").json()["runs"] == 3)
        server.send_signal(signal.SIGTERM)
        if again:
            wait_until(lambda: refuses(server))
            server.send_signal(signal.SIGTERM)
        for ended_call in (call, queued, pooled):
            assert ended_call.result().status_code == 503
            assert "the server is shutting down" in ended_call.result().text
        assert server.wait() == 0


def test_a_stream_ended_by_the_shutdown_is_a_broken_transfer(tmp_path):
    gate = Gate(tmp_path)
    code = "def run(path):\n    yield 'first\\n'\n    open(path).read()"
    with LiveServer("--drain", "0.1") as server:
        fields = {"code": code, "session": "s", **waiting(gate)}
        with httpx.stream("POST", server.url, data=fields, timeout=30, trust_env=False) as answer:
            gate.reached()
            server.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
        assert server.wait() == 0


def test_a_signal_right_after_the_start_ends_the_server():
    with LiveServer() as server:
        assert server.stop() == 0


def test_the_terminals_interrupt_reaches_no_kernel(tmp_path):
    gate = Gate(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "owt", "serve", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    with process, ThreadPoolExecutor() as threads:
        url = process.stdout.readline().removeprefix("Owt serving on ").strip()
        fields = {"code": WAIT, "session": "s", **waiting(gate)}
        call = threads.submit(httpx.post, url, data=fields, timeout=30, trust_env=False)
        gate.reached()
        # Like Ctrl-C: SIGINT for the whole foreground process group.
        os.killpg(process.pid, signal.SIGINT)
        gate.open()
        assert call.result().text == "finished"
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
