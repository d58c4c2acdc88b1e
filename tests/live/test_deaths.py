"""Ends of a kernel, and the session afterwards."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from owt.testing import Gate, wait_until

WAIT = "def run(path): return open(path).read()"


def waiting(gate: Gate) -> dict[str, str]:
    return {"kwargs": repr({"path": str(gate)})}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\ndef run(): os._exit(3)", "exited with status 3"),
        ("import os\ndef run(): os._exit(0)", "exited with status 0"),
        ("import os, signal\ndef run(): os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import os, signal\ndef run(): os.kill(os.getpid(), signal.SIGTERM)", "killed by SIGTERM"),
        ("import ctypes\ndef run(): ctypes.string_at(0)", "crashed with SIGSEGV"),
        ("import os\ndef run(): os.abort()", "crashed with SIGABRT"),
        ("import os\nasync def run(): os._exit(4)", "exited with status 4"),
        ("import os\nos._exit(5)", "exited with status 5"),
        ("import os, threading\ndef run():\n    threading.Thread(target=os._exit, args=(6,)).start()\n"
         "    threading.Event().wait()", "exited with status 6"),
    ],
    ids=["exit", "exit-0", "SIGKILL", "SIGTERM", "segfault", "abort", "async", "cell", "thread"],
)
def test_a_kernel_that_ends_during_a_call_fails_it_with_502(server, session, code, reason):
    server.call("x = 1", session=session)
    answer = server.call(code, session=session)
    assert answer.status_code == 502
    assert reason in answer.text
    # The next call runs on a fresh kernel.
    assert server.call("'x' in state", session=session).text == "False"
    after = server.session(session)
    assert after["restarts"] == 1
    assert after["restarted"] >= after["started"]
    assert reason in after["last_death"]


def test_the_problem_document_says_what_killed_the_kernel(server, session):
    answer = server.ask(
        "POST", "/", data={"code": "import os\nos._exit(3)", "session": session},
        headers={"Accept": "application/json"},
    )
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 502
    assert "exited with status 3" in problem["detail"]
    assert problem["session"] == session
    assert problem["run"] == answer.headers["owt-run"]


def test_a_kernel_killed_from_outside_fails_its_call(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        os.kill(server.session(session)["pid"], signal.SIGKILL)
        assert call.result().status_code == 502
        assert "killed by SIGKILL" in call.result().text
        assert "memory" in call.result().text


def test_a_kernel_killed_while_idle_is_replaced(server, session):
    server.call("x = 1", session=session)
    pid = server.session(session)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert server.call("1 + 1", session=session).status_code in (200, 502)
    wait_until(lambda: server.session(session)["restarts"] == 1)
    assert server.call("'x' in state", session=session).text == "False"
    assert server.session(session)["pid"] != pid


def test_a_kernel_that_keeps_being_killed_while_idle_still_serves_the_next_call(server, session):
    server.call("1", session=session)
    for _ in range(4):
        session_now = wait_until(lambda: (s := server.session(session))["state"] in ("idle", "dead") and s)
        if session_now["state"] == "dead":
            break
        os.kill(session_now["pid"], signal.SIGKILL)
        wait_until(lambda pid=session_now["pid"]: server.session(session)["pid"] != pid)
    assert server.session(session)["state"] == "dead"
    assert "killed by SIGKILL" in server.session(session)["last_death"]
    assert server.call("'alive'", session=session).text == "alive"
    assert server.session(session)["state"] == "idle"


def test_queued_calls_continue_with_the_fresh_kernel(server, session, tmp_path):
    gate = Gate(tmp_path)
    die = "import os\ndef run(): os._exit(7)"
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(server.call, WAIT, session=session, **waiting(gate))]
        gate.reached()
        for number, code in enumerate(["'a'", die, die, die, die, "'b'"]):
            calls.append(threads.submit(server.call, code, session=session))
            wait_until(lambda number=number: server.session(session)["queue"] == number + 1)
        os.kill(server.session(session)["pid"], signal.SIGKILL)
        answers = [call.result() for call in calls]
    assert [answer.status_code for answer in answers] == [502, 200, 502, 502, 502, 502, 200]
    assert [answers[1].text, answers[-1].text] == ["a", "b"]
    assert server.session(session)["restarts"] == 5


@pytest.mark.parametrize(
    ("code", "exception"),
    [
        ("import sys\ndef run(): sys.exit()", "SystemExit"),
        ("import sys\ndef run(): sys.exit(3)", "SystemExit"),
        ("import sys\nasync def run(): sys.exit(3)", "SystemExit"),
        ("import sys\ndef run():\n    yield from ()\n    sys.exit(3)", "SystemExit"),
        ("def run(): raise SystemExit('text')", "SystemExit"),
        ("def run(): exit()", "SystemExit"),
        ("def run(): quit()", "SystemExit"),
        ("import sys\ny = 2\nsys.exit(3)", "SystemExit"),
        ("def run(): raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def run(): raise BaseException('base')", "BaseException"),
        ("async def run(): raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import asyncio\nasync def run(): raise asyncio.CancelledError", "CancelledError"),
        ("def run(): raise GeneratorExit", "GeneratorExit"),
        ("def run(): raise StopIteration(1)", "StopIteration"),
        ("async def run(): raise StopAsyncIteration", "StopAsyncIteration"),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_kernel_survives_exit_and_quit_in_a_call(server, session, code, exception, concurrency):
    server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": concurrency})
    server.call("x = 1", session=session)
    answer = server.call(code, session=session)
    assert answer.status_code == 500
    assert exception in answer.text
    assert server.call("x", session=session).text == "1"
    assert server.session(session)["restarts"] == 0


@pytest.mark.parametrize("name", ["exit", "quit"])
def test_a_kernel_survives_exit_in_a_cell_code(server, session, name):
    server.call("x = 1", session=session)
    answer = server.call(f"y = 1\n{name}()", session=session)
    assert answer.status_code == 500
    assert "SystemExit" in answer.text
    assert server.call("x", session=session).text == "1"
    assert server.session(session)["restarts"] == 0


STREAM = """
import os
def run(path):
    yield 'first\\n'
    open(path).read()
    os._exit(3)
