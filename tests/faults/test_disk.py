"""Full disk of the runtime directory."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from owt.cli.main import main as owt
from owt.testing import Bystander, Gate, LiveServer, wait_until


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a file system of 64 KiB."""
    # Under /tmp, since a Unix socket's path must be short.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="owt-disk-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "owt-test", folder]
        try:
            done = subprocess.run(mount, capture_output=True, text=True, timeout=20)
        except OSError as error:
            pytest.skip(f"mount cannot be run: {error}")
        if done.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True, timeout=20)


def fill(folder: Path) -> Path:
    """Fill the file system of this folder; return the file that fills it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 512)
    assert os.statvfs(folder).f_bavail == 0
    return filler


def test_full_disk_refuses_new_sessions_and_disturbs_no_other(small_disk):
    with LiveServer("--runtime-dir", str(small_disk), "--pool-max", "2") as server:
        with Bystander(server) as other:
            server.call("x = 1", session="old").raise_for_status()
            filler = fill(small_disk)
            answers = [server.call("1", session=f"new-{n}") for n in range(4)]
            refused = [answer for answer in answers if answer.status_code != 200]
            # One may get the kernel that the pool had started before.
            assert len(refused) >= 3
            for answer in refused:
                assert answer.status_code == 502
                assert "No space left on device" in answer.text
                assert f"Make room in the runtime directory {small_disk}/owt-" in answer.text
                assert "(--runtime-dir)" in answer.text
            pooled = [server.call("while True: pass", timeout=0.2) for _ in range(2)]
            assert {answer.status_code for answer in pooled} <= {502, 504}
            # A running session continues, and a kernel's death is reported.
            assert server.call("x", session="old").text == "1"
            assert server.call("import os\nos._exit(3)", session="old").status_code == 502
            # The dead kernel has freed a little space.
            again = server.call("2", session="old")
            assert again.text == "2" or "No space left on device" in again.text
            filler.unlink()
            assert server.call("'x' in state", session="old").text == "False"
            assert server.call("1", session="new-3").text == "1"
            assert server.call("3").text == "3"
        assert other.calls > 0
        folder, = small_disk.glob("owt-*")
        # Incompletely written files are removed.
        assert all(path.stat().st_size for path in folder.glob("kernel-*.json"))


def test_calls_are_kept_in_memory_while_the_disk_is_full(small_disk, tmp_path, capsys):
    gate = Gate(tmp_path)
    options = ("--runtime-dir", str(small_disk / "r"), "--keep", "5m", "--pool-min", "0")
    with LiveServer(*options) as server:

        def problem():
            return server.ask("GET", "/_owt/health").json()["kept"]["problem"]

        server.call(gate.wait, session="s", detach=1)
        gate.reached()
        assert problem() is None
        filler = fill(small_disk)
        large = f"'''{'x' * 5000}'''[:9]"
        run = server.call(large, session="s", detach=1).json()["run"]
        lost = "1 run is only in memory, and would be lost with this process"
        assert problem().startswith(lost)
        assert f"Make room in {small_disk}/r/sessions" in problem()
        assert owt(["restart", "--runtime-dir", str(small_disk / "r")]) == 2
        refusal = capsys.readouterr().err
        assert f"no restart: {lost}" in refusal
        assert "owt restart --discard" in refusal
        filler.unlink()
        wait_until(lambda: problem() is None)
        # The same for a call that comes during the restart.
        responding = Gate(tmp_path, "responding")
        with ThreadPoolExecutor() as threads:
            response = threads.submit(server.call, responding.wait, session="other")
            responding.reached()
            command = ["restart", "--runtime-dir", str(small_disk / "r"), "--drain", "60"]
            restarting = threads.submit(owt, command)
            server.wait_for_log("restarting; running calls get 60 s")
            filler = fill(small_disk)
            server.call(large, session="s", detach=1)
            responding.open()
            assert response.result().status_code == 200
            assert restarting.result() == 2
        assert f"no restart: {lost}" in capsys.readouterr().err
        filler.unlink()
        wait_until(lambda: problem() is None)
        server.send_signal(signal.SIGKILL)
        server.wait()
        server.start()
        gate.open()
        wait_until(lambda: server.ask("GET", f"/_owt/runs/{run}").json()["ended"])
        assert server.ask("GET", f"/_owt/runs/{run}/answer").text == "x" * 9
