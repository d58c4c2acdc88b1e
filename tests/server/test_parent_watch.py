"""owt.server.parent_watch: a server that ends with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import psutil
import pytest

from owt.server.child import Child
from owt.testing import wait_until

STARTER = """
import os, sys, time
from owt.server.child import Child
child = Child("--port", "0", "--pool-max", "1", watch_parent=True)
print(child.wait_ready(), child.pid, flush=True)
if os.fork() == 0:
    # It keeps the pipe of its parent open.
    os.setsid()
    time.sleep(60)
sys.stdin.read()
"""


def is_there(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a pidfd")
def test_the_server_ends_when_its_parent_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        url, pid = starter.stdout.readline().split()
        try:
            [forked] = wait_until(
                lambda: [
                    child.pid for child in psutil.Process(starter.pid).children() if child.pid != int(pid)
                ]
            )
            assert httpx.post(url, data={"code": "1 + 1"}, timeout=30).text == "2"
        finally:
            starter.kill()
            starter.wait()
    try:
        wait_until(lambda: not is_there(int(pid)))
    finally:
        os.kill(forked, signal.SIGKILL)


def test_closing_the_pipe_ends_the_server():
    child = Child("--port", "0", "--pool-max", "1", watch_parent=True)
    try:
        child.wait_ready()
        child._process.stdin.close()
        assert child.wait(20) == 0
    finally:
        child.stop()
        child.close()


def test_the_server_has_a_process_group_of_its_own():
    child = Child("--port", "0", "--pool-max", "1", watch_parent=True)
    try:
        child.wait_ready()
        assert os.getpgid(child.pid) != os.getpgid(0)
        assert child.exit_status() is None
        assert child.stop() == 0
        assert child.exit_status() == 0
    finally:
        child.close()
