"""owt.host.reaper: the end of a server's processes."""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from owt.host import reaper
from owt.testing import wait_until


@pytest.fixture
def mark():
    """Mark that no server has. Processes with the mark are killed after the test."""
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


TRACKED = """
import time
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(create=True, size=10)
print(memory.name, flush=True)
time.sleep(1000)
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="shared memory has no files here")
def test_a_resource_tracker_removes_shared_memory_before_it_ends(mark):
    with python(TRACKED, mark, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        memory = Path("/dev/shm", process.stdout.readline().strip())
        assert memory.exists()
        reaper.kill_members(mark)
        assert not memory.exists()
        assert not list(reaper.marked(mark))


def test_marked_finds_processes_with_the_whole_mark_only(mark):
    marked_process, other_process = sleeper(mark), sleeper(mark + "0")
    try:
        assert list(reaper.marked(mark)) == [marked_process.pid]
    finally:
        for process in (marked_process, other_process):
            process.kill()
            process.wait()
    assert list(reaper.marked(mark)) == []


def test_marked_processes_and_their_descendants_are_killed(mark):
    parent = python(SPAWNER, mark, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        child = int(parent.stdout.readline())
        bystander = sleeper()
        assert child not in list(reaper.marked(mark))
        # In a process of its own, because the children of the caller are killed too.
        code = f"from owt.host.reaper import kill_members; print(kill_members({mark!r}))"
        done = python(code, stdout=subprocess.PIPE, text=True)
        assert done.communicate(timeout=20)[0] == "2\n"
        assert parent.wait(10) == -signal.SIGKILL
    wait_until(lambda: not os.path.exists(f"/proc/{child}"))
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_killing_ends_without_processes():
    code = "from owt.host.reaper import kill_members; raise SystemExit(kill_members('none'))"
    assert python(code).wait(20) == 0


def test_processes_are_killed_and_the_runtime_directory_is_removed(mark, folder):
    (folder / "file").write_text("x")
    process = sleeper(mark)
    assert python(f"from owt.host.reaper import clean_up; clean_up({mark!r}, {str(folder)!r})").wait(20) == 0
    assert process.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_processes_are_killed_when_the_runtime_directory_is_gone(mark, folder):
    process = sleeper(mark)
    folder.rmdir()
    assert python(f"from owt.host.reaper import clean_up; clean_up({mark!r}, {str(folder)!r})").wait(20) == 0
    assert process.wait(10) == -signal.SIGKILL


def kernel(mark, folder, **options):
    """A process that becomes the reaper, as a kernel does when its connection ends."""
    code = f"import os, sys; input(); os.execv(sys.executable, {[sys.executable, *command(mark, folder)]!r})"
    return python(code, mark, start_new_session=True, stdin=subprocess.PIPE, text=True, **options)


def command(mark, folder):
    return ["-I", reaper.__file__, mark, str(folder)]


def disconnect(process):
    process.stdin.write("\n")
    process.stdin.close()


@contextlib.contextmanager
def living_frontend(folder):
    """The lock that a frontend holds."""
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield
    os.close(lock)


def test_the_reaper_ends_what_is_left_of_a_server_that_is_gone(mark, folder):
    other = sleeper(mark, start_new_session=True)
    process = kernel(mark, folder)
    disconnect(process)
    assert process.wait(20) == -signal.SIGKILL
    assert other.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_several_reapers_at_once_end_everything(mark, folder):
    processes = [kernel(mark, folder) for _ in range(5)]
    other = sleeper(mark, start_new_session=True)
    for process in processes:
        disconnect(process)
    assert [process.wait(20) for process in processes] == [-signal.SIGKILL] * 5
    assert other.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_the_reaper_waits_for_a_frontend_that_is_about_to_end(mark, folder):
    other = sleeper(mark, start_new_session=True)
    process = kernel(mark, folder)
    with living_frontend(folder):
        disconnect(process)
        wait_until(lambda: b"reaper.py" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        assert other.poll() is None
    assert process.wait(20) == -signal.SIGKILL
    assert other.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_the_reaper_of_a_living_server_ends_only_its_own_group(mark, folder):
    other = sleeper(mark, start_new_session=True)
    code = (
        "import os, subprocess, sys; child = subprocess.Popen(['sleep', '1000']); "
        "print(child.pid, flush=True); from owt.host import reaper; reaper.LOCK_TIMEOUT = 0.1; "
        f"reaper.main({mark!r}, {str(folder)!r})"
    )
    with living_frontend(folder):
        process = python(code, mark, start_new_session=True, stdout=subprocess.PIPE, text=True)
        with process:
            child = int(process.stdout.readline())
            assert process.wait(20) == -signal.SIGKILL
        wait_until(lambda: not os.path.exists(f"/proc/{child}"))
        assert other.poll() is None
        assert folder.exists()
    other.kill()
    other.wait()


def test_the_reaper_spares_a_server_whose_directory_was_removed_by_hand(mark, folder):
    """The server may be alive; its template cleans up the rest."""
    folder.rmdir()
    other = sleeper(mark, start_new_session=True)
    process = kernel(mark, folder)
    disconnect(process)
    assert process.wait(20) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()
