"""The frontend of a server with --keep is killed, and the next one goes on with its sessions."""

import json
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from channels_client import ROOT, ChannelsClient, state

from owt.cli.main import main as owt
from owt.errors import ConfigError
from owt.host.reaper import MARK, marked
from owt.testing import Gate, LiveServer, wait_until

KEEP = ("--keep", "5m", "--pool-min", "0")
KERNEL = [sys.executable, "-m", "owt.kernel", "-f", "{connection_file}"]
SPECS = {
    # The template of the server forks it; the template of another environment; no template.
    "same": {"argv": KERNEL, "metadata": {"kernel_provisioner": {"provisioner_name": "owt-fork"}}},
    "other": {
        "argv": KERNEL,
        "env": {"PYTHONHASHSEED": "7"},
        "metadata": {"kernel_provisioner": {"provisioner_name": "owt-fork"}},
    },
    "ipython": {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]},
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Path of a runtime directory. That of `tmp_path` is too long for sockets."""
    with tempfile.TemporaryDirectory() as base:
        yield Path(base, "r")


def notebook_of(folder):
    return folder.parent / "note.py"


def save_notebook(folder, version):
    """Save a notebook whose cells note that they run; the second one defines an endpoint."""
    note = f"print({{!r}}, file=open({str(folder.parent / 'ran')!r}, 'a'))"
    endpoint = f"@endpoint('/note')\ndef note(): return {version!r}"
    cells = [note.format("setup"), f"{note.format(version)}\n{endpoint}"]
    notebook_of(folder).write_text("".join(f"# %%\n{cell}\n" for cell in cells))


def mark_of(server, session="mark"):
    return server.call(f"import os\nos.environ[{MARK!r}]", session=session).text


@pytest.fixture(scope="module")
def server(folder) -> Iterator[LiveServer]:
    jupyter = folder.parent / "jupyter"
    for name, spec in SPECS.items():
        (jupyter / "kernels" / name).mkdir(parents=True)
        document = {"display_name": name, "language": "python", **spec}
        (jupyter / "kernels" / name / "kernel.json").write_text(json.dumps(document))
    save_notebook(folder, "first")
    options = ("--runtime-dir", str(folder), *KEEP, "--notebook", str(notebook_of(folder)))
    with LiveServer(*options, env={"JUPYTER_PATH": str(jupyter)}) as server:
        mark = mark_of(server)
        yield server
    wait_until(lambda: not folder.exists())
    assert not list(marked(mark))


def restart(server):
    server.stop(signal.SIGKILL)
    server.start()


def host_of(mark):
    """Return the template that a frontend or no process is the parent of."""
    for pid in marked(mark):
        words = " ".join(psutil.Process(pid).cmdline())
        if "owt.host.template" in words and "--runtime-dir" in words:
            return pid
    return None


@pytest.mark.parametrize("spec", SPECS)
def test_a_session_goes_on_with_the_next_frontend(server, session, spec):
    options = {"kernel": spec, "concurrency": 3, "env": {"COLOUR": "red"}, "cwd": "/tmp"}
    server.ask("PUT", f"/_owt/sessions/{session}", json=options)
    code = f"import os\nx = 41\n@endpoint('/{spec}')\ndef colour(): return os.environ['COLOUR']"
    server.call(code, session=session)
    before, url = server.session(session), server.url
    restart(server)
    assert server.url == url
    assert server.call("x + 1", session=session).text == "42"
    assert server.ask("GET", f"/{spec}").text == "red"
    after = server.session(session)
    assert after.pop("calls") == before.pop("calls") + 2
    for changing in ("memory", "last_used", "state"):
        del after[changing], before[changing]
    assert after == before
    os.kill(after["pid"], signal.SIGKILL)
    wait_until(lambda: server.session(session)["restarts"] == 1)
    assert "killed by SIGKILL" in server.session(session)["last_death"]
    server.ask("DELETE", f"/_owt/sessions/{session}")


def test_a_served_notebook_runs_again_from_its_first_changed_cell_on(server, folder):
    def ran():
        return (folder.parent / "ran").read_text().split()

    assert server.ask("GET", "/note").text == "first"
    before = ran()
    restart(server)
    assert server.ask("GET", "/note").text == "first"
    assert ran() == before
    server.stop(signal.SIGKILL)
    save_notebook(folder, "second")
    server.start()
    wait_until(lambda: server.ask("GET", "/note").text == "second")
    assert ran() == [*before, "second"]


def test_jupyter_clients_find_their_kernels_and_the_rest_of_a_running_cell(server, session, tmp_path):
    def documents():
        kernels = server.ask("GET", f"{ROOT}/api/kernels").json()
        notebooks = server.ask("GET", f"{ROOT}/api/sessions").json()
        ids = {kernel["session"]: kernel["id"] for kernel in kernels}
        return ids, {note["id"]: (note["path"], note["kernel"]["id"]) for note in notebooks}

    def start(page, **fields):
        answer = server.ask("POST", f"{ROOT}/api/{page}", json=fields)
        assert answer.status_code == 201
        return answer.json()

    server.call("1", session=session)
    chosen = str(uuid.uuid4())
    assert start("kernels", kernel_id=chosen, path=f"{session}-chosen.ipynb")["id"] == chosen
    attached = start("kernels", name=f"owt-session.{session}")["id"]
    note = start("sessions", path=f"{session}-n.ipynb", name="n", type="notebook", kernel={"id": chosen})
    gate = Gate(tmp_path)
    with ChannelsClient(server, chosen, session="client") as client:
        cell = client.execute(f"print('begun', flush=True)\n{gate.wait}\nprint('rest')\n6 * 7")
        gate.reached()
        before = documents()
        server.stop(signal.SIGKILL)
    server.start()
    assert documents() == before
    assert attached in before[0].values()
    assert before[1][note["id"]] == (f"{session}-n.ipynb", chosen)
    with ChannelsClient(server, chosen, session="client") as client:
        client.until(lambda message: state(message) == "busy")
        gate.open()
        kinds = set()

        def note_kind(message):
            if message["parent_header"].get("msg_id") == cell:
                kinds.add(message["msg_type"])
            return kinds >= {"stream", "execute_result", "execute_reply", "status"}

        client.until(note_kind)
        assert client.run("print(_)") == "42\n"
    for name in (session, *(name for name in before[0] if name.startswith(f"{session}-"))):
        server.ask("DELETE", f"/_owt/sessions/{name}")


def test_a_connection_that_is_made_between_two_frontends_is_answered(server, session):
    server.call("x = 41", session=session)
    server.stop(signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"GET /?code=x&session={session} HTTP/1.0\r\n\r\n".encode())
        server.start()
        answer = b""
        while data := client.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n41")


def test_a_call_whose_client_is_gone_with_the_frontend_is_interrupted(server, session, tmp_path):
    gate = Gate(tmp_path)
    code = "def run(path):\n try: open(path).read()\n except KeyboardInterrupt: state.x = 'interrupted'"
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, code, session=session, kwargs=repr({"path": str(gate)}))
        gate.reached()
        server.stop(signal.SIGKILL)
        assert isinstance(call.exception(), httpx.HTTPError)
    server.start()
    assert server.call("x", session=session).text == "interrupted"
    assert server.session(session)["restarts"] == 0


@pytest.mark.parametrize("end", ["killed by SIGKILL", "exited with status 3"])
def test_the_reason_of_a_death_between_two_frontends_is_told(server, session, tmp_path, end):
    gate = Gate(tmp_path)
    exit = f"threading.Thread(target=lambda: (open({str(gate)!r}).read(), os._exit(3)))"
    server.call(f"import os, threading\n{exit}.start()", session=session)
    gate.reached()
    pid = server.session(session)["pid"]
    server.stop(signal.SIGKILL)
    if end == "killed by SIGKILL":
        os.kill(pid, signal.SIGKILL)
    else:
        gate.open()
    wait_until(lambda: not psutil.pid_exists(pid))
    server.start()
    answer = server.call("1 + 1", session=session)
    assert answer.text == "2"
    assert end in answer.headers["Owt-Restarted"]
    assert server.session(session)["restarts"] == 1


def test_a_template_that_is_killed_is_replaced_and_keeps_the_sessions(server, session):
    server.call("x = 41", session=session)
    mark = mark_of(server)
    first = host_of(mark)
    restarts = server.ask("GET", "/_owt/health").json()["kept"]["host_restarts"]
    os.kill(first, signal.SIGKILL)
    server.wait_for_log("the template process ended .* keeps the sessions, whose kernels live on")
    health = server.ask("GET", "/_owt/health").json()["kept"]
    assert health["host_restarts"] == restarts + 1
    assert health["host"] not in (None, first)
    server.call("y = 1", session=f"{session}-2")
    server.stop(signal.SIGKILL)
    # A process that is stopped goes on when the next server comes.
    os.kill(health["host"], signal.SIGSTOP)
    server.start()
    assert server.call("x", session=session).text == "41"
    assert server.call("y", session=f"{session}-2").text == "1"
    # No process knows the exit status of a kernel whose parent is gone.
    os.kill(server.session(session)["pid"], signal.SIGKILL)
    wait_until(lambda: server.session(session)["restarts"] == 1)


def test_sessions_that_ended_with_the_template_are_told(server, session):
    def kernel_id():
        kernels = server.ask("GET", f"{ROOT}/api/kernels").json()
        return next(kernel["id"] for kernel in kernels if kernel["session"] == session)

    server.call("x = 41", session=session)
    mark, id = mark_of(server), kernel_id()
    host = host_of(mark)
    server.stop(signal.SIGKILL)
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: not list(marked(mark)))
    server.start()
    # Jupyter's clients see a kernel that was restarted.
    assert kernel_id() == id
    answer = server.call("1 + 1", session=session)
    assert answer.text == "2"
    assert "ended with the server" in answer.headers["Owt-Restarted"]
    assert mark_of(server) != mark


def test_a_second_server_at_the_same_place_is_refused(server, folder):
    with pytest.raises(ConfigError, match=f"another server .process {server.pid}. serves from"):
        LiveServer("--runtime-dir", str(folder), *KEEP).start()


def test_another_address_is_refused_and_the_sessions_stay(server, session, folder):
    server.call("x = 41", session=session)
    server.stop(signal.SIGKILL)
    with pytest.raises(ConfigError, match="belong to a server at"):
        LiveServer("--runtime-dir", str(folder), *KEEP, "--base-url", "/other").start()
    server.start()
    assert server.call("x", session=session).text == "41"


def test_health_metrics_and_status_show_what_is_kept(server, session, folder, capsys):
    server.call("1", session=session)
    restart(server)
    health = server.ask("GET", "/_owt/health").json()["kept"]
    assert (health["seconds"], health["problem"]) == (300.0, None)
    assert health["restarts"] >= 1
    assert health["kept_seconds"] > 0
    assert server.session(session)["kept"] == 300.0
    metrics = server.ask("GET", "/_owt/metrics").text
    assert f"owt_frontend_restarts_total {health['restarts']}.0" in metrics
    assert f"owt_kept_seconds {health['kept_seconds']}" in metrics
    assert owt(["status", "--runtime-dir", str(folder), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["server"], status["url"]) == (server.pid, server.url)
    assert session in status["sessions"]


STORM = 4
"""Number of frontends that are killed while clients call their sessions."""


def test_no_call_is_refused_and_no_variable_is_lost_when_frontends_are_killed(server, session, tmp_path):
    names = [f"{session}-{n}" for n in range(3)]
    for name in names:
        server.call("n = 0", session=name)
    pids = [server.session(name)["pid"] for name in names]
    url = server.url
    over = tmp_path / "over"

    def count(name: str) -> int:
        """Count in the session until the test is over; return the number of the last count."""
        last = 0
        with httpx.Client(timeout=60) as client:
            while not over.exists():
                try:
                    answer = client.post(url, data={"code": "n += 1\nn", "session": name})
                except httpx.ConnectError:
                    raise
                except httpx.HTTPError:
                    # Its call ran, or has not begun.
                    continue
                assert answer.status_code == 200
                assert int(answer.text) > last
                last = int(answer.text)
        return last

    with ThreadPoolExecutor() as threads:
        counts = [threads.submit(count, name) for name in names]
        try:
            for _ in range(STORM):
                calls = server.session(names[0])["calls"]
                wait_until(lambda calls=calls: server.session(names[0])["calls"] > calls)
                restart(server)
        finally:
            over.touch()
        for name, last in zip(names, counts, strict=True):
            assert int(server.call("n", session=name).text) >= last.result()
    assert [server.session(name)["pid"] for name in names] == pids


def test_owt_stop_ends_the_sessions_that_a_server_has_left(folder, capsys):
    place = str(folder.parent / "s")
    with LiveServer("--runtime-dir", place, *KEEP) as server:
        mark = mark_of(server)
        server.stop(signal.SIGKILL)
        assert owt(["status", "--runtime-dir", place]) == 0
        assert "kept by" in capsys.readouterr().out
        assert owt(["stop", "--runtime-dir", place]) == 0
        assert not list(marked(mark))
        assert owt(["status", "--runtime-dir", place]) == 3
        server.start()
        mark = mark_of(server)
        assert owt(["stop", "--runtime-dir", place]) == 0
        assert server.wait() == 0
        assert not list(marked(mark))
        assert not Path(place).exists()
        server.start()


def test_everything_ends_when_the_time_is_over(folder):
    place = folder.parent / "t"
    with LiveServer("--runtime-dir", str(place), "--keep", "100ms", "--pool-min", "1") as server:
        mark = mark_of(server)
        # A spare kernel may be starting.
        assert server.call("1", detach=1).status_code == 202
        server.stop(signal.SIGKILL)
        wait_until(lambda: not place.exists())
        wait_until(lambda: not list(marked(mark)))
        server.start()
        assert server.call("1 + 1", session="s").text == "2"
