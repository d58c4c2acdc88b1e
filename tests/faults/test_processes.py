"""The server's own processes: the template or the frontend is killed."""

import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from owt.host.reaper import MARK, marked
from owt.testing import Gate, LiveServer, wait_until

WAIT = "def run(path): return open(path).read() + 'finished'"


def waiting(gate: Gate) -> dict[str, str]:
    return {"kwargs": repr({"path": str(gate)})}


def template_of(mark):
    """Return the template of the server with this mark."""

    def find():
        for pid in marked(mark):
            try:
                if Path(f"/proc/{pid}/comm").read_text() == "owt-template\n":
                    return pid
            except OSError:
                pass
        return None

    return wait_until(find)


def test_sessions_go_on_and_start_when_the_template_is_killed(server, bystander, session, tmp_path):
    gate = Gate(tmp_path)
    mark = server.call(f"import os\nos.environ[{MARK!r}]").text
    server.call("x = 41", session=session)
    names = [f"{session}-{n}" for n in range(6)]
    with ThreadPoolExecutor(12) as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        new = [threads.submit(server.call, "1 + 1", session=name) for name in names[:3]]
        os.kill(template_of(mark), signal.SIGKILL)
        new += [threads.submit(server.call, "1 + 1", session=name) for name in names[3:]]
        assert [call.result().text for call in new] == ["2"] * 6
        gate.open()
        assert call.result().text == "finished"
    assert server.call("x + 1", session=session).text == "42"
    assert server.session(session)["restarts"] == 0
    for name in names:
        server.ask("DELETE", f"/_owt/sessions/{name}")


LEFT = """
import os, subprocess
def run(path):
    subprocess.Popen(['sleep', '1000'], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp('sleep', ['sleep', '1000'])
        os._exit(0)
    os.wait()
    while True:
        try:
            open(path).read()
            n = 0
            while True: n += 1
        except BaseException: pass
"""


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("state", ["computing", "starting"])
def test_no_process_is_left_after_the_frontend_is_killed(state, tmp_path):
    """The server of the bystander is a different one and must keep running."""
    with LiveServer() as doomed, ThreadPoolExecutor() as threads:
        mark = doomed.call(f"import os\nos.environ[{MARK!r}]").text
        doomed.call("1", session="s")
        folder = Path(doomed.session("s")["connection_file"]).parent
        if state == "computing":
            gate = Gate(tmp_path)
            call = threads.submit(doomed.call, LEFT, session="s", **waiting(gate))
            gate.open()
        elif state == "starting":
            call = threads.submit(doomed.call, "1", session="new")
            wait_until(lambda: doomed.ask("GET", "/_owt/health").json()["sessions"] == 2)
        doomed.send_signal(signal.SIGKILL)
        wait_until(lambda: not list(marked(mark)))
        wait_until(lambda: not folder.exists())
        if state == "computing":
            assert isinstance(call.exception(), httpx.HTTPError)


DETACHED = {
    "setsid": "    return [subprocess.Popen(['sleep', '600'], start_new_session=True).pid]",
    "double-fork": "    command = ['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 & echo $!']\n"
                   "    return [int(subprocess.run(command, stdout=-1, text=True).stdout)]",
    "fork-only": "    pid = os.fork()\n    if not pid:\n        os.setsid()\n        time.sleep(600)\n"
                 "    return [pid]",
}


@pytest.mark.parametrize("way", DETACHED)
@pytest.mark.parametrize("end", ["delete", "crash"])
def test_detached_processes_end_with_their_kernel(server, session, way, end):
    code = f"import os, subprocess, time\ndef run():\n{DETACHED[way]}"
    [pid] = server.call(code, session=session).json()
    other = server.call(code, session=f"{session}-b").json()[0]
    try:
        if end == "delete":
            server.ask("DELETE", f"/_owt/sessions/{session}")
        else:
            server.call("import os; os._exit(3)", session=session)
        wait_until(lambda: not psutil.pid_exists(pid))
        assert psutil.pid_exists(other)
    finally:
        server.ask("DELETE", f"/_owt/sessions/{session}-b")
    wait_until(lambda: not psutil.pid_exists(other))


@pytest.mark.parametrize("end", ["delete", "restart"])
def test_children_without_an_environment_end_with_a_kernel_that_the_server_ends(server, session, end):
    code = "subprocess.Popen(['/bin/sleep', '600'], start_new_session=True, env={}).pid"
    pid = int(server.call(f"import subprocess\n{code}", session=session).text)
    if end == "delete":
        server.ask("DELETE", f"/_owt/sessions/{session}")
    else:
        server.ask("POST", f"/_owt/sessions/{session}/restart")
    wait_until(lambda: not psutil.pid_exists(pid))


SHARED = """
import multiprocessing, subprocess, time
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(create=True, size=4096)
def use(name):
    same = shared_memory.SharedMemory(name)
    same.buf[0] = 1
    time.sleep(600)
worker = multiprocessing.get_context("fork").Process(target=use, args=(memory.name,), daemon=True)
worker.start()
while not memory.buf[0]: time.sleep(0.001)
[memory.name, worker.pid]
"""


@pytest.mark.parametrize("end", ["delete", "kill"])
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no files here")
def test_shared_memory_of_a_kernel_ends_with_it(server, session, end):
    name, pid = server.call(SHARED, session=session).json()
    assert Path("/dev/shm", name).exists()
    if end == "delete":
        server.ask("DELETE", f"/_owt/sessions/{session}")
    else:
        os.kill(server.session(session)["pid"], signal.SIGKILL)
    wait_until(lambda: not Path("/dev/shm", name).exists())
    wait_until(lambda: not psutil.pid_exists(pid))


UPLOADED = """
from pathlib import Path
def run(upload: Path, path):
    open(path).read()
"""


def test_uploaded_files_end_with_a_kernel_that_is_killed(server, session, gate):
    server.call("1", session=session)
    pid = server.session(session)["pid"]
    folder = Path(server.session(session)["connection_file"]).parent
    with ThreadPoolExecutor() as threads:
        call = threads.submit(
            server.ask, "POST", "/", data={"code": UPLOADED, "session": session, **waiting(gate)},
            files={"kwargs.upload": ("photo.bin", b"photo", "application/octet-stream")},
        )  # fmt: skip
        gate.reached()
        [file] = folder.rglob("photo.bin")
        os.kill(pid, signal.SIGKILL)
        assert call.result().status_code == 502
    wait_until(lambda: not file.parents[1].exists())


def test_the_next_server_cleans_up_after_one_whose_processes_were_all_killed():
    base = Path(tempfile.mkdtemp())
    with LiveServer("--runtime-dir", str(base)) as doomed:
        mark = doomed.call(f"import os\nos.environ[{MARK!r}]", session="s").text
        folder = Path(doomed.session("s")["connection_file"]).parent
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in [*marked(mark), doomed.pid]:
                os.kill(pid, number)
    assert folder.exists()
    with LiveServer("--runtime-dir", str(base)):
        wait_until(lambda: not folder.exists())
    assert os.listdir(base) == []
    base.rmdir()
