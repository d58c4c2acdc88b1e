"""Calls without a session: the choice of the kernel, and nested calls."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from owt.testing import Gate, LiveServer, wait_until

WAIT = "import os\ndef run(path):\n    open(path).read()\n    return os.getpid()"
PID = "import os\nos.getpid()"

# Calls the server again, `depth` times; the innermost call returns the value.
NESTED = """
import urllib.parse, urllib.request

def run(depth, code, sessions):
    if depth == 0:
        return 'bottom'
    fields = {'code': code, 'kwargs': repr({'depth': depth - 1, 'code': code, 'sessions': sessions})}
    if sessions:
        fields['session'] = sessions[depth - 1]
    data = urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(Server.sing().url, data) as answer:
        return f'{depth} ' + answer.read().decode()
"""


@pytest.fixture(scope="module")
def pool():
    """Server with a pool that no other test uses."""
    with LiveServer("--pool-max", "5") as server:
        yield server


def members(server):
    return server.ask("GET", "/_owt/sessions").json()["pool"]


def spares(server):
    return [member for member in members(server) if member["state"] == "idle" and not member["calls"]]


def nested(server, depth, sessions=(), **fields):
    kwargs = repr({"depth": depth, "code": NESTED, "sessions": list(sessions)})
    return server.call(NESTED, kwargs=kwargs, **fields)


def test_a_call_goes_to_the_kernel_that_has_loaded_its_code(pool, tmp_path):
    loaded = "import os\ndef run(path=None):\n    path and open(path).read()\n    return os.getpid()"
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        held = threads.submit(pool.call, loaded, kwargs=repr({"path": str(gate)}))
        gate.reached()
        # While that kernel is busy, another one runs a call and becomes the last used.
        other = pool.call(PID).text
        gate.open()
        warm = held.result().text
    assert warm != other
    assert pool.call(PID).text == other
    assert pool.call(loaded).text == warm
    # Code that no kernel has loaded goes to the kernel that was used last.
    assert pool.call("__import__('os').getpid()").text == warm


def test_sequential_calls_stay_on_one_kernel(pool):
    assert len({pool.call(PID).text for _ in range(10)}) == 1


def test_concurrent_calls_get_separate_kernels_up_to_the_limit(pool, tmp_path):
    gates = [Gate(tmp_path, f"gate{n}") for n in range(5)]
    with ThreadPoolExecutor(10) as threads:
        calls = []
        for gate in gates:
            calls.append(threads.submit(pool.call, WAIT, kwargs=repr({"path": str(gate)})))
            gate.reached()
        assert len([member for member in members(pool) if member["state"] == "busy"]) == 5
        waiting = threads.submit(pool.call, PID)
        wait_until(lambda: pool.ask("GET", "/_owt/sessions").json()["waiting"] == 1)
        gates[2].open()
        freed = calls[2].result().text
        assert waiting.result().text == freed
        for gate in (gates[0], gates[1], gates[3], gates[4]):
            gate.open()
        assert len({call.result().text for call in calls}) == 5


@pytest.mark.parametrize("depth", [1, 3])
def test_a_nested_call_does_not_deadlock(pool, depth):
    answer = nested(pool, depth)
    assert answer.text == " ".join(str(n) for n in range(depth, 0, -1)) + " bottom"


def test_a_nested_call_into_other_sessions_does_not_deadlock(pool):
    names = ["inner", "middle", "outer"]
    assert nested(pool, 3, names, session="start").text == "3 2 1 bottom"
    for name in (*names, "start"):
        assert pool.ask("DELETE", f"/_owt/sessions/{name}").status_code == 200


def test_concurrent_nested_calls_of_sessions_into_the_pool_do_not_deadlock(pool):
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(nested, pool, 1, session=f"s{n}") for n in range(4)]
        assert [call.result().text for call in calls] == ["1 bottom"] * 4
    for n in range(4):
        pool.ask("DELETE", f"/_owt/sessions/s{n}")


def test_a_spare_is_kept_ready(pool):
    wait_until(lambda: pool.ask("GET", "/_owt/health").json()["pool"]["spare"] == 1)
    [spare] = wait_until(lambda: spares(pool))
    assert pool.call(PID, session="fresh").text == str(spare["pid"])
    wait_until(lambda: pool.ask("GET", "/_owt/health").json()["pool"]["spare"] == 1)
    pool.ask("DELETE", "/_owt/sessions/fresh")


def test_a_spare_that_dies_is_replaced(pool):
    pid = wait_until(lambda: spares(pool))[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: (idle := spares(pool)) and idle[0]["pid"] != pid)


def test_a_pool_kernel_that_dies_is_replaced(pool):
    assert pool.call("import os\nos._exit(3)").status_code == 502
    assert pool.call("'alive'").text == "alive"


def test_a_kernelspec_needs_a_session(pool):
    answer = pool.call("1", kernel="python3")
    assert answer.status_code == 400
    assert "session=NAME" in answer.text
