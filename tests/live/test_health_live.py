"""/_owt/health of running servers: liveness and readiness, independent of busy kernels."""

from __future__ import annotations

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from owt.testing import Gate, LiveServer, wait_until

WAIT = "def run(path): return open(path).read()"

# Program of a kernelspec: it fails until the file in its first argument exists.
FLAKY = """
import os, sys
if not os.path.exists(sys.argv[1]):
    sys.exit(3)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])
"""


def ready(server: LiveServer) -> tuple[int, str, str]:
    answer = server.ask("GET", "/_owt/health/ready")
    document = answer.json()
    assert server.ask("GET", "/_owt/health/live").status_code == 200
    return answer.status_code, document["status"], document["reason"] or ""


def test_health_responds_while_kernels_are_busy_and_stopped(
    server: LiveServer, session: str, tmp_path: Path
) -> None:
    stopped, gate = f"{session}-2", Gate(tmp_path)
    server.call("1", session=stopped)
    pid = server.session(stopped)["pid"]
    with ThreadPoolExecutor() as threads:
        busy = threads.submit(server.call, WAIT, session=session, kwargs=repr({"path": str(gate)}))
        gate.reached()
        os.kill(pid, signal.SIGSTOP)
        silent = threads.submit(server.call, "'awake'", session=stopped)
        wait_until(lambda: server.session(stopped)["state"] == "busy")
        assert ready(server) == (200, "ok", "")
        assert server.ask("GET", "/_owt/health").json()["status"] == "ok"
        assert server.ask("GET", "/_owt/metrics").status_code == 200
        assert not busy.done()
        assert not silent.done()
        os.kill(pid, signal.SIGCONT)
        gate.open()
        assert silent.result().text == "awake"
        assert busy.result().status_code == 200
    server.ask("DELETE", f"/_owt/sessions/{stopped}")


def test_a_server_is_ready_once_kernels_can_be_forked(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    (tmp_path / "slow_to_import.py").write_text(f"open({str(gate)!r}).read()\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    with LiveServer("--preload", "slow_to_import", env={"PYTHONPATH": path}) as server:
        gate.reached()
        status, word, reason = ready(server)
        assert (status, word) == (503, "starting")
        assert "importing" in reason
        whole = server.ask("GET", "/_owt/health")
        assert (whole.status_code, whole.json()["reason"]) == (503, reason)
        gate.open()
        wait_until(lambda: ready(server) == (200, "ok", ""))
        assert server.call("1 + 1").text == "2"


def test_a_server_that_cannot_start_kernels_is_unready_until_it_can(tmp_path: Path) -> None:
    program, repaired = tmp_path / "flaky.py", tmp_path / "repaired"
    program.write_text(FLAKY)
    (tmp_path / "kernels" / "flaky").mkdir(parents=True)
    spec = {
        "argv": [sys.executable, str(program), str(repaired), "owt.kernel", "-f", "{connection_file}"],
        "display_name": "flaky",
        "language": "python",
    }
    (tmp_path / "kernels" / "flaky" / "kernel.json").write_text(json.dumps(spec))
    with LiveServer("--kernel", "flaky", env={"JUPYTER_PATH": str(tmp_path)}) as server:
        status, _, reason = wait_until(lambda: (now := ready(server))[1] == "no-kernel" and now)
        assert status == 503
        assert "exited with status 3" in reason
        assert "owt_ready 0.0" in server.ask("GET", "/_owt/metrics").text
        repaired.touch()
        # The server retries the start without a call.
        wait_until(lambda: ready(server) == (200, "ok", ""))
        assert "owt_ready 1.0" in server.ask("GET", "/_owt/metrics").text
        assert server.call("1 + 1").text == "2"
