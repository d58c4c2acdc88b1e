"""owt.host.template: imports, forks, exit statuses, and the cleanup when the frontend is gone."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from owt.host.reaper import MARK, marked
from owt.testing import Gate, LiveServer, wait_until
from owt.wire.framing import encode_frame
from owt.wire.template import Exited, Fork, Forked, NotForked, Ready, template_decoder


class Template:
    """A template process, and the frontend's side of its socket."""

    def __init__(self, *options):
        self.mark = f"test-{secrets.token_hex(8)}"
        self.folder = Path(tempfile.mkdtemp(prefix="owt-"))
        self.env = {**os.environ, MARK: self.mark}
        self.decoder = template_decoder()
        self.messages = []
        self.pidfds = []
        self.channel, far = socket.socketpair()
        self.channel.settimeout(30)
        with far:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "owt.host.template", "--channel", str(far.fileno()),
                 "--runtime-dir", str(self.folder), *options],
                pass_fds=[far.fileno()], env=self.env, start_new_session=True,
                stdout=subprocess.PIPE, text=True,
            )

    def receive(self):
        while not self.messages:
            data, pidfds, _, _ = socket.recv_fds(self.channel, 1 << 16, 8)
            assert data
            self.pidfds += pidfds
            self.messages += self.decoder.feed(data)
        return self.messages.pop(0)

    def fork(self, id, *argv, **env):
        self.channel.sendall(encode_frame(Fork(id, argv, {**self.env, **env}, str(self.folder))))

    def close(self):
        self.channel.close()
        for pidfd in self.pidfds:
            os.close(pidfd)
        assert self.process.wait(20) == 0
        self.process.stdout.close()
        assert not self.folder.exists()
        wait_until(lambda: not list(marked(self.mark)))


@pytest.fixture(scope="module")
def template():
    template = Template("--preload", "colorsys", "--preload", "owt_no_such_module")
    template.ready = template.receive()
    yield template
    template.close()


def test_the_template_reports_failed_preloads(template):
    assert template.ready.can_fork
    [problem] = template.ready.problems
    assert problem.startswith("--preload owt_no_such_module: ModuleNotFoundError")


def test_new_objects_lie_together_once_the_holes_are_filled():
    program = """
import gc
from owt.host.preparation import fill_holes

objects = [bytes(167) for _ in range(20_000)]
# One of 20 objects dies: holes in a thousand places.
del objects[::20]
filling = fill_holes()
print(len({id(block) >> 14 for block in [bytes(167) for _ in range(800)]}))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # 800 blocks of 200 bytes fill ten pools of 16 KiB. They take 205 where the holes are not filled, and the
    # rests of a few pools where modules have been compiled in this process.
    assert int(run.stdout) <= 20


def test_new_blocks_of_the_c_library_lie_together_once_the_holes_are_filled():
    program = """
import ctypes
from owt.host.preparation import fill_holes

libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(168) for _ in range(20_000)]
# One of 20 blocks is freed: holes in a thousand places.
for block in blocks[::20]:
    libc.free(block)
filling = fill_holes()
print(len({libc.malloc(168) >> 12 for _ in range(800)}))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # 800 blocks of 176 bytes fill 35 pages. They take 800 where the holes are not filled.
    assert int(run.stdout) <= 50


