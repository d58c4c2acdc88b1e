"""Kernels end while there is no frontend, and the next one tells what became of their runs and sessions."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from owt.host.reaper import MARK, marked
from owt.testing import Gate, LiveServer, wait_until


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # The path of `tmp_path` is too long for sockets.
    with tempfile.TemporaryDirectory() as base:
        yield Path(base, "r")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LiveServer]:
    notebook = folder.parent / "note.py"
    notebook.write_text(f"# %%\nprint('ran', file=open({str(folder.parent / 'ran')!r}, 'a'))\n")
    options = ("--runtime-dir", str(folder), "--keep", "5m", "--pool-min", "0", "--notebook", str(notebook))
    with LiveServer(*options) as server:
        wait_until((folder.parent / "ran").exists)
        yield server


class Runs:
    """A run of each kind, all of which wait: detached ones in a session and in the pool, one with an id that
    its client has chosen, and one with events."""

    def __init__(self, server: LiveServer, session: str, folder: Path) -> None:
        gates = [Gate(folder, f"gate{n}") for n in range(4)]
        self.server = server
        code = f"def run():\n    yield 1\n    {gates[0].wait}\n"
        self.call = {"code": code, "session": f"{session}-events", "stream": "sse"}
        headers = {"Owt-Run": f"chosen-{session}"}
        self.request: dict[str, Any] = {"data": {"code": gates[1].wait}, "headers": headers}
        with httpx.stream("POST", server.url, data=self.call, trust_env=False) as response:
            self.event = next(line for line in response.iter_lines() if line.startswith("id:"))[3:].strip()
        with pytest.raises(httpx.HTTPError):
            httpx.post(server.url, timeout=httpx.Timeout(60, read=0.001), trust_env=False, **self.request)
        # One that has ended, too.
        self.ids = [server.call("1", session=session, detach=1).json()["run"]]
        self.ids += [
            server.call(gate.wait, session=name, detach=1).json()["run"]
            for gate, name in ((gates[2], session), (gates[3], None))
        ]
        for gate in gates:
            gate.reached()

    def pids(self) -> list[int]:
        """Return the processes of the kernels."""
        document = self.server.ask("GET", "/_owt/sessions").json()
        return [kernel["pid"] for kernel in (*document["sessions"], *document["pool"])]

    def check(self, status: int, reason: str) -> None:
        """Assert that the live runs have failed with this status for this reason, that the one that had ended
        is lost, and that none runs again."""
        ask = self.server.ask
        answers = [ask("GET", f"/_owt/runs/{id}/answer") for id in self.ids]
        answers.append(ask("POST", "/", **self.request))
        assert [answer.status_code for answer in answers] == [410, status, status, status]
        events = ask("POST", "/", data=self.call, headers={"Last-Event-ID": self.event})
        assert "event: error" in events.text or events.status_code == 410
        for answer in (*answers, events):
            assert f"kernel {reason}" in answer.text
        runs = ask("GET", "/_owt/runs").json()["runs"]
        assert {run["state"] for run in runs if run["session"] != "note"} == {"failed"}
        assert {run["status"] for run in runs if run["id"] in self.ids} == {410, status}


def test_runs_fail_for_the_reason_of_the_death_of_their_kernels(
    server: LiveServer, session: str, tmp_path: Path
) -> None:
    runs = Runs(server, session, tmp_path)
    pids = runs.pids()
    server.stop(signal.SIGKILL)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(psutil.pid_exists, pids)))
    server.start()
    runs.check(502, "was killed by SIGKILL")
    # The one after the next knows that they are lost.
    server.stop(signal.SIGKILL)
    server.start()
    runs.check(410, "has ended")


@pytest.mark.parametrize("is_reboot", [False, True])
def test_runs_sessions_and_notebooks_after_the_end_of_all_processes(
    server: LiveServer, session: str, folder: Path, tmp_path: Path, is_reboot: bool
) -> None:
    mark = server.call(f"import os\nos.environ[{MARK!r}]", session=session).text
    # It is older than its forks, which have its command line at first.
    host = min(marked(mark), key=lambda pid: psutil.Process(pid).create_time())
    runs = Runs(server, session, tmp_path)
    ran = (folder.parent / "ran").read_text()
    server.stop(signal.SIGKILL)
    os.kill(host, signal.SIGKILL)
    wait_until(lambda: not list(marked(mark)))
    # Only what the next server has to know is left.
    assert sorted(os.listdir(folder)) == ["frontend.json", "server-id", "sessions"]
    if is_reboot:
        history = json.loads((folder / "frontend.json").read_text())
        (folder / "frontend.json").write_text(json.dumps({**history, "boot": "of before"}))
    server.start()
    reason = "ended, because the machine was restarted" if is_reboot else "ended with the server"
    runs.check(410, reason)
    answer = server.call("1 + 1", session=session)
    assert answer.text == "2"
    assert reason in answer.headers["Owt-Restarted"]
    wait_until(lambda: (folder.parent / "ran").read_text() == f"{ran}ran\n")
