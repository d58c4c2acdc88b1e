"""The frontend of a server with --keep is killed, and calls that waited for their turn run once."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from owt.client import Client
from owt.testing import Gate, LiveServer, wait_until

OPTIONS = ("--keep", "5m", "--pool-min", "0", "--pool-max", "1")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    # The path of `tmp_path` is too long for sockets.
    with tempfile.TemporaryDirectory() as base, LiveServer("--runtime-dir", f"{base}/r", *OPTIONS) as server:
        yield server


def detach(server: LiveServer, code: str, **fields: Any) -> str:
    """Begin a detached call, and return the id of its run."""
    answer = server.call(code, detach=1, **fields)
    assert answer.status_code == 202
    return str(answer.json()["run"])


def document(server: LiveServer, run: str) -> dict[str, Any]:
    return dict(server.ask("GET", f"/_owt/runs/{run}").json())


def answer_of(server: LiveServer, run: str) -> str:
    """Wait for the end of a run, and return its answer."""
    wait_until(lambda: document(server, run)["ended"] is not None)
    return str(server.ask("GET", f"/_owt/runs/{run}/answer").text)


@pytest.mark.parametrize("calls_before", [1, 0], ids=["sent-ahead", "not-sent"])
def test_calls_that_wait_run_once_and_in_order(
    server: LiveServer, session: str, tmp_path: Path, calls_before: int
) -> None:
    gate = Gate(tmp_path)
    for _ in range(calls_before):
        # The calls after a short one are sent before their turn.
        server.call("1", session=session)
    first = detach(server, f"{gate.wait}\norder = [0]\nlen(order)", session=session)
    runs = [detach(server, f"order.append({n})\nlen(order)", session=session) for n in range(1, 13)]
    gate.reached()
    for _ in range(2):
        server.stop(signal.SIGKILL)
        server.start()
        assert [document(server, run)["state"] for run in runs] == ["queued"] * 12
    gate.open()
    assert [answer_of(server, run) for run in [first, *runs]] == [str(n) for n in range(1, 14)]
    assert server.call("order", session=session).json() == list(range(13))


def test_each_way_to_ask_later_leads_to_the_queued_run(
    server: LiveServer, session: str, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    detach(server, f"{gate.wait}\norder = []", session=session)
    gate.reached()
    code = {"session": session, "code": "order.append(1)\nlen(order)"}
    claimed = {"data": code, "headers": {"Owt-Run": f"my-run-{session}"}}
    with pytest.raises(httpx.HTTPError):
        httpx.post(server.url, timeout=httpx.Timeout(60, read=0.1), trust_env=False, **claimed)
    events = {**code, "stream": "sse"}
    with httpx.stream("POST", server.url, data=events, timeout=60, trust_env=False) as response:
        run = response.headers["Owt-Run"]
        server.stop(signal.SIGKILL)
        with suppress(httpx.HTTPError):
            response.read()
    server.start()
    gate.open()
    headers = {"Last-Event-ID": f"{run}-0"}
    answer = server.ask("POST", "/", data=events, headers=headers).text
    assert "data: 2\n" in answer
    assert server.ask("POST", "/", **claimed).text == "1"
    assert server.call("order", session=session).json() == [1, 1]


def test_a_call_that_waits_for_a_kernel_of_its_session_or_the_pool(
    server: LiveServer, session: str, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    holder = ThreadPoolExecutor(1).submit(server.call, gate.wait)
    gate.reached()
    waiting = detach(server, "'from the pool'")
    env = {"env": '{"COLOUR": "red"}', "cwd": str(tmp_path)}
    starting = detach(server, "import os\nos.environ['COLOUR'] + os.getcwd()", session=session, **env)
    server.stop(signal.SIGKILL)
    assert isinstance(holder.exception(), httpx.HTTPError)
    server.start()
    assert answer_of(server, waiting) == "from the pool"
    assert answer_of(server, starting) == f"red{tmp_path}"
    assert server.session(session)["env"] == ["COLOUR"]


def test_a_cancelled_call_does_not_run(server: LiveServer, session: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    server.call("order = []", session=session)
    detach(server, gate.wait, session=session)
    gate.reached()
    runs = [detach(server, f"order.append({n})", session=session) for n in range(12)]
    # The first was sent before its turn, and the last was not.
    for run in (runs[0], runs[-1]):
        assert server.ask("DELETE", f"/_owt/runs/{run}").status_code == 202
    server.stop(signal.SIGKILL)
    server.start()
    gate.open()
    answer_of(server, runs[-2])
    assert server.call("order", session=session).json() == list(range(1, 11))


def test_a_large_call_waits_too(server: LiveServer, session: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    detach(server, gate.wait, session=session)
    gate.reached()
    kwargs = {"text": "x" * 3_000_000}
    run = detach(server, "def run(text): return str(len(text))", session=session, kwargs=repr(kwargs))
    server.stop(signal.SIGKILL)
    server.start()
    gate.open()
    assert answer_of(server, run) == "3000000"


ECHO = "def run():\n    for message in request.messages: yield message\n    yield 'end'"


def test_a_dialogue_goes_on_in_both_directions(server: LiveServer, session: str) -> None:
    sent = [f"{part}-{n}" for part in range(2) for n in range(40)]
    with Client(server.url, session=session) as client, client.duplex(ECHO) as stream:
        values = iter(stream)
        received = []
        for number, item in enumerate(sent):
            stream.send(item)
            if number % 40 == 20:
                received.append(next(values))
                server.stop(signal.SIGKILL)
                server.start()
        stream.end()
        received += values
    assert received == [*sent, "end"]


def test_a_dialogue_that_waits_begins_and_one_that_ended_is_told(
    server: LiveServer, session: str, tmp_path: Path
) -> None:
    gate, ending = Gate(tmp_path), Gate(tmp_path, "ending")
    detach(server, gate.wait, session=session)
    gate.reached()
    code = f"{ECHO}\n    {ending.wait}\n    yield 'over'"
    with Client(server.url, session=session) as client, client.duplex(code) as stream:
        stream.send("1")
        stream.end()
        wait_until(lambda: server.session(session)["queue"] == 1)
        server.stop(signal.SIGKILL)
        server.start()
        gate.open()
        values = iter(stream)
        assert [next(values), next(values)] == ["1", "end"]
        ending.reached()
        server.stop(signal.SIGKILL)
        ending.open()
        server.start()
        assert list(values) == ["over"]
