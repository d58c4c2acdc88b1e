"""Kernels that do not respond: busy in native code, stopped, or blocked by leftover work."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from jupyter_client.blocking import BlockingKernelClient

from owt.testing import Gate, LiveServer, wait_until

pytestmark = pytest.mark.usefixtures("bystander")

WAIT = "def run(path): return open(path).read()"

LOOP = "def run():\n    print('on')\n    while True: pass"
STUCK = {
    # These hold the interpreter's lock, so that no other thread of the kernel runs.
    "native-call": "ctypes.PyDLL(None).sleep(1000)",
    "big-number": "7 ** (10 ** 8) % 2",
    "regular-expression": "re.match('(a*)*b', 'a' * 60)",
    "stubborn": "while True: pass",
}


def stuck(kind):
    """Return code that goes on after an interrupt, which may come before it is stuck."""
    return (
        "import ctypes, re\ndef run():\n    while True:\n        try:\n"
        f"            print('on')\n            {STUCK[kind]}\n        except KeyboardInterrupt: pass"
    )


def waiting(gate: Gate) -> dict[str, str]:
    return {"kwargs": repr({"path": str(gate)})}


def began(server, session):
    """Wait until the session's call has printed, and return its run."""
    run = wait_until(lambda: server.session(session)["current_run"])
    wait_until(lambda: server.ask("GET", f"/_owt/runs/{run}").json()["stdout"])
    return run


@pytest.mark.parametrize("kind", STUCK)
def test_a_timeout_ends_a_stuck_call(server, session, kind):
    server.call("x = 1", session=session)
    answer = server.call(stuck(kind), session=session, timeout=0.2)
    assert answer.status_code == 504
    assert "its timeout of 0.2 s" in answer.text
    assert "did not stop within 0.5 s" in answer.text
    assert server.session(session)["restarts"] == 1
    assert server.call("'x' in state", session=session).text == "False"


def test_a_disconnect_ends_a_call_that_can_be_interrupted(server, session):
    server.call("x = 1", session=session)
    run = leave(server, session, LOOP)
    wait_until(lambda: server.ask("GET", f"/_owt/runs/{run}").json()["status"] == 499)
    assert server.call("'x' in state", session=session).text == "True"


@pytest.mark.parametrize("kind", ["native-call", "stubborn"])
def test_a_disconnect_from_a_stuck_call_keeps_the_kernel_until_somebody_ends_it(server, session, kind):
    server.call("x = 1", session=session)
    run = leave(server, session, stuck(kind))
    wait_until(lambda: server.session(session)["abandoned"] == [run])
    state = server.session(session)
    assert (state["state"], state["restarts"]) == ("busy", 0)
    assert "owt_calls_abandoned 1.0" in server.ask("GET", "/_owt/metrics").text
    assert server.ask("GET", f"/_owt/runs/{run}").json()["abandoned"]
    server.ask("POST", f"/_owt/sessions/{session}/interrupt")
    wait_until(lambda: server.session(session)["restarts"] == 1)
    assert server.ask("GET", f"/_owt/runs/{run}").json()["status"] == 499
    assert server.call("'x' in state", session=session).text == "False"


def leave(server, session, code):
    """Call, disconnect as soon as the call has begun, and return the id of its run."""
    body = urlencode({"code": code, "session": session}).encode()
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n" \
           f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + body)
        return began(server, session)


