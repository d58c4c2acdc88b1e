"""Clients with the option `retry`: they send a call again after a connection that broke, and it runs once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports
from tcp_proxy import TcpProxy

from owt.cli.main import main
from owt.client import AsyncClient, Client
from owt.errors import RemoteError, Unreachable
from owt.testing import Gate, LiveServer, wait_until

COUNT = "state.runs = getattr(state, 'runs', 0) + 1"
LONG = 60.0
"""Seconds of `retry` that no test needs."""
SHORT = 0.2
ITEMS = ["0", "1", "2", "3"]

Call = Callable[[str, str, str, float | None], Any]


@pytest.fixture
def proxy(patient: LiveServer) -> Iterator[TcpProxy]:
    with TcpProxy(patient.port) as proxy:
        yield proxy


def blocking(url: str, session: str, code: str, retry: float | None) -> Any:
    with Client(url, session=session) as client:
        return client.with_options(retry=retry).call(code)


def asynchronous(url: str, session: str, code: str, retry: float | None) -> Any:
    async def call() -> Any:
        async with AsyncClient(url, session=session) as client:
            return await client.with_options(retry=retry).call(code)

    return asyncio.run(call())


def streaming(url: str, session: str, code: str, retry: float | None) -> Any:
    with Client(url, session=session) as client:
        events = list(client.with_options(retry=retry).stream(code))
    assert events[-1].name == "done"
    return "".join(str(event.data) for event in events[:-1])


def streaming_asynchronously(url: str, session: str, code: str, retry: float | None) -> Any:
    async def call() -> list[Any]:
        async with AsyncClient(url, session=session) as client:
            return [event async for event in client.with_options(retry=retry).stream(code)]

    return "".join(str(event.data) for event in asyncio.run(call())[:-1])


def opening(url: str, session: str, code: str, retry: float | None) -> Any:
    with Client(url, session=session) as client, client.with_options(retry=retry).open(code) as response:
        return json.loads(response.read())


CALLS: dict[str, Call] = {
    "call": blocking,
    "async call": asynchronous,
    "stream": streaming,
    "async stream": streaming_asynchronously,
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def counting(*lines: str) -> str:
    return "\n    ".join(["def run():", COUNT, *lines])


def runs(server: LiveServer, session: str) -> str:
    return server.call("getattr(state, 'runs', 0)", session=session).text


@calls
def test_a_connection_cut_before_the_answer(
    patient: LiveServer, session: str, proxy: TcpProxy, call: Call
) -> None:
    code = counting(proxy.cut_expression(), "return 'whole'")
    assert call(proxy.url, session, code, LONG) == "whole"
    assert runs(patient, session) == "1"


@calls
def test_a_connection_cut_in_the_middle_of_the_answer(
    patient: LiveServer, session: str, proxy: TcpProxy, call: Call
) -> None:
    cut = proxy.cut_expression()
    code = counting("for n in range(4):", "    yield str(n)", f"    n == 1 and {cut}")
    assert call(proxy.url, session, code, LONG) == "0123"
    assert runs(patient, session) == "1"


def test_the_beginning_of_an_open_response_is_retried(
    patient: LiveServer, session: str, proxy: TcpProxy
) -> None:
    code = counting(proxy.cut_expression(), "return 'whole'")
    assert opening(proxy.url, session, code, LONG) == "whole"
    assert runs(patient, session) == "1"


@calls
def test_connections_that_are_closed_at_once_are_retried_until_the_time_is_over(
    session: str, proxy: TcpProxy, call: Call
) -> None:
    proxy.close()
    with pytest.raises(Unreachable):
        call(proxy.url, session, "1", SHORT)


@pytest.mark.parametrize("call", [blocking, streaming])
def test_a_call_that_the_end_of_the_server_has_ended_runs_again_after_the_restart(
    gate: Gate, call: Call
) -> None:
    port = free_ports(1)
    options = ("--port", str(port), "--drain", "0s")
    code = counting(f"return {gate.wait} or 'whole'")
    with ThreadPoolExecutor() as threads:
        with LiveServer(*options):
            answer = threads.submit(call, f"http://127.0.0.1:{port}", "s", code, LONG)
            gate.reached()
        gate.open()
        with LiveServer(*options):
            Gate.at(gate.path).open()
            assert answer.result() == "whole"


@pytest.mark.parametrize("call", [blocking, asynchronous, streaming])
def test_the_error_of_the_call_is_raised_once(patient: LiveServer, session: str, call: Call) -> None:
    with pytest.raises(RemoteError, match="no"):
        call(patient.url, session, counting("raise ValueError('no')"), LONG)
    assert runs(patient, session) == "1"


def test_without_retry_the_error_names_the_option(session: str, proxy: TcpProxy) -> None:
    with pytest.raises(Unreachable, match="the option retry"):
        blocking(proxy.url, session, counting(proxy.cut_expression(), "return 'whole'"), None)


def test_cancelling_a_task_cancels_the_call_at_once(patient: LiveServer, session: str, gate: Gate) -> None:
    async def leave() -> None:
        async with AsyncClient(patient.url, session=session) as client:
            task = asyncio.create_task(client.with_options(retry=LONG).call(counting(gate.wait)))
            await asyncio.to_thread(gate.reached)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(leave())
    wait_until(lambda: patient.session(session)["current_run"] is None)


def test_leaving_an_open_response_cancels_the_call_at_once(
    patient: LiveServer, session: str, gate: Gate
) -> None:
    code = counting("yield 'one'", gate.wait)
    client = Client(patient.url, session=session).with_options(retry=LONG)
    with client, client.open(code) as response:
        assert next(response.iter_text()) == "one"
    wait_until(lambda: patient.session(session)["current_run"] is None)


@pytest.mark.parametrize("stream", ["raw", "sse"])
def test_the_command_line_prints_the_whole_answer_once(
    patient: LiveServer, session: str, proxy: TcpProxy, stream: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cut = proxy.cut_expression()
    code = counting("for n in range(4):", "    yield str(n) * 3", f"    n == 1 and {cut}")
    options = ["--url", proxy.url, "--session", session, "--code", code, "--stream", stream]
    assert main(["call", *options, "--retry", "60"]) == 0
    assert capfdbinary.readouterr().out.replace(b"\n", b"") == b"000111222333"
    assert runs(patient, session) == "1"


def test_the_command_line_does_not_join_bytes_of_different_runs(
    patient: LiveServer, server: LiveServer, session: str, proxy: TcpProxy, gate: Gate, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    output = tmp_path / "output"
    options = ["--url", proxy.url, "--session", session, "--code", counting("yield 'one'", gate.wait)]
    with ThreadPoolExecutor() as threads:
        call = threads.submit(main, ["call", *options, "--output", str(output), "--retry", "60"])
        gate.reached()
        wait_until(lambda: output.exists() and output.read_text() == "one")
        proxy.redirect(server.port)
        assert call.result() == 1
    assert "there is no run" in capfd.readouterr().err
    assert runs(server, session) == "0"
    patient.ask("DELETE", f"/_owt/sessions/{session}")


def test_an_id_of_the_caller_is_kept(patient: LiveServer, session: str) -> None:
    with Client(patient.url, session=session) as client:
        named = client.with_options(retry=LONG, headers={"owt-run": f"{session}-mine"})
        assert [named.call(counting("return 'whole'")) for _ in range(2)] == ["whole", "whole"]
    assert runs(patient, session) == "1"
