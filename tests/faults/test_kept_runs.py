"""The frontend of a server with --keep is killed, and runs whose answers can be asked for go on."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from event_lines import events_until

from owt.testing import Gate, LiveServer, wait_until
from owt.wire import sse


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    # The path of `tmp_path` is too long for sockets.
    with tempfile.TemporaryDirectory() as base:
        options = ("--runtime-dir", str(Path(base, "r")), "--keep", "5m", "--pool-min", "1")
        with LiveServer(*options, "--run-journal", "100k", "--window", "64k") as server:
            yield server


def ask_for_events(server: LiveServer, call: dict[str, Any], after: str | None = None) -> Any:
    headers = {"Last-Event-ID": after} if after else {}
    return httpx.stream(
        "POST", server.url, data={**call, "stream": "sse"}, headers=headers, timeout=60, trust_env=False
    )


def test_a_client_of_events_gets_each_event_once(server: LiveServer, session: str, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"gate{n}") for n in range(3)]
    waits = "".join(f"    {gate.wait}\n    for _ in range(20): yield i; i += 1\n" for gate in gates)
    call = {"session": session, "code": f"def run():\n    i = 0\n    yield 'on'\n{waits}"}
    with ask_for_events(server, call) as response:
        lines = response.iter_lines()
        events = events_until(lines, "on")
        gates[0].open()
        events += events_until(lines, "11")
        server.stop(signal.SIGKILL)
    gates[1].open()
    gates[2].reached()
    server.start()
    gates[2].open()
    with ask_for_events(server, call, events[-1].id) as response:
        events += events_until(response.iter_lines(), None)
    data = [event.data for event in events if event.event != "done"]
    assert data == ["on", *map(str, range(60))]
    numbers = [int(event.id.rpartition("-")[2]) for event in events]
    assert numbers == list(range(1, len(events) + 1))
    assert events[-1].event == "done"


def test_a_detached_run_needs_no_frontend(server: LiveServer, session: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    code = f"def run():\n    {gate.wait}\n    for n in range(3000): print('x' * 99)\n    return 'the end'\n"
    run = server.call(code, session=session, detach=1).json()["run"]
    gate.reached()
    server.stop(signal.SIGKILL)
    gate.open()
    server.start()
    wait_until(lambda: server.ask("GET", f"/_owt/runs/{run}").json()["state"] == "done")
    document = server.ask("GET", f"/_owt/runs/{run}").json()
    assert document["detached"]
    # 300 kB were printed, and the journal holds 100.
    assert document["dropped"] > 0
    assert document["events"] > 3


def test_kernels_of_the_pool_go_on_with_their_runs_and_spares_wait_for_calls(
    server: LiveServer, tmp_path: Path
) -> None:
    def pids() -> set[int]:
        pool = server.ask("GET", "/_owt/sessions").json()["pool"]
        return {kernel["pid"] for kernel in pool}

    gates = [Gate(tmp_path, f"gate{n}") for n in range(3)]
    # The frontend has parsed the body, which the adaptor has not read.
    read = "[os.getpid(), len(request.form['pad'])]"
    detached = f"import os\ndef run():\n    {gates[0].wait}\n    return {read}\n"
    run = server.call(detached, detach=1, pad="x" * 200_000).json()["run"]
    gates[0].reached()
    code = f"def run():\n    yield 1\n    {gates[1].wait}\n    yield 2\n    {gates[2].wait}\n    yield 3\n"
    with ask_for_events(server, {"code": code}) as response:
        events = events_until(response.iter_lines(), "1")
        gates[1].reached()
        wait_until(lambda: len(pids()) == 3 and None not in pids())
        before = pids()
        server.stop(signal.SIGKILL)
    gates[0].open()
    gates[1].open()
    gates[2].reached()
    server.start()
    assert pids() == before
    gates[2].open()
    with ask_for_events(server, {"code": code}, events[-1].id) as response:
        events += events_until(response.iter_lines(), None)
    assert [event.data for event in events if event.event != "done"] == ["1", "2", "3"]
    assert [int(event.id.rpartition("-")[2]) for event in events] == [1, 2, 3, 4]
    pid, size = server.ask("GET", f"/_owt/runs/{run}/answer").json()
    assert (pid in before, size) == (True, 200_000)
    assert int(server.call("import os\nos.getpid()").text) in before


def test_a_repeated_request_gets_the_answer_of_the_run_that_went_on(
    server: LiveServer, session: str, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    code = f"{gate.wait}\nimport builtins\nbuiltins.count = getattr(builtins, 'count', 0) + 1\ncount"
    request = {"data": {"code": code, "session": session}, "headers": {"Owt-Run": f"my-run-{session}"}}
    with pytest.raises(httpx.HTTPError):
        httpx.post(server.url, timeout=httpx.Timeout(60, read=0.001), trust_env=False, **request)
    gate.reached()
    server.stop(signal.SIGKILL)
    gate.open()
    server.start()
    answers = [server.ask("POST", "/", **request).text for _ in range(2)]
    assert answers == ["1", "1"]
    assert server.call("count", session=session).text == "1"
    other = {**request, "data": {"code": "2", "session": session}}
    assert server.ask("POST", "/", **other).status_code == 409


def test_a_plain_call_ends_as_by_a_disconnect(server: LiveServer, session: str, tmp_path: Path) -> None:
    gate, ending = Gate(tmp_path), Gate(tmp_path, "ending")
    code = (
        "import time, builtins\ndef run():\n    try:\n"
        f"        {gate.wait}\n        while True: time.sleep(0.01)\n"
        f"    finally:\n        builtins.ended = True\n        {ending.wait}\n"
    )
    url, data = server.url, {"code": code, "session": session}
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(httpx.post, url, data=data, timeout=60, trust_env=False)
        gate.open()
        server.stop(signal.SIGKILL)
        assert isinstance(call.exception(), httpx.HTTPError)
    server.start()
    assert server.session(session)["state"] == "busy"
    ending.open()
    assert server.call("ended", session=session).text == "True"


def test_a_question_is_answered_to_the_next_frontend(server: LiveServer, session: str) -> None:
    code = "def run():\n    return input('first? ') + input('second? ')\n"
    run = server.call(code, session=session, detach=1).json()["run"]

    def prompt() -> Any:
        return server.ask("GET", f"/_owt/runs/{run}").json()["prompt"]

    def answer(text: str, number: int) -> int:
        headers = {"Content-Type": "text/plain", "Owt-Input": str(number)}
        path = f"/_owt/runs/{run}/input"
        return server.ask("POST", path, content=text.encode(), headers=headers).status_code

    wait_until(prompt)
    assert answer("1", 1) < 300
    wait_until(lambda: "second" in str(prompt()))
    server.stop(signal.SIGKILL)
    server.start()
    wait_until(lambda: "second" in str(prompt()))
    # It was received before.
    assert answer("1", 1) < 300
    assert answer("2", 2) < 300
    wait_until(lambda: server.ask("GET", f"/_owt/runs/{run}").json()["state"] == "done")


def test_requests_wait_for_a_kernel_that_answers_late(
    server: LiveServer, session: str, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    path = f"/late-{session}"
    server.call(f"n = 0\n@endpoint({path!r})\ndef late(): return 'late'", session=session)
    code = f"def run():\n    state.n += 1\n    yield 'on'\n    {gate.wait}\n    yield state.n\n"
    run = f"late-run-{session}"
    repeated = {"data": {"code": code, "session": session}, "headers": {"Owt-Run": run}}
    with httpx.stream("POST", server.url, timeout=60, trust_env=False, **repeated) as response:
        assert next(response.iter_text()) == "on"
        pid = server.session(session)["pid"]
        # Neither of its threads answers the next frontend.
        os.kill(pid, signal.SIGSTOP)
        server.stop(signal.SIGKILL)
    server.start()
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/", repeated),
        ("POST", "/", {"json": repeated["data"], "headers": {"Owt-Run": run}}),
        ("GET", f"/_owt/runs/{run}/answer", {}),
        ("GET", f"/_owt/runs/{run}/events?after=1", {}),
        ("GET", f"/_owt/runs/{run}", {}),
        ("GET", path, {}),
    ]
    with ThreadPoolExecutor(len(requests)) as threads:
        responses = [threads.submit(server.ask, *where, **what) for *where, what in requests]
        try:
            assert server.call("1 + 1", session=f"{session}-2").text == "2"
            assert not any(response.done() for response in responses)
        finally:
            os.kill(pid, signal.SIGCONT)
            gate.open()
        answers = [response.result() for response in responses]
    same, other, answer, events, document, endpoint = (answer.text for answer in answers)
    assert (same, answer, endpoint) == ("on1\n", "on1\n", "late")
    # The body is another one.
    assert "stands for another call" in other
    assert sse.Decoder().feed(events.encode())[0].data == "1"
    assert f'"id":"{run}"' in document
    assert server.call("n", session=session).text == "1"