def test_a_kernel_stopped_during_a_call_is_killed_and_the_session_continues(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        queued = threads.submit(server.call, "'queued'", session=session)
        wait_until(lambda: server.session(session)["queue"] == 1)
        os.kill(server.session(session)["pid"], signal.SIGSTOP)
        assert call.result().status_code == 502
        assert "was stopped (SIGSTOP) for 0.5 s while it had calls and was killed" in call.result().text
        assert queued.result().text == "queued"


def test_a_kernel_that_continues_after_a_stop_keeps_its_call(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        pid = server.session(session)["pid"]
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        gate.open()
        assert call.result().status_code == 200


def test_a_kernel_stopped_while_idle_is_left_alone(server, session, bystander):
    server.call("x = 1", session=session)
    pid = server.session(session)["pid"]
    os.kill(pid, signal.SIGSTOP)
    before = bystander.calls
    wait_until(lambda: bystander.calls > before + 50)
    os.kill(pid, signal.SIGCONT)
    assert server.call("x", session=session).text == "1"
    assert server.session(session)["pid"] == pid


def test_a_call_to_a_stopped_kernel_runs_in_the_next_one(server, session):
    server.call("x = 1", session=session)
    os.kill(server.session(session)["pid"], signal.SIGSTOP)
    answer = server.call("'x' in state", session=session)
    assert (answer.status_code, answer.text) == (200, "False")
    assert "was stopped (SIGSTOP) for 0.5 s" in answer.headers["Owt-Restarted"]


def test_a_call_to_a_stopped_kernel_times_out_and_the_session_continues(server, session):
    server.call("x = 1", session=session)
    os.kill(server.session(session)["pid"], signal.SIGSTOP)
    answer = server.call("x", session=session, timeout=0.1)
    assert answer.status_code == 504
    assert server.call("'x' in state", session=session).text == "False"


def test_a_call_that_its_kernel_has_not_begun_survives_the_kernels_death(server, session):
    server.call("x = 1", session=session)
    pid = server.session(session)["pid"]
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        call = pool.submit(server.call, "'x' in state", session=session)
        wait_until(lambda: server.session(session)["current_run"])
        os.kill(pid, signal.SIGKILL)
        assert call.result().text == "False"


def test_a_timeout_starts_after_the_notebook_cell_before_the_call(
    server, session, bystander, tmp_path
):
    gate = Gate(tmp_path)
    server.call("x = 1", session=session)
    notebook = BlockingKernelClient(connection_file=server.session(session)["connection_file"])
    notebook.load_connection_file()
    notebook.start_channels()
    try:
        notebook.wait_for_ready(timeout=20)
        notebook.execute(f"open({str(gate)!r}).read()")
        gate.reached()
        with ThreadPoolExecutor() as threads:
            # The timeout starts when the cell has ended.
            timeout = 1.0
            call = threads.submit(server.call, "x", session=session, timeout=timeout)
            before, begun = bystander.calls, time.monotonic()
            wait_until(lambda: bystander.calls > before and time.monotonic() > begun + 1.5 * timeout)
            assert not call.done()
            gate.open()
            assert call.result().text == "1"
    finally:
        notebook.stop_channels()


def test_a_timeout_applies_while_a_leftover_callback_blocks_the_kernel(server, session, tmp_path):
    gate = Gate(tmp_path)
    code = (
        "import asyncio\n"
        "async def run(path):\n"
        "    asyncio.get_running_loop().call_soon(lambda: open(path).read())\n"
    )
    server.call("x = 1", session=session)
    assert server.call(code, session=session, **waiting(gate)).status_code == 200
    gate.reached()
    answer = server.call("state.ran = True", session=session, timeout=0.1)
    assert answer.status_code == 504
    assert "did not begin within its timeout of 0.1 s" in answer.text
    gate.open()
    # A call that comes before would kill the kernel if it has been blocked for 0.5 s.
    wait_until(lambda: server.session(session)["state"] == "idle")
    assert server.call("(x, 'ran' in state)", session=session).json() == [1, False]
    assert server.session(session)["restarts"] == 0


def test_a_timeout_applies_while_a_leftover_thread_holds_the_interpreter_lock(server, session, tmp_path):
    gate = Gate(tmp_path)
    code = (
        "import ctypes, threading\n"
        "def run(path):\n"
        "    def hold():\n"
        "        with open(path) as file: file.read()\n"
        "        ctypes.PyDLL(None).sleep(1000)\n"
        "    threading.Thread(target=hold, daemon=True).start()\n"
    )
    assert server.call(code, session=session, **waiting(gate)).status_code == 200
    gate.open()
    pid = server.session(session)["pid"]

    statuses = set()

    def killed():
        # Calls succeed until the thread holds the lock.
        statuses.add(server.call("1", session=session, timeout=0.1).status_code)
        return server.session(session)["restarts"]

    assert wait_until(killed) == 1
    assert 504 in statuses
    # Two deadlines pass at the same time: of the call, and of the main thread.
    death = server.session(session)["last_death"]
    assert death.startswith(("did not answer for 0.5 s", "was blocked for 0.5 s"))
    assert server.call("2", session=session).text == "2"
    assert server.session(session)["pid"] != pid


# They block before the kernel's main thread can receive its next message.
LEFTOVERS = {
    "callback": "    asyncio.get_running_loop().call_soon(time.sleep, 600)",
    "task": "    async def block(): time.sleep(600)\n    asyncio.get_running_loop().create_task(block())",
    "signal": "    signal.signal(signal.SIGALRM, lambda *_: time.sleep(600))\n"
              "    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGALRM)",
    "unregistered-selector": "    asyncio.get_running_loop().call_soon(forget)",
    "closed-descriptor": "    loop = asyncio.get_running_loop()\n"
                         "    loop.call_soon(lambda: [loop.remove_reader(fd) for fd in range(3, 100)])",
    # This holds the interpreter's lock, so that no other thread of the kernel answers.
    "native-callback": "    asyncio.get_running_loop().call_soon(re.match, '(a*)*b', 'a' * 60)",
}
IMPORTS = """
import asyncio, gc, re, selectors, signal, time
def forget():
    for selector in gc.get_objects():
        if isinstance(selector, selectors.EpollSelector):
            for key in list(selector.get_map().values()):
                selector.unregister(key.fileobj)
"""


def leave_running(kind):
    return f"{IMPORTS}\nasync def run():\n{LEFTOVERS[kind]}\n    return 'left'"


@pytest.fixture(scope="module")
def narrow():
    """Start a server whose pool has one kernel."""
    with LiveServer("--kill-after", "1", "--pool-max", "1", "--pool-min", "1") as server:
        yield server


@pytest.mark.parametrize("kind", LEFTOVERS)
def test_a_stuck_kernel_leaves_the_pool_and_its_call_runs_in_another(narrow, kind):
    stuck = narrow.ask("GET", "/_owt/health").json()["kernel_ends"]["stuck"]
    assert narrow.call(leave_running(kind)).text == "left"
    assert narrow.call("import os\ndef run(): return 'another'").text == "another"
    health = wait_until(
        lambda: (now := narrow.ask("GET", "/_owt/health").json())["kernel_ends"]["stuck"] > stuck and now
    )
    assert health["kernel_ends"]["stuck"] == stuck + 1
    wait_until(lambda: narrow.ask("GET", "/_owt/health").json()["pool"]["stuck"] == 0)
    assert "owt_kernel_ends_total" in narrow.ask("GET", "/_owt/metrics").text
    assert narrow.call("'next'").text == "next"


def test_a_stuck_pool_kernel_is_found_and_killed_without_a_call(narrow):
    stuck = narrow.ask("GET", "/_owt/health").json()["kernel_ends"]["stuck"]
    assert narrow.call(leave_running("callback")).text == "left"
    wait_until(lambda: narrow.ask("GET", "/_owt/health").json()["kernel_ends"]["stuck"] == stuck + 1)


@pytest.mark.parametrize("kind", LEFTOVERS)
def test_a_stuck_session_says_so_and_a_call_gets_a_fresh_kernel_and_the_reason(server, session, kind):
    server.call("x = 1", session=session)
    assert server.call(leave_running(kind), session=session).text == "left"
    wait_until(lambda: server.session(session)["state"] == "stuck")
    answer = server.ask("POST", f"/_owt/sessions/{session}/interrupt").json()
    assert (answer["interrupted"], answer["runs"]) == (False, [])
    assert "an earlier call has left running blocks the kernel" in answer["reason"]
    assert server.session(session)["state"] == "stuck"
    answer = server.call("'x' in state", session=session)
    assert answer.text == "False"
    cause = "was blocked for 0.5 s by something that an earlier call had left running, and was killed"
    assert answer.headers["Owt-Restarted"] == f"the kernel {cause}"
    assert server.session(session)["last_death"] == cause
    assert "Owt-Restarted" not in server.call("1", session=session).headers


def test_an_interrupt_of_an_idle_session_claims_nothing(server, session):
    server.call("x = 1", session=session)
    answer = server.ask("POST", f"/_owt/sessions/{session}/interrupt").json()
    assert answer == {"interrupted": False, "runs": [], "reason": "no call and no cell is running"}
    assert server.call("x", session=session).text == "1"


def test_a_call_waits_for_leftover_work_that_ends_in_time(patient, session, tmp_path):
    """The server kills kernels that are blocked for ten seconds."""
    gate = Gate(tmp_path)
    code = (
        "import asyncio\n"
        "async def run(path):\n"
        "    asyncio.get_running_loop().call_soon(lambda: open(path).read())\n"
    )
    patient.call("x = 1", session=session)
    patient.call(code, session=session, **waiting(gate))
    gate.reached()
    with ThreadPoolExecutor() as threads:
        call = threads.submit(patient.call, "x", session=session)
        wait_until(lambda: patient.session(session)["queue"] == 1)
        gate.open()
        assert call.result().text == "1"
    assert patient.session(session)["restarts"] == 0
    patient.ask("DELETE", f"/_owt/sessions/{session}")


def test_calls_beside_one_that_holds_the_interpreter_lock_run_once(server, session, tmp_path):
    """The server stops waiting for an answer of any thread of the kernel after 0.5 s."""
    log = tmp_path / "log"
    note = f"def run(name):\n    with open({str(log)!r}, 'a') as log: log.write(name)\n"
    server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": 2})
    with ThreadPoolExecutor() as pool:
        first = pool.submit(
            server.call, f"import ctypes\n{note}    ctypes.PyDLL(None).sleep(3)\n    return name",
            session=session, kwargs='{"name": "a"}',
        )  # fmt: skip
        wait_until(lambda: log.exists() and log.read_text() == "a")
        second = pool.submit(server.call, f"{note}    return name", session=session, kwargs='{"name": "b"}')
        assert (first.result().text, second.result().text) == ("a", "b")
    assert server.call("'still here'", session=session).text == "still here"
    assert server.session(session)["restarts"] == 0
    assert log.read_text() == "ab"
