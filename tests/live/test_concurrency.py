"""Sessions whose calls overlap: each call has its own request, output, and cancel."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from owt.testing import Gate, wait_until
from owt.wire.sse import Decoder

PLAIN = """
import threading
def run(n):
    print(f'{n} first')
    state.barrier.wait(10)
    for _ in range(20):
        print(n)
    return [n, request.form['mine'], request.path]
"""
GENERATOR = """
def run(n):
    yield f'{n} first'
    state.barrier.wait(10)
    for _ in range(20):
        print(n)
    yield [n, request.form['mine'], request.path]
"""
ASYNC = """
import asyncio
async def run(n):
    print(f'{n} first')
    state.started.append(n)
    while len(state.started) < 4:
        await asyncio.sleep(0.001)
    for _ in range(20):
        print(n)
        await asyncio.sleep(0)
    return [n, request.form['mine'], request.path]
"""
MIXED_ASYNC = """
import asyncio
async def run(n):
    await asyncio.to_thread(state.barrier.wait, 10)
    for _ in range(20):
        print(n)
    return [n, request.form['mine'], request.path]
"""


@pytest.fixture
def wide(server, session):
    """Return a session in which up to four calls overlap."""
    response = server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": 4})
    assert response.json()["concurrency"] == 4
    server.call("import threading\nbarrier = threading.Barrier(4)\nstarted = []", session=session)
    return session


def events(text):
    decoder = Decoder()
    return decoder.feed(text.encode())


@pytest.mark.parametrize(
    "codes",
    [[PLAIN] * 4, [GENERATOR] * 4, [ASYNC] * 4, [MIXED_ASYNC] * 4, [PLAIN, GENERATOR, PLAIN, MIXED_ASYNC]],
    ids=["plain", "generator", "async", "async-threads", "mixed"],
)
def test_overlapping_calls_have_their_own_output_and_request(server, wide, codes):
    def call(n):
        fields = {"code": codes[n], "session": wide, "kwargs": repr({"n": n}), "stream": "sse"}
        return server.ask("POST", f"/path/{n}", data={**fields, "mine": f"m{n}"}).text

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(call, range(4)))
    for n, answer in enumerate(answers):
        arrived = events(answer)
        printed = "".join(event.data for event in arrived if event.event == "stdout").split()
        assert set(printed) - {"first"} == {str(n)}
        assert printed.count(str(n)) >= 20
        results = [event.data for event in arrived if event.event in ("result", "message")]
        assert results[-1] == f'[{n},"m{n}","/path/{n}"]'
        assert arrived[-1].event == "done"


def test_at_most_the_concurrency_of_calls_overlap(server, wide, tmp_path):
    gate = Gate(tmp_path)
    code = "def run(path): return open(path).read()"
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(server.call, code, session=wide, kwargs=repr({"path": str(gate)}))
                 for _ in range(6)]
        wait_until(lambda: server.session(wide)["queue"] == 2)
        details = server.session(wide)
        assert len(details["runs"]) == 4
        assert details["current_run"] in details["runs"]

        while not all(call.done() for call in calls):
            try:
                gate.reached(0.1)
            except TimeoutError:
                continue
            gate.open()
        assert [call.result().status_code for call in calls] == [200] * 6


WAITING = {
    "plain": "def run(path):\n    while True: pass",
    "generator": "def run(path):\n    while True: yield from ()",
    "async": "import asyncio\nasync def run(path):\n    await asyncio.Event().wait()",
    "async-generator": "import asyncio\nasync def run(path):\n    yield 'first'\n"
                       "    await asyncio.Event().wait()",
}


@pytest.mark.parametrize("kind", WAITING)
def test_a_cancel_stops_one_overlapping_call(server, wide, tmp_path, kind):
    gate = Gate(tmp_path)
    server.call("x = 1", session=wide)
    with ThreadPoolExecutor(8) as threads:
        kept = [
            threads.submit(server.call, "def run(path): return open(path).read() + 'kept'",
                           session=wide, kwargs=repr({"path": str(gate)})),
            threads.submit(server.call, "import asyncio\nasync def run(path):\n"
                           "    while 'go' not in state: await asyncio.sleep(0.001)\n    return 'kept'",
                           session=wide, kwargs=repr({"path": str(gate)})),
        ]
        gate.reached()
        wait_until(lambda: len(server.session(wide)["runs"]) == 2)
        before = set(server.session(wide)["runs"])
        fields = {"session": wide, "kwargs": "{'path': ''}", "stream": "sse"}
        call = threads.submit(server.call, WAITING[kind], **fields)
        [id] = wait_until(lambda: set(server.session(wide)["runs"]) - before)
        server.ask("DELETE", f"/_owt/runs/{id}")
        assert "event: error" in call.result().text
        assert "cancelled" in call.result().text
        assert set(server.session(wide)["runs"]) == before
        gate.open()
        server.call("go = 1", session=wide)
        assert [call.result().text for call in kept] == ["kept", "kept"]
    assert server.call("x", session=wide).text == "1"
    assert server.session(wide)["restarts"] == 0


@pytest.mark.parametrize("kind", WAITING)
def test_a_timeout_stops_one_overlapping_call(server, wide, kind):
    with ThreadPoolExecutor(4) as threads:
        calls = [
            threads.submit(server.call, WAITING[kind], session=wide, kwargs="{'path': ''}", timeout=timeout)
            for timeout in (0.1, 0.2, 0.3)
        ]
        for call in calls:
            if kind == "async-generator":
                assert call.exception() is not None
            else:
                assert call.result().status_code == 504
    assert server.call("'next'", session=wide).text == "next"
    assert server.session(wide)["restarts"] == 0


def test_an_interrupt_stops_all_overlapping_calls(server, wide):
    server.call("x = 1", session=wide)
    with ThreadPoolExecutor(4) as threads:
        calls = [
            threads.submit(server.call, WAITING[kind], session=wide, kwargs="{'path': ''}")
            for kind in ("plain", "async", "plain", "async")
        ]
        wait_until(lambda: len(server.session(wide)["runs"]) == 4)
        assert len(server.ask("POST", f"/_owt/sessions/{wide}/interrupt").json()["runs"]) == 4
        assert [call.result().status_code for call in calls] == [499] * 4
    assert server.call("x", session=wide).text == "1"


def test_cells_of_an_overlapping_session_do_not_overlap(server, wide):
    code = "inside = globals().get('inside', 0) + 1\nimport time\nfor _ in range(50): time.sleep(0)\n" \
           "seen = inside\ninside -= 1\nseen"
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: server.call(code, session=wide).text, range(12)))
    assert answers == ["1"] * 12


def all_have_printed(server, runs, number):
    documents = [server.ask("GET", f"/_owt/runs/{run}").json() for run in runs]
    return len(runs) == number and all(document["stdout"] for document in documents)


def test_the_death_of_a_kernel_fails_all_overlapping_calls(server, wide, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        codes = [
            WAITING[kind].replace(":\n", ":\n    print(1)\n", 1) for kind in ("plain", "async", "plain")
        ]
        arguments = repr({"path": str(gate)})
        calls = [threads.submit(server.call, code, session=wide, kwargs=arguments) for code in codes]
        wait_until(lambda: all_have_printed(server, server.session(wide)["runs"], 3))
        os.kill(server.session(wide)["pid"], signal.SIGKILL)
        for call in calls:
            assert call.result().status_code == 502
            assert "SIGKILL" in call.result().text
    assert server.call("'next'", session=wide).text == "next"
