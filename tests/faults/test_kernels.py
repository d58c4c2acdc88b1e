"""Ends of a kernel during a call: the call fails with the reason, and no other session is disturbed."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from owt.testing import Gate, wait_until

pytestmark = pytest.mark.usefixtures("bystander")

WAIT = "def run(path): return open(path).read()"

ENDS = {
    "os._exit": ("import os\ndef run(): os._exit(3)", "exited with status 3"),
    "segmentation-fault": ("import ctypes\ndef run(): ctypes.string_at(0)", "crashed with SIGSEGV"),
    "abort": ("import os\ndef run(): os.abort()", "crashed with SIGABRT"),
    "SIGKILL": ("import os\ndef run(): os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    "exec": ("import os\ndef run(): os.execvp('true', ['true'])", "exited with status 0"),
    "channel": (
        "import os\ndef run():\n    os.closerange(3, 200)\n    return 'x' * 100", "the kernel",
    ),
}
if sys.version_info < (3, 12):
    # Python 3.12 limits the recursion of native code itself.
    ENDS["native-stack"] = (
        "import sys\ndef run():\n    sys.setrecursionlimit(10**8)\n"
        "    class Deep:\n        def __repr__(self): return repr(self)\n    repr(Deep())",
        "crashed with SIGSEGV",
    )


def waiting(gate: Gate) -> dict[str, str]:
    return {"kwargs": repr({"path": str(gate)})}


@pytest.mark.parametrize("kind", ENDS)
def test_a_kernel_that_ends_during_a_call_fails_that_call_and_is_replaced(server, session, kind):
    code, reason = ENDS[kind]
    server.call("x = 1", session=session)
    answer = server.call(code, session=session)
    assert answer.status_code == 502
    assert reason in answer.text
    assert server.call("'x' in state", session=session).text == "False"


STAYS = {
    "sys.exit": ("import sys\ndef run(): sys.exit(3)", "SystemExit"),
    "recursion": ("def run(): return run()", "RecursionError: maximum recursion depth exceeded"),
    "deep-value": ("def run():\n    x = []\n    for _ in range(100_000): x = [x]\n    return x", "nested"),
    "deep-text": (
        "class A:\n    def __str__(self): return str(self)\ndef run(): raise ValueError(A())", "ValueError",
    ),
}


@pytest.mark.parametrize("kind", STAYS)
def test_a_kernel_survives_the_exceptions_of_a_call(server, session, kind):
    code, expected = STAYS[kind]
    server.call("x = 1", session=session)
    answer = server.call(code, session=session)
    assert answer.status_code == 500
    assert expected in answer.text
    assert server.call("x", session=session).text == "1"
    assert server.session(session)["restarts"] == 0


def test_a_kernel_killed_while_idle_is_replaced(server, session):
    server.call("x = 1", session=session)
    os.kill(server.session(session)["pid"], signal.SIGKILL)
    wait_until(lambda: server.session(session)["restarts"] == 1)
    assert server.call("'x' in state", session=session).text == "False"


def test_a_kernel_killed_while_it_computes_fails_its_call(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        queued = threads.submit(server.call, "'queued'", session=session)
        wait_until(lambda: server.session(session)["queue"] == 1)
        os.kill(server.session(session)["pid"], signal.SIGKILL)
        assert call.result().status_code == 502
        assert "killed by SIGKILL" in call.result().text
        assert queued.result().text == "queued"


STREAM = "def run(path):\n    yield 'first\\n'\n    open(path).read()\n    yield 'second\\n'"


def test_a_kernel_killed_while_it_streams_breaks_the_transfer(server, session, tmp_path):
    gate = Gate(tmp_path)
    with subprocess.Popen(
        ["curl", "-sSN", server.url, "--data-urlencode", f"code={STREAM}", "-d", f"session={session}",
         "--data-urlencode", f"kwargs={ {'path': str(gate)} }"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as curl:
        gate.reached()
        assert curl.stdout.readline() == b"first\n"
        os.kill(server.session(session)["pid"], signal.SIGKILL)
        # Transfer closed with outstanding data remaining.
        assert curl.wait(20) == 18
        assert curl.stdout.read() == b""


def test_a_kernel_killed_while_it_streams_events_ends_them_with_an_error(server, session, tmp_path):
    gate = Gate(tmp_path)
    fields = {"code": STREAM, "session": session, "stream": "sse", **waiting(gate)}
    with httpx.stream("POST", server.url, data=fields, timeout=30, trust_env=False) as answer:
        text = answer.iter_text()
        gate.reached()
        os.kill(server.session(session)["pid"], signal.SIGKILL)
        events = "".join(text)
    assert "first" in events
    assert "data: second" not in events
    assert "event: error" in events
    assert "killed by SIGKILL" in events
    assert '"status":502' in events.rstrip().split("\n\n")[-1]
