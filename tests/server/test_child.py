"""owt.server.child: a server in a child process."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
import pytest

from owt.errors import ConfigError, OwtError
from owt.server.child import Child
from owt.testing import wait_until


@pytest.fixture
def child():
    child = Child("--port", "0")
    yield child
    child.kill()
    child.close()


def test_a_child_reports_its_url_and_stops_on_a_signal(child):
    assert child.wait_ready().startswith("http://127.0.0.1:")
    kernels = psutil.Process(child.pid).children(recursive=True)
    assert child.stop() == 0
    wait_until(lambda: not any(process.is_running() for process in kernels))


def test_stopping_an_ended_child_returns_its_exit_status(child):
    child.wait_ready()
    child.send_signal(signal.SIGKILL)
    assert child.wait(20) == -signal.SIGKILL
    child.send_signal(signal.SIGTERM)
    assert child.stop() == -signal.SIGKILL


def test_a_child_that_does_not_stop_in_time_is_killed(child):
    child.wait_ready()
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0)
    assert child.stop(timeout=0.1) == -signal.SIGKILL


def test_the_log_can_be_read_while_the_child_writes():
    child = Child("--port", "0", "-vvv")
    child.wait_ready()
    before = wait_until(child.log)
    child.stop()
    assert child.log().startswith(before)
    assert len(child.log()) > len(before)
    child.close()


def test_refused_settings_raise_the_childs_message():
    with pytest.raises(ConfigError, match=r"^--port: give a whole number; got 'rubbish'$"):
        Child("--port", "rubbish").wait_ready()


def test_a_child_that_is_not_ready_in_time_is_ended():
    child = Child("--port", "0")
    with pytest.raises(OwtError, match=r"^owt serve did not serve in 0 s: it wrote nothing to stderr$"):
        child.wait_ready(timeout=0)
    assert not psutil.pid_exists(child.pid)


def test_a_crash_raises_the_childs_log(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os\nos.write(2, b'no luck today\\n')\nos._exit(3)\n")
    child = Child(env={**os.environ, "PYTHONPATH": str(tmp_path)})
    with pytest.raises(OwtError, match=r"^owt serve ended with status 3: no luck today$"):
        child.wait_ready()


def test_output_to_stdout_does_not_block_the_server(tmp_path):
    # Like a process that a call left in a kernel.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "os.write(int(sys.orig_argv[-1]), b'{\"url\": \"http://127.0.0.1:1\"}\\n')\n"
        "left = 2**20\nwhile left:\n    left -= os.write(1, b'x' * left)\nos._exit(3)\n"
    )
    child = Child(env={**os.environ, "PYTHONPATH": str(tmp_path)})
    try:
        assert child.wait_ready() == "http://127.0.0.1:1"
        assert child.wait(20) == 3
    finally:
        child.kill()
        child.close()