NATIVE_THREAD = """
import ctypes
import os

with open(os.environ["IMPORTS"], "a") as file:
    print(os.getpid(), file=file)
libc = ctypes.CDLL(None)
thread = ctypes.c_ulong()
assert libc.pthread_create(ctypes.byref(thread), None, libc.pause, None) == 0
"""
ENDS_BEFORE_FORKS = """
import os
import threading

ended = threading.Event()
thread = threading.Thread(target=ended.wait, daemon=True)
thread.start()
os.register_at_fork(before=lambda: (ended.set(), thread.join()))
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Make modules that templates can import, and return the file in which they note their imports."""
    (tmp_path / "owt_native_thread.py").write_text(NATIVE_THREAD)
    (tmp_path / "owt_ends_before_forks.py").write_text(ENDS_BEFORE_FORKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("IMPORTS", str(tmp_path / "imports"))
    return tmp_path / "imports"


def test_a_module_that_starts_native_threads_is_imported_after_each_fork(modules):
    template = Template("--preload", "owt_native_thread", "--preload", "colorsys")
    [problem] = template.receive().problems
    assert problem.startswith("--preload owt_native_thread: importing it starts threads")
    assert "keep it with --preload-threads" in problem
    assert modules.read_text().split() == [str(template.process.pid)]
    assert os.listdir(f"/proc/{template.process.pid}/task") == [str(template.process.pid)]
    pids = []
    for id in (1, 2):
        template.fork(id, "--version")
        pids.append(template.receive().pid)
        assert isinstance(template.receive(), Exited)
    assert modules.read_text().split()[1:] == [str(pid) for pid in pids]
    template.close()


def test_a_module_that_starts_native_threads_can_be_kept(modules):
    template = Template("--preload", "owt_native_thread", "--keep-threads")
    [problem] = template.receive().problems
    assert problem.startswith("importing owt_native_thread started 1 threads, which kernels do not have")
    template.fork(1, "--version")
    template.receive()
    assert isinstance(template.receive(), Exited)
    assert modules.read_text().split() == [str(template.process.pid)]
    template.close()


def test_a_module_that_ends_its_threads_before_a_fork_is_no_problem(modules):
    template = Template("--preload", "owt_ends_before_forks")
    assert template.receive().problems == ()
    template.close()


def test_health_names_a_module_that_starts_threads(modules):
    with LiveServer("--preload", "owt_native_thread") as server:
        answer = server.call("import sys\ndef run(): return 'owt_native_thread' in sys.modules")
        assert answer.text == "True"
        [problem] = server.ask("GET", "/_owt/health").json()["preload"]
    assert "--preload owt_native_thread: importing it starts threads" in problem


def test_the_exit_status_of_a_forked_kernel_is_reported(template):
    template.fork(1, "--version")
    forked = template.receive()
    assert isinstance(forked, Forked)
    assert forked.id == 1
    assert template.receive() == Exited(forked.pid, 0)
    # The version, from ipykernel's command line.
    assert template.process.stdout.readline().strip().count(".") >= 1


def test_a_kernel_leads_its_own_session_and_its_pidfd_kills_it(template):
    template.fork(2, "-f", str(template.folder / "kernel-1.json"))
    forked = template.receive()
    wait_until((template.folder / "kernel-1.json").exists)
    assert os.getsid(forked.pid) == os.getpgid(forked.pid) == forked.pid
    assert Path(f"/proc/{forked.pid}/comm").read_text() == "owt-kernel\n"
    signal.pidfd_send_signal(template.pidfds[-1], signal.SIGKILL)
    assert template.receive() == Exited(forked.pid, -signal.SIGKILL)


def test_a_kernel_with_another_environment_does_not_use_what_was_prepared(template):
    home, file = template.folder / "ipython", template.folder / "kernel-9.json"
    template.fork(9, "-f", str(file), IPYTHONDIR=str(home))
    forked = template.receive()
    wait_until(file.exists)
    assert (home / "profile_default" / "startup").is_dir()
    signal.pidfd_send_signal(template.pidfds[-1], signal.SIGKILL)
    assert template.receive() == Exited(forked.pid, -signal.SIGKILL)


def test_a_kernel_has_the_variables_of_its_request_whatever_a_preloaded_module_sets(tmp_path, monkeypatch):
    noted = tmp_path / "variables"
    (tmp_path / "owt_sets_variables.py").write_text(
        "import os\nos.environ['NEW'] = os.environ['CHANGED'] = 'of a module'\ndel os.environ['REMOVED']"
    )
    (tmp_path / "owt_notes_variables.py").write_text(
        f"import json, os\nwith open({str(noted)!r}, 'w') as file: json.dump(dict(os.environ), file)"
    )
    for name, value in (("PYTHONPATH", str(tmp_path)), ("CHANGED", "first"), ("REMOVED", "first")):
        monkeypatch.setenv(name, value)
    template = Template("--preload", "owt_sets_variables", "--late", "owt_notes_variables")
    template.receive()
    template.fork(1, "--version", ADDED="1")
    assert isinstance(template.receive(), Forked)
    assert isinstance(template.receive(), Exited)
    assert json.loads(noted.read_text()) == {**template.env, "ADDED": "1"}
    template.close()


def test_a_kernel_that_cannot_start_exits_with_a_status(template):
    template.channel.sendall(encode_frame(Fork(3, ("--version",), template.env, "/nonexistent")))
    forked = template.receive()
    assert template.receive() == Exited(forked.pid, 1)


def test_the_connections_are_held_by_the_forked_kernel_only(template):
    pairs = [socket.socketpair() for _ in range(2)]
    frame = encode_frame(Fork(10, ("-f", str(template.folder / "kernel-10.json")), template.env, "/", True))
    near, far = socket.socketpair()
    with near, far:
        socket.send_fds(near, [b"\0"], [kernel_side.fileno() for _, kernel_side in pairs])
        socket.send_fds(template.channel, [frame], [far.fileno()])
    for _, kernel_side in pairs:
        kernel_side.close()
    forked = template.receive()
    # The kernel waits for the frontend's first message, which ends here before that.
    for frontend_side, _ in pairs:
        frontend_side.shutdown(socket.SHUT_WR)
    assert template.receive() == Exited(forked.pid, 1)
    for frontend_side, _ in pairs:
        frontend_side.settimeout(20)
        assert frontend_side.recv(1) == b""
        frontend_side.close()


def test_a_kernel_whose_connections_did_not_arrive_is_not_forked(template):
    template.channel.sendall(encode_frame(Fork(11, ("--version",), template.env, "/", True)))
    assert template.receive() == NotForked(11, "the kernel's connections did not arrive")


def test_the_template_ignores_signals_of_the_terminal(template):
    os.kill(template.process.pid, signal.SIGINT)
    os.kill(template.process.pid, signal.SIGTERM)
    template.fork(4, "--version")
    assert template.receive().id == 4
    assert template.receive().code == 0


def test_a_template_without_fork_only_cleans_up():
    template = Template("--no-fork", "--preload", "colorsys")
    ready = template.receive()
    assert ready == Ready(False, ())
    left = subprocess.Popen(["sleep", "1000"], env=template.env, start_new_session=True)
    template.close()
    assert left.wait(10) == -signal.SIGKILL


def test_the_template_imports_no_more_after_the_end_of_the_frontend(monkeypatch, tmp_path):
    gate, imported = Gate(tmp_path), tmp_path / "imported"
    (tmp_path / "preloaded_first.py").write_text(f"open({str(gate)!r}).read()")
    (tmp_path / "preloaded_second.py").write_text(f"open({str(imported)!r}, 'w').close()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    template = Template("--preload", "preloaded_first", "--preload", "preloaded_second")
    gate.reached()
    template.channel.close()
    gate.open()
    template.close()
    assert not imported.exists()
