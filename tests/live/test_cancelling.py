"""Early ends of calls: interrupt, timeout, cancel, a client that disconnects."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import httpx
import pytest

from owt.testing import Gate, LiveServer, wait_until

WAIT = "def run(path): return open(path).read()"
LOOP = "def run(path):\n    open(path).read()\n    while True: pass"

ENDLESS = {
    "loop": "def run():\n    while True: pass",
    "sleep": "import time\ndef run(): time.sleep(1000)",
    "generator": "import time\ndef run():\n    yield 'first'\n    time.sleep(1000)",
    "busy-generator": "def run():\n    while True: yield from ()",
    "async": "import asyncio\nasync def run(): await asyncio.sleep(1000)",
    "async-loop": "async def run():\n    while True: pass",
    "async-generator": "import asyncio\nasync def run():\n    yield 'first'\n    await asyncio.sleep(1000)",
    "lock": "import threading\ndef run(): threading.Lock().acquire() and threading.Event().wait()",
    "thread": "from threading import Event, Thread\ndef run():\n"
              "    t = Thread(target=Event().wait, daemon=True)\n    t.start(); t.join()",
    "read": "import os\ndef run(): os.read(os.pipe()[0], 1)",
    "cell": "y = 1\nwhile True: pass",
    "async-cell": "import asyncio\nawait asyncio.sleep(1000)",
    "top-level": "while True: pass\ndef run(): pass",
    "child": "import subprocess\ndef run(): subprocess.run(['sleep', '1000'])",
    "flood": "def run():\n    while True: print('x' * 1000)",
    "big-stream": "def run():\n    while True: yield 'x' * 100000",
    "kwargs": "def run(x): pass",
}


def waiting(gate: Gate) -> dict[str, str]:
    return {"kwargs": repr({"path": str(gate)})}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_call_past_its_timeout_is_504_and_the_session_survives(server, session, kind):
    server.call("x = 1", session=session)
    before = server.session(session)["pid"]
    fields = {"kwargs": "[1 for _ in iter(int, 1)]"} if kind == "kwargs" else {}
    with httpx.stream(
        "POST", server.url, timeout=30,
        data={"code": ENDLESS[kind], "session": session, "timeout": "0.3", **fields},
    ) as answer:
        if answer.status_code == 200:
            # The head was sent before, so the transfer is aborted.
            assert kind in ("generator", "async-generator", "big-stream")
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
        else:
            assert answer.status_code == 504
            assert "its timeout of 0.3 s" in answer.read().decode()
    assert server.call("x", session=session).text == "1"
    assert server.session(session)["pid"] == before
    assert server.session(session)["restarts"] == 0


@pytest.mark.parametrize("kind", ["loop", "async", "cell", "sleep"])
def test_an_interrupt_stops_the_call_and_keeps_the_state(server, session, kind, tmp_path):
    server.call("x = 1", session=session)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, ENDLESS[kind], session=session)
        wait_until(lambda: server.session(session)["state"] == "busy")
        queued = threads.submit(server.call, "x", session=session)
        wait_until(lambda: server.session(session)["queue"] == 1)
        answer = server.ask("POST", f"/_owt/sessions/{session}/interrupt").json()
        assert call.result().status_code == 499
        assert "interrupted" in call.result().text
        assert answer == {"interrupted": True, "runs": [call.result().headers["owt-run"]]}
        # Queued calls stay.
        assert queued.result().text == "1"
    assert server.session(session)["restarts"] == 0


def test_an_interrupt_of_an_idle_session_changes_nothing(server, session):
    server.call("x = 1", session=session)
    for _ in range(20):
        assert server.ask("POST", f"/_owt/sessions/{session}/interrupt").json()["runs"] == []
        assert server.call("x", session=session).text == "1"
    assert server.session(session)["restarts"] == 0


@pytest.fixture(scope="module")
def strict():
    """Return a server with a short grace period."""
    with LiveServer("--kill-after", "0.5", "--pool-min", "2") as server:
        yield server


STUBBORN = """
def run(path):
    while True:
        try:
            open(path).read()
            while True: pass
        except KeyboardInterrupt:
            pass
