"""owt.hs, if a Haskell compiler is installed."""

import shutil
import subprocess
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "examples" / "clients" / "owt.hs"


def run(url: str) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("runghc"), "-Wall", PROGRAM, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_the_haskell_client_calls_keeps_a_session_streams_a_body_and_reports_failures(server):
    done = run(server.url)
    server.ask("DELETE", "/_owt/sessions/haskell").raise_for_status()
    assert done.stderr == ""
    assert done.stdout == "Hello, owt!\n[1,9,25,49,81]\n500500\nfailed with 500: division by zero\n"
    assert done.returncode == 0


def test_the_haskell_client_fails_without_a_server():
    done = run("http://127.0.0.1:9")
    assert done.returncode != 0
    assert "ConnectionFailure" in done.stderr
