"""Finding and ending what belonged to a server."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from owt.host import reaper
from owt.testing import wait_until


@pytest.fixture
def mark():
    """A mark that no server has. What carries it is gone after the test."""
    mark = f"test-{secrets.token_hex(8)}"
    yield mark
    for pid in reaper.marked(mark):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def folder():
    """A runtime directory, with a path that is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="owt-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def python(code, mark=None, **options):
    env = {**os.environ, **({reaper.MARK: mark} if mark else {})}
    return subprocess.Popen([sys.executable, "-c", code], env=env, **options)


def sleeper(mark=None, **options):
    env = {"PATH": os.environ["PATH"], **({reaper.MARK: mark} if mark else {})}
    return subprocess.Popen(["sleep", "1000"], env=env, **options)


SPAWNER = """
import os, subprocess, sys
child = subprocess.Popen(['sleep', '1000'], env={'PATH': os.environ['PATH']}, start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_what_has_the_mark_is_found_and_nothing_else(mark):
    ours, theirs = sleeper(mark), sleeper(mark + "0")
    try:
        assert list(reaper.marked(mark)) == [ours.pid]
    finally:
        for process in (ours, theirs):
            process.kill()
            process.wait()
    assert list(reaper.marked(mark)) == []


def test_a_sweep_ends_what_has_the_mark_and_what_descends_from_that(mark):
    parent = python(SPAWNER, mark, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        child = int(parent.stdout.readline())
        bystander = sleeper()
        assert child not in list(reaper.marked(mark))
        # In a process of its own, as this one has children that the sweep is not about.
        code = f"from owt.host.reaper import sweep; print(sweep({mark!r}))"
        done = python(code, stdout=subprocess.PIPE, text=True)
        assert done.communicate(timeout=20)[0] == "2\n"
        assert parent.wait(10) == -signal.SIGKILL
    wait_until(lambda: not os.path.exists(f"/proc/{child}"))
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_sweep_of_nothing_ends():
    assert python("from owt.host.reaper import sweep; raise SystemExit(sweep('nobody'))").wait(20) == 0


def test_the_runtime_directory_goes_last(mark, folder):
    (folder / "file").write_text("x")
    process = sleeper(mark)
    assert python(f"from owt.host.reaper import clear; clear({mark!r}, {str(folder)!r})").wait(20) == 0
    assert process.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_a_runtime_directory_that_somebody_removed_hinders_no_sweep(mark, folder):
    process = sleeper(mark)
    folder.rmdir()
    assert python(f"from owt.host.reaper import clear; clear({mark!r}, {str(folder)!r})").wait(20) == 0
    assert process.wait(10) == -signal.SIGKILL


LEAVE = "from owt.host.reaper import leave; leave({!r})"


def test_a_kernel_whose_server_is_gone_ends_what_it_left(mark, folder):
    """The socket is there, and nobody listens."""
    door = folder / "door"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(door))
    other = sleeper(mark, start_new_session=True)
    kernel = python(LEAVE.format(str(door)), mark, start_new_session=True)
    assert kernel.wait(20) == -signal.SIGKILL
    assert other.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_several_that_leave_at_once_end_everything(mark, folder):
    door = folder / "door"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(door))
    code = f"input(); {LEAVE.format(str(door))}"
    kernels = [python(code, mark, start_new_session=True, stdin=subprocess.PIPE, text=True) for _ in range(5)]
    other = sleeper(mark, start_new_session=True)
    for kernel in kernels:
        kernel.stdin.write("\n")
        kernel.stdin.flush()
    assert [kernel.wait(20) for kernel in kernels] == [-signal.SIGKILL] * 5
    assert other.wait(10) == -signal.SIGKILL
    assert not folder.exists()
    for kernel in kernels:
        kernel.stdin.close()


def test_a_server_that_closes_its_door_only_now_is_gone(mark, folder):
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "door"))
        door.listen()
        other = sleeper(mark, start_new_session=True)
        kernel = python(LEAVE.format(str(folder / "door")), mark, start_new_session=True)
        knock, _ = door.accept()
        knock.close()
    assert kernel.wait(20) == -signal.SIGKILL
    assert other.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_a_kernel_that_is_let_go_ends_only_its_own_group(mark, folder):
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "door"))
        door.listen()
        other = sleeper(mark, start_new_session=True)
        code = f"import subprocess; print(subprocess.Popen(['sleep', '1000']).pid, flush=True); " \
               f"{LEAVE.format(str(folder / 'door'))}"
        kernel = python(code, mark, start_new_session=True, stdout=subprocess.PIPE, text=True)
        with kernel, door.accept()[0] as knock:
            knock.sendall(b"nonce")
            child = int(kernel.stdout.readline())
            assert kernel.wait(20) == -signal.SIGKILL
        wait_until(lambda: not os.path.exists(f"/proc/{child}"))
        assert other.poll() is None
        assert folder.exists()
        other.kill()
        other.wait()


def test_a_kernel_whose_door_was_removed_by_hand_ends_only_its_own_group(mark, folder):
    """The server may well be alive; its template will see to the rest."""
    folder.rmdir()
    other = sleeper(mark, start_new_session=True)
    kernel = python(LEAVE.format(str(folder / "door")), mark, start_new_session=True)
    assert kernel.wait(20) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()
