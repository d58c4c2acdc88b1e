"""Python clients and the events of a run: reconnection, and cancellation when a stream is closed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, closing, suppress

import httpx
import pytest
from tcp_proxy import TcpProxy

from owt.client import AsyncClient, Client, Event, RemoteError, Unreachable, clients, following
from owt.testing import Gate, LiveServer, wait_until

STAYS = "import time\ndef run():\n    yield 'first'\n    time.sleep(3600)"
CALL = [sys.executable, "-m", "owt", "call", "--stream", "sse"]


@pytest.fixture
def client(patient: LiveServer) -> Iterator[Client]:
    with Client(patient.url) as client:
        yield client


@pytest.fixture
def between(patient: LiveServer) -> Iterator[TcpProxy]:
    with TcpProxy(patient.port) as forwarder:
        yield forwarder


def run_of(event: Event) -> str:
    return event.id.partition("-")[0]


def failure(server: LiveServer, event: Event) -> str:
    """Wait until the run of this event ends, and return the type of its failure, or "none"."""
    run = run_of(event)

    def ended() -> dict | None:
        document = server.ask("GET", f"/_owt/runs/{run}").json()
        return document if document["ended"] else None

    document = wait_until(ended)
    return document["failure"]["type"] if document["failure"] else "none"


def counted(gate: Gate, n: int) -> str:
    """Return code that waits at the gate after each event, and counts its runs."""
    return (
        "def run():\n    state.runs = getattr(state, 'runs', 0) + 1\n"
        f"    for n in range({n}):\n        yield {{'n': n}}\n        {gate.wait}\n"
    )


class TestLeaving:
    """Only the client can end these runs: the server would wait for an hour."""

    def test_closing_the_generator_ends_the_run(self, patient, client):
        events = client.stream(STAYS)
        first = next(events)
        events.close()
        assert failure(patient, first) == "cancelled"

    def test_leaving_the_loop_ends_the_run(self, patient, client):
        seen = []
        for event in client.stream(STAYS):
            seen.append(event)
            break
        assert failure(patient, seen[0]) == "cancelled"

    def test_an_exception_in_the_loop_ends_the_run(self, patient, client):
        seen = []
        with suppress(ZeroDivisionError):
            for event in client.stream(STAYS):
                seen.append(event)
                1 / 0  # noqa: B018
        assert failure(patient, seen[0]) == "cancelled"

    def test_a_generator_that_outlives_its_client_ends_the_run(self, patient):
        with Client(patient.url) as client:
            events = client.stream(STAYS)
            first = next(events)
        events.close()
        assert failure(patient, first) == "cancelled"

    def test_leaving_an_unreachable_server_is_not_an_error(self, patient, between):
        with Client(between.url) as client:
            events = client.stream(STAYS)
            first = next(events)
            between.close()
            events.close()
        patient.ask("DELETE", f"/_owt/runs/{run_of(first)}").raise_for_status()

    def test_the_end_of_the_program_ends_the_run(self, patient):
        program = (
            "import sys, owt\n"
            "client = owt.Client(sys.argv[1])\n"
            "events = client.stream(sys.argv[2])\n"
            "print(next(events).id)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, patient.url, STAYS],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        assert failure(patient, Event("message", "", done.stdout)) == "cancelled"

    def test_ctrl_c_ends_the_run(self, patient):
        env = {**os.environ, "OWT_URL": patient.url}
        command = [*CALL, "--session", "ctrl-c", "--code", STAYS]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(5) == b"first"
            process.send_signal(signal.SIGINT)
            assert process.stderr.read().strip() == b""
        assert process.returncode == 130
        wait_until(lambda: patient.session("ctrl-c")["state"] == "idle")

    def test_leaving_a_shared_run_does_not_end_it(self, patient, client, gate):
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    yield 'second'"
        caching = client.with_options(session="joined", use_cache=True)
        mine, others = caching.stream(code), caching.stream(code)
        assert run_of(next(mine)) == run_of(next(others))
        mine.close()
        gate.open()
        assert [event.data for event in others][:1] == ["second"]

    def test_a_stream_that_ended_or_failed_cancels_nothing(self, client, monkeypatch):
        monkeypatch.setattr(Client, "_cancel", lambda self, run: pytest.fail("it has ended"))
        events = client.stream("1")
        assert [next(events).name, next(events).name] == ["result", "done"]
        events.close()
        with pytest.raises(RemoteError):
            list(client.stream("1 / 0"))


def test_resuming_and_leaving_use_the_base_url_and_the_token(gate):
    token = "0123456789abcdef"
    options = ["--base-url", "/my/owt", "--resume-window", "1h", "--max-body", "1KiB"]
    with (
        LiveServer(*options, "--token", token) as server,
        TcpProxy(server.port) as between,
        Client(f"{between.url}/my/owt/a/b", token=token) as client,
    ):
        with closing(client.stream(counted(gate, 2))) as events:
            first = next(events)
            assert between.cut() >= 1
            gate.open()
            assert next(events).json() == {"n": 1}
        wait_until(lambda: client.run(run_of(first))["ended"])
        assert client.run(run_of(first))["failure"]["type"] == "cancelled"
        with client.duplex("def run():\n  for m in request.messages: yield m") as stream:
            values = iter(stream)
            for item in "ab":
                stream.send(item)
                assert next(values) == item
                assert between.cut() >= 1
            id = stream.run
        wait_until(lambda: client.run(id)["ended"])
        assert client.run(id)["failure"]["type"] == "cancelled"
        with Client(f"{server.url}/my/owt") as stranger, pytest.raises(RemoteError) as refused:
            stranger.duplex("1").__enter__()
        assert refused.value.status == 401
        with client.duplex("def run(): list(request.messages)") as stream:
            stream.send(bytes(2000))
            with pytest.raises(RemoteError, match="larger than the server permits") as refused:
                list(stream)
        assert refused.value.status == 413


class TestLeavingAsynchronously:
    def test_each_way_to_leave_an_asynchronous_stream_ends_the_run(self, patient):
        events_read: list[Event] = []

        async def closed(client: AsyncClient) -> None:
            async with aclosing(client.stream(STAYS)) as events:
                events_read.append(await anext(events))

        async def dropped(client: AsyncClient) -> None:
            async for event in client.stream(STAYS):
                events_read.append(event)
                break

        async def failed(client: AsyncClient) -> None:
            with suppress(ZeroDivisionError):
                async for event in client.stream(STAYS):
                    events_read.append(event)
                    1 / 0  # noqa: B018

        async def cancelled(client: AsyncClient) -> None:
            is_streaming = asyncio.Event()

            async def listen() -> None:
                async for event in client.stream(STAYS):
                    events_read.append(event)
                    is_streaming.set()

            task = asyncio.create_task(listen())
            await is_streaming.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        async def outlived(client: AsyncClient) -> None:
            events = client.stream(STAYS)
            events_read.append(await anext(events))
            await client.aclose()
            await events.aclose()

        async def check(leave) -> None:
            async with AsyncClient(patient.url) as client:
                await leave(client)

        for leave in (closed, dropped, failed, cancelled, outlived):
            asyncio.run(check(leave))
            assert failure(patient, events_read[-1]) == "cancelled", leave


class TestReconnecting:
    def test_a_lost_connection_neither_loses_nor_repeats_events(self, patient, between, gate):
        with Client(between.url, session="back") as client:
            events = client.stream(counted(gate, 3))
            for n in range(3):
                assert next(events).json() == {"n": n}
                assert between.cut() >= 1
                gate.open()
            assert [event.name for event in events] == ["done"]
        assert patient.call("state.runs", session="back").text == "1"

    def test_the_asynchronous_client_reconnects(self, patient, between, gate):
        async def check() -> None:
            async with AsyncClient(between.url, session="async-back") as client:
                events = client.stream(counted(gate, 2))
                for n in range(2):
                    assert (await anext(events)).json() == {"n": n}
                    assert between.cut() >= 1
                    gate.open()
                assert [event.name async for event in events] == ["done"]

        asyncio.run(check())
        assert patient.call("state.runs", session="async-back").text == "1"

    def test_the_command_call_reconnects(self, patient, between, gate):
        env = {**os.environ, "OWT_URL": between.url}
        command = [*CALL, "--code", counted(gate, 2)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
            assert process.stdout is not None
            for line in (b'{"n":0}\n', b'{"n":1}\n'):
                assert process.stdout.readline() == line
                assert between.cut() >= 1
                gate.open()
            assert process.stdout.read() == b""
        assert process.returncode == 0

    def test_an_event_that_is_cut_is_yielded_once(self, between):
        with Client(between.url) as client:
            seen = []
            for event in client.stream("def run():\n    for n in range(40): yield f'{n} ' * 50_000"):
                seen.append(event.data)
                if len(seen) % 10 == 1:
                    between.cut()
        assert seen[:-1] == [f"{n} " * 50_000 for n in range(40)]

    def test_an_adaptors_own_stream_is_resumed_to_its_end(self, between, gate):
        code = (
            f"def run():\n    def body():\n        yield 'data: 1\\n\\ndata: 2'\n        {gate.wait}\n"
            "        yield '3\\n\\n'\n    return body(), {'Content-Type': 'text/event-stream'}"
        )
        with Client(between.url) as client:
            events = client.stream(code)
            assert next(events).data == "1"
            between.cut()
            gate.open()
            assert [event.data for event in events] == ["23"]

    def test_a_failure_while_disconnected_is_raised(self, patient, between, gate):
        with Client(between.url) as client:
            events = client.stream(f"def run():\n    yield 'first'\n    {gate.wait}\n    1 / 0")
            first = next(events)
            between.close()
            gate.open()
            assert failure(patient, first) == "exception"
            between.open()
            with pytest.raises(RemoteError, match="ZeroDivisionError"):
                next(events)

    def test_lost_events_are_an_error(self, gate):
        code = f"def run():\n    yield 'first'\n    {gate.wait}\n    for n in range(100): yield str(n) * 1000"
        with (
            LiveServer("--run-journal", "16KiB", "--window", "8KiB") as small,
            TcpProxy(small.port) as between,
            Client(between.url) as client,
        ):
            events = client.stream(code)
            run = run_of(next(events))
            # Another reader reads so much that the journal drops the next events of the first one.
            with httpx.stream("GET", f"{small.url}/_owt/runs/{run}/events") as other:
                pieces = other.iter_raw()
                assert next(pieces)
                between.cut()
                gate.open()
                assert b"event: done" in b"".join(pieces)
            with pytest.raises(RemoteError, match="are no longer kept") as caught:
                next(events)
            assert (caught.value.status, caught.value.type) == (410, "urn:owt:events-lost")

    def test_an_unknown_run_ends_the_attempts_to_reconnect(self, patient, between, server):
        with Client(between.url) as client:
            events = client.stream(STAYS)
            first = next(events)
            between.redirect(server.port)
            with pytest.raises(RemoteError, match=f"there is no run '{run_of(first)}'"):
                next(events)
        patient.ask("DELETE", f"/_owt/runs/{run_of(first)}").raise_for_status()

    def test_a_server_that_does_not_return_is_unreachable(self, patient, between, monkeypatch):
        monkeypatch.setattr(following, "DELAYS", (0.0, 0.0))
        with Client(between.url) as client:
            events = client.stream(STAYS)
            first = next(events)
            between.close()
            with pytest.raises(Unreachable, match="no server answers"):
                next(events)
        patient.ask("DELETE", f"/_owt/runs/{run_of(first)}").raise_for_status()

    def test_ctrl_c_between_two_attempts_ends_the_run(self, patient, between, monkeypatch):
        def interrupted(pause: float) -> None:
            between.open()
            raise KeyboardInterrupt

        monkeypatch.setattr(clients, "sleep", interrupted)
        with Client(between.url) as client:
            events = client.stream(STAYS)
            first = next(events)
            between.close()
            with pytest.raises(KeyboardInterrupt):
                next(events)
        assert failure(patient, first) == "cancelled"