"""


def test_a_kernels_death_during_a_stream_breaks_the_transfer(server, session, tmp_path):
    gate = Gate(tmp_path)
    with subprocess.Popen(
        ["curl", "-sSN", server.url, "-F", f"code={STREAM}", "-F", f"session={session}",
         "-F", f"kwargs={ {'path': str(gate)} }"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as curl:
        gate.reached()
        assert curl.stdout.readline() == b"first\n"
        gate.open()
        assert curl.wait(20) == 18
        assert curl.stdout.read() == b""


def test_a_kernels_death_during_an_http_1_0_stream_breaks_the_transfer(server, session, tmp_path):
    gate = Gate(tmp_path)
    with subprocess.Popen(
        ["curl", "-sSN", "--http1.0", server.url, "--data-urlencode", f"code={STREAM}", "-d",
         f"session={session}", "--data-urlencode", f"kwargs={ {'path': str(gate)} }"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as curl:
        gate.reached()
        assert curl.stdout.readline() == b"first\n"
        gate.open()
        assert curl.wait(20) == 56


def test_a_kernels_death_during_events_is_an_error_event(server, session, tmp_path):
    gate = Gate(tmp_path)
    gate_kwargs = {"code": STREAM, "session": session, "stream": "sse", **waiting(gate)}
    with httpx.stream("POST", server.url, data=gate_kwargs, timeout=30) as answer:
        text = answer.iter_text()
        gate.reached()
        gate.open()
        events = "".join(text)
    assert "event: error" in events
    assert "exited with status 3" in events
    assert events.rstrip().split("\n\n")[-1].startswith("event: done")


def test_processes_in_a_dead_kernels_group_are_killed(server, session):
    code = (
        "import os, subprocess\n"
        "def run():\n"
        "    return subprocess.Popen(['sleep', '1000']).pid\n"
    )
    child = int(server.call(code, session=session).text)
    os.kill(child, 0)
    assert server.call("import os\nos._exit(3)", session=session).status_code == 502
    wait_until(lambda: not os.path.exists(f"/proc/{child}"))


def test_the_end_of_a_kernel_is_noticed_while_its_children_hold_its_connections(server, session):
    code = (
        "import os, signal\n"
        "def run():\n"
        "    if os.fork() == 0:\n"
        "        signal.pause()\n"
        "    os._exit(9)\n"
    )
    answer = server.call(code, session=session)
    assert answer.status_code == 502
    assert "exited with status 9" in answer.text


def test_a_forked_child_that_exits_does_not_end_the_kernel(server, session):
    code = (
        "import os\n"
        "def run():\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        os._exit(5)\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
    )
    assert server.call(code, session=session).text == "5"
    assert server.call(code, session=session).text == "5"
    assert server.session(session)["restarts"] == 0


def test_one_sessions_death_does_not_disturb_another(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        assert server.call("import os\nos._exit(3)", session=f"{session}-b").status_code == 502
        gate.open()
        assert call.result().status_code == 200
    server.ask("DELETE", f"/_owt/sessions/{session}-b")


def test_each_of_many_simultaneous_deaths_has_its_reason(server, session):
    names = [f"{session}-{n}" for n in range(16)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda name: server.call("import os\nos._exit(3)", session=name), names))
        assert [answer.status_code for answer in answers] == [502] * 16
        assert all("exited with status 3" in answer.text for answer in answers)
        again = list(threads.map(lambda name: server.call("'again'", session=name).text, names))
        assert again == ["again"] * 16
        list(threads.map(lambda name: server.ask("DELETE", f"/_owt/sessions/{name}"), names))
