"""Calls that calls make: by a client in the kernel, in a child process, and with the header."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from owt.testing import Gate, LiveServer, wait_until

CALL = "from owt.client import Client\ndef run(target): return Client(session=target).call('41 + 1')"


@pytest.fixture(scope="module")
def small():
    """Start a server with one kernel for ordinary calls, and two more for nested ones."""
    with LiveServer("--pool-max", "1", "--pool-nested", "2") as server:
        yield server


def calling(**kwargs):
    return {"kwargs": repr(kwargs)}


def test_a_call_to_its_own_session_is_refused(server, session):
    answer = server.call(CALL, session=session, **calling(target=session))
    assert answer.status_code == 500
    assert "is held by the run that makes this call" in answer.text
    assert server.call("1", session=session).text == "1"


def test_a_call_to_another_session_is_answered(server, session):
    assert server.call(CALL, session=session, **calling(target=f"{session}-b")).text == "42"


def test_a_session_with_room_answers_a_call_of_its_own(server, session):
    server.ask("PUT", f"/_owt/sessions/{session}", json={"concurrency": 2})
    assert server.call(CALL, session=session, **calling(target=session)).text == "42"


def test_a_call_that_waits_for_itself_through_another_session_is_refused(server, session):
    code = (
        "from owt.client import Client\n"
        "def run(target, back): return Client(session=target).call("
        "\"from owt.client import Client\\ndef run(back): return Client(session=back).call('1')\", back=back)"
    )
    answer = server.call(code, session=session, **calling(target=f"{session}-b", back=session))
    assert answer.status_code == 500
    assert "is held by the run that makes this call" in answer.text


@pytest.mark.parametrize("env", ["None", "dict(os.environ)"])
def test_a_child_process_inherits_the_run(server, session, env):
    child = "import sys; from owt.client import Client; Client(session=sys.argv[1]).call('1')"
    code = (
        "import os, subprocess\n"
        f"def run(session):\n    command = [{sys.executable!r}, '-c', {child!r}, session]\n"
        f"    return subprocess.run(command, env={env}, capture_output=True, text=True).stderr"
    )
    answer = server.call(code, session=session, **calling(session=session))
    assert "is held by the run that makes this call" in answer.text


def test_the_variable_names_the_run(server, session):
    answer = server.call("import os\ndef run(): return os.environ['OWT_RUN']", session=session)
    assert answer.text == answer.headers["Owt-Run"]
    shell = "import os\ndef run(): return os.popen('echo $OWT_RUN').read().strip()"
    answer = server.call(shell, session=session)
    assert answer.text == answer.headers["Owt-Run"]


def test_the_header_of_any_client_makes_a_call_nested(server, session, tmp_path):
    gate = Gate(tmp_path)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(
            server.call, "def run(path): return open(path).read()", session=session, **calling(path=str(gate))
        )
        gate.reached()
        run = wait_until(lambda: server.session(session)["current_run"])
        answer = server.ask("POST", "/", data={"code": "1", "session": session}, headers={"Owt-Caller": run})
        assert answer.status_code == 409
        assert "this call waits for itself" in answer.text
        detached = server.ask(
            "POST", "/", data={"code": "1", "session": session, "detach": "1"}, headers={"Owt-Caller": run}
        )
        assert detached.status_code == 202
        gate.open()
        assert call.result().status_code == 200
    answer = server.ask("POST", "/", data={"code": "1", "session": session}, headers={"Owt-Caller": run})
    assert answer.text == "1"


NESTED = """
from owt.client import Client
def run(depth, code):
    return depth if not depth else Client().call(code, depth=depth - 1, code=code)
"""


def test_nested_calls_get_kernels_beyond_the_pool_up_to_a_limit(small):
    assert small.call(NESTED, **calling(depth=2, code=NESTED)).text == "0"
    answer = small.call(NESTED, **calling(depth=3, code=NESTED))
    assert answer.status_code == 500
    assert "--pool-nested" in answer.text
    wait_until(lambda: small.ask("GET", "/_owt/health").json()["pool"]["kernels"] == 1)


CACHED = """
from owt.client import Client
def run(code): return Client().with_options(use_cache=True).call(code, code=code)
"""


def test_a_call_that_would_join_its_own_caller_is_refused(server):
    answer = server.call(CACHED, use_cache="1", **calling(code=CACHED))
    assert answer.status_code == 500
    assert "the equal call that this one joins is held by" in answer.text
