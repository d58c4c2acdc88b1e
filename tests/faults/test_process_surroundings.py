"""Surroundings of a server that are broken: standard streams, its directory, a stopped template."""

import os
import shutil
import subprocess
import sys

import psutil
import pytest

from owt.client import Client
from owt.server.startup import read_report
from owt.testing import LiveServer, wait_until


def serve(*options, **streams):
    """Start a server, and return its process and URL."""
    report, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "owt", "serve", "--port", "0", "--report-fd", str(write), *options],
        pass_fds=[write], **streams,
    )
    os.close(write)
    url = read_report(report, 30)
    os.close(report)
    return process, url


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)], ids=["stdout", "all"])
def test_a_server_starts_kernels_with_standard_streams_closed(closed):
    def close():
        for number in closed:
            os.close(number)

    process, url = serve(preexec_fn=close, stderr=subprocess.DEVNULL)
    try:
        with Client(url) as client:
            assert client.call("print('x')\nimport os\nos.system('echo y')\n41 + 1") == 42
        for number in closed:
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == os.devnull
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_a_server_goes_on_when_stdout_is_full():
    with open("/dev/full", "w") as full:
        process, url = serve(stdout=full, stderr=subprocess.PIPE)
    try:
        with Client(url) as client:
            assert client.call("41 + 1") == 42
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"stdout cannot be written to" in log
    assert b"Traceback" not in log


def test_a_server_heals_without_its_directory_and_with_a_stopped_template():
    with LiveServer("--pool-min", "0") as server:
        server.call("kept = 1", session="old")
        directory = os.path.dirname(server.session("old")["connection_file"])
        shutil.rmtree(directory)
        assert server.call("41 + 1", session="new").text == "42"
        assert server.call("kept", session="old").text == "1"
        assert f"the runtime directory {directory} was removed, and is made again" in server.log()
        template = psutil.Process(server.session("old")["pid"]).parent()
        template.suspend()
        wait_until(lambda: template.status() == psutil.STATUS_STOPPED)
        assert server.call("41 + 1", session="forked").text == "42"
        template.suspend()
        wait_until(lambda: template.status() == psutil.STATUS_STOPPED)
        assert "exited with status 3" in server.call("import os\nos._exit(3)", session="forked").text
        # The fork of the next kernel continues the template.
        wait_until(lambda: server.session("forked")["state"] == "idle")
        template.suspend()
        wait_until(lambda: template.status() == psutil.STATUS_STOPPED)
        # The server's end waits for the template, and the context manager for the server's.
    assert not os.path.exists(directory)
