"""Kernels that are killed before they are ready."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from owt.testing import Bystander, Gate, LiveServer, wait_until

STARTUP = """
import os
folder = {folder!r}
if os.path.exists(folder + "/hold"):
    with open(folder + "/pid.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(folder + "/pid.new", folder + "/pid")
    open(folder + "/gate").read()
"""


class Holding:
    """Server whose kernels wait in their start while the test holds them."""

    def __init__(self, folder: Path, server: LiveServer) -> None:
        self.server = server
        self._hold, self._pid = folder / "hold", folder / "pid"
        self._gate = Gate(folder)

    def hold(self) -> None:
        """Make kernels wait in their start from now on."""
        self._hold.touch()

    def next(self) -> int:
        """Wait for the next kernel that waits in its start; return its process id."""
        pid = wait_until(lambda: self._pid.exists() and int(self._pid.read_text()))
        self._pid.unlink()
        return pid

    def release(self) -> None:
        """Let kernels start again, including those that wait."""
        self._hold.unlink()
        self._gate.open()


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    """A server whose kernels wait in an IPython startup file."""
    folder = tmp_path_factory.mktemp("holding")
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "hold.py").write_text(STARTUP.format(folder=str(folder)))
    env = {"IPYTHONDIR": str(folder / "ipython")}
    with LiveServer("--pool-min", "0", "--drain", "1", env=env) as server:
        yield Holding(folder, server)


@pytest.fixture(autouse=True)
def bystander(holding: Holding) -> Iterator[Bystander]:
    """Make calls to a session whose kernel has started."""
    with Bystander(holding.server) as other:
        yield other
    assert other.calls > 0


def test_queued_calls_go_on_when_starting_kernels_are_killed(holding):
    server = holding.server
    holding.hold()
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(server.call, f"{n}", session="s") for n in range(3)]
        for _ in range(2):
            os.kill(holding.next(), signal.SIGKILL)
        holding.next()
        wait_until(lambda: server.session("s")["queue"] == 3)
        holding.release()
        assert [call.result().text for call in calls] == ["0", "1", "2"]
    assert "killed by SIGKILL" in server.session("s")["last_death"]


def test_calls_fail_after_three_killed_starts_and_the_next_call_starts_a_kernel(holding):
    server = holding.server
    holding.hold()
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, "1", session="t")
        for _ in range(3):
            os.kill(holding.next(), signal.SIGKILL)
        answer = call.result()
        assert answer.status_code == 502
        assert "killed by SIGKILL" in answer.text
        assert "3 times in a row" in answer.text
        again = threads.submit(server.call, "'again'", session="t")
        holding.next()
        holding.release()
        assert again.result().text == "again"