"""


def test_a_kernel_whose_call_swallows_its_timeout_is_killed(strict, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(strict.call, STUBBORN, session="s", timeout=0.3, **waiting(gate))
        queued = threads.submit(strict.call, "'next'", session="s")
        assert call.result().status_code == 504
        assert "was killed" in call.result().text
        assert queued.result().text == "next"
    after = strict.session("s")
    assert after["restarts"] == 1
    assert "within 0.5 s" in after["last_death"]


def test_a_kernel_whose_call_swallows_its_interrupt_is_killed(strict, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(strict.call, STUBBORN, session="i", **waiting(gate))
        gate.open()
        strict.ask("POST", "/_owt/sessions/i/interrupt")
        assert call.result().status_code == 499
        assert "was killed" in call.result().text
    assert strict.call("'next'", session="i").text == "next"


def test_a_kernel_whose_call_swallows_a_disconnect_is_killed_by_a_cancel(strict, tmp_path):
    gate = Gate(tmp_path)
    client = Client(strict, code=STUBBORN, session="c", **waiting(gate))
    gate.open()
    client.leave()
    [run] = wait_until(lambda: strict.session("c")["abandoned"])
    assert strict.session("c")["restarts"] == 0
    assert strict.ask("DELETE", f"/_owt/runs/{run}").status_code == 202
    wait_until(lambda: strict.session("c")["restarts"] == 1)
    assert strict.call("'next'", session="c").text == "next"


def test_a_result_after_a_swallowed_interrupt_is_not_sent(server, session, tmp_path):
    gate = Gate(tmp_path)
    code = (
        "def run(path):\n"
        "    try:\n"
        "        open(path).read()\n"
        "        while True: pass\n"
        "    except KeyboardInterrupt:\n"
        "        return 'late'\n"
    )
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, code, session=session, **waiting(gate))
        gate.open()
        server.ask("POST", f"/_owt/sessions/{session}/interrupt")
        assert call.result().status_code == 499
    assert server.call("'next'", session=session).text == "next"


WAYS = {
    "plain": "def run(path, done):\n    try:\n        open(path).read()\n        while True: pass\n",
    "generator": "def run(path, done):\n    try:\n        yield 'first'\n        open(path).read()\n"
                 "        while True: pass\n",
    "async": "import asyncio\nasync def run(path, done):\n    try:\n        open(path).read()\n"
             "        await asyncio.sleep(1000)\n",
    "async-generator": "import asyncio\nasync def run(path, done):\n    try:\n        yield 'first'\n"
                       "        open(path).read()\n        await asyncio.sleep(1000)\n",
    "endless-stream": "def run(path, done):\n    try:\n        open(path).read()\n"
                      "        while True: yield 'x' * 1000\n",
}
FINALLY = {kind: code + "    finally:\n        open(done, 'w').close()\n" for kind, code in WAYS.items()}


class Client:
    """Client that sends a call and never reads."""

    def __init__(self, server, **fields):
        body = urlencode(fields).encode()
        head = ["POST / HTTP/1.1", "Host: localhost", f"Content-Type: {FORM}"]
        head += [f"Content-Length: {len(body)}", "", ""]
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.sendall("\r\n".join(head).encode() + body)

    def leave(self):
        self.socket.close()


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("kind", FINALLY)
@pytest.mark.parametrize("stream", ["raw", "sse"])
def test_a_disconnected_client_cancels_its_call(server, session, tmp_path, kind, stream):
    gate, done = Gate(tmp_path), tmp_path / "done"
    server.call("x = 1", session=session)
    kwargs = repr({"path": str(gate), "done": str(done)})
    client = Client(server, code=FINALLY[kind], session=session, stream=stream, kwargs=kwargs)
    gate.open()
    client.leave()
    wait_until(done.exists)
    assert server.call("x", session=session).text == "1"
    assert server.session(session)["restarts"] == 0


def test_a_disconnected_client_removes_its_queued_call(server, session, tmp_path):
    gate = Gate(tmp_path)
    server.call("ran = []", session=session)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        client = Client(server, code="state.ran.append(1)", session=session)
        wait_until(lambda: server.session(session)["queue"] == 1)
        client.leave()
        wait_until(lambda: server.session(session)["queue"] == 0)
        gate.open()
        call.result()
    assert server.call("ran", session=session).json() == []


def test_a_running_call_is_cancelled_by_its_id(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, LOOP, session=session, **waiting(gate))
        gate.open()
        id = server.session(session)["current_run"]
        answer = server.ask("DELETE", f"/_owt/runs/{id}")
        assert answer.status_code == 202
        assert answer.json() == {"run": id, "cancelled": True, "state": "running"}
        assert call.result().status_code == 499
        assert "cancelled" in call.result().text
    run = server.ask("GET", f"/_owt/runs/{id}").json()
    assert (run["state"], run["status"], run["failure"]["type"]) == ("failed", 499, "cancelled")
    again = server.ask("DELETE", f"/_owt/runs/{id}")
    assert again.json() == {"run": id, "cancelled": False, "state": "failed"}


def test_a_queued_call_is_cancelled_by_its_id_and_never_runs(server, session, tmp_path):
    gate = Gate(tmp_path)
    server.call("ran = []", session=session)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(server.call, WAIT, session=session, **waiting(gate))
        gate.reached()
        second = threads.submit(server.call, "state.ran.append(2)", session=session)
        wait_until(lambda: server.session(session)["queue"] == 1)
        runs = server.ask("GET", "/_owt/runs").json()["runs"]
        [id] = [run["id"] for run in runs if run["session"] == session and run["state"] == "queued"]
        server.ask("DELETE", f"/_owt/runs/{id}")
        assert second.result().status_code == 499
        assert "before it began" in second.result().text
        gate.open()
        assert first.result().status_code == 200
    assert server.call("ran", session=session).json() == []


def test_a_call_waiting_for_the_pool_is_cancelled_by_its_id(tmp_path):
    gate = Gate(tmp_path)
    with LiveServer("--pool-max", "1") as server, ThreadPoolExecutor() as threads:
        first = threads.submit(server.call, WAIT, **waiting(gate))
        gate.reached()
        second = threads.submit(server.call, "2")
        wait_until(lambda: server.ask("GET", "/_owt/sessions").json()["waiting"] == 1)
        runs = server.ask("GET", "/_owt/runs").json()["runs"]
        [id] = [run["id"] for run in runs if run["state"] == "queued"]
        server.ask("DELETE", f"/_owt/runs/{id}")
        assert second.result().status_code == 499
        gate.open()
        assert first.result().status_code == 200


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize(
    "code",
    ["def run(n): return n", "async def run(n): return n", "def run(n):\n    yield str(n)", "y = n\ny"],
    ids=["plain", "async", "generator", "cell"],
)
def test_a_cancel_never_affects_the_next_call(server, session, code, concurrency):
    server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": concurrency})
    kept = []
    with httpx.Client(base_url=server.url, timeout=30) as http, ThreadPoolExecutor() as threads:
        for n in range(60):
            # Events start immediately, with the run's id, so that the cancel may meet the run in each
            # of its states.
            fields = {"code": code, "session": session, "kwargs": repr({"n": n}), "stream": "sse"}
            with http.stream("POST", "/", data=fields) as answer:
                id = answer.headers["owt-run"]
                cancelled = threads.submit(server.ask, "DELETE", f"/_owt/runs/{id}")
                kept.append(server.call(code, session=session, kwargs=repr({"n": n})).text)
                events = "".join(answer.iter_text())
            assert "event: done" in events
            assert ("event: error" in events) or (f"data: {n}\n" in events)
            assert cancelled.result().status_code in (200, 202)
    assert kept == [str(n) for n in range(60)]
    assert server.session(session)["restarts"] == 0


def test_sigint_to_the_kernel_stops_the_running_call(server, session, tmp_path):
    gate = Gate(tmp_path)
    server.call("x = 1", session=session)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(server.call, LOOP, session=session, **waiting(gate))
        gate.open()
        os.kill(server.session(session)["pid"], signal.SIGINT)
        assert call.result().status_code in (499, 500)
    assert server.call("x", session=session).text == "1"
