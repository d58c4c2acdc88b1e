"""`duplex` of the Python clients: both directions of a call, on real connections."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from tcp_proxy import TcpProxy

from owt.client import AsyncClient, Client, RemoteError, Unreachable, following
from owt.errors import CannotSend
from owt.testing import Gate, LiveServer, wait_until

ECHO = "def run():\n    for message in request.messages:\n        yield message"


@pytest.fixture
def client(server: LiveServer, session: str) -> Iterator[Client]:
    with Client(server.url, session=session) as client:
        yield client


def failure_of(client: Client, run: str) -> str | None:
    """Wait until the run ends, and return the type of its failure."""
    wait_until(lambda: client.run(run)["ended"])
    failure = client.run(run)["failure"]
    return failure and str(failure["type"])


def test_each_item_is_answered_before_the_next_one(client: Client) -> None:
    with client.duplex(ECHO) as stream:
        values = iter(stream)
        for item, value in [("é", "é"), (b"\0", b"\0"), ({"n": [1]}, '{"n":[1]}'), (None, "null"), ("", "")]:
            stream.send(item)
            assert next(values) == value
        stream.end()
        assert list(values) == []
    assert failure_of(client, stream.run) is None


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("def run():\n  for m in request.messages: yield json.loads(m)", [{"n": 1}, "2"]),
        ("def run(): yield 'a'; yield b'b'; yield 3; yield None", ["a", b"b", 3, None]),
        ("def run(): print('x'); return sum(1 for _ in request.messages)", [2]),
        ("def run(): list(request.messages)", []),
        ("async def run():\n  async for m in request.messages: yield m", ['{"n":1}', '"2"']),
        ("x = 5\nx", [5]),
    ],
)
def test_values_are_what_the_adaptor_yields_and_returns(client: Client, code: str, values: list[Any]) -> None:
    with client.duplex(code) as stream:
        with suppress(CannotSend):
            stream.send({"n": 1})
            stream.send('"2"')
            stream.end()
        assert list(stream) == values


def test_a_function_gets_arguments_and_a_typed_endpoint_its_items(client: Client, session: str) -> None:
    def shout(mark):
        for message in request.messages:  # noqa: F821
            yield message.upper() + mark

    with client.duplex(shout, mark="!") as stream:
        stream.send("a")
        assert next(iter(stream)) == "A!"
    define = f"@endpoint('/{session}')\ndef f(n: Iterator[int]): yield from n"
    client.call(f"from collections.abc import *\n{define}")
    with Client(f"{client.url}{session}") as other, other.duplex() as stream:
        stream.send(7)
        assert next(iter(stream)) == 7


def test_events_have_what_is_printed_and_asked(client: Client) -> None:
    code = "def run():\n  print('hello')\n  yield 'hi ' + input('Name? ')"
    events = []
    with client.duplex(code) as stream:
        for event in stream.events():
            events.append((event.name, event.data))
            if event.name == "input":
                stream.send("Ada")
    assert events[:-1] == [
        ("stdout", "hello\n"), ("input", {"prompt": "Name? ", "password": False}), ("message", "hi Ada")
    ]  # fmt: skip
    assert (events[-1][0], events[-1][1]["status"]) == ("done", 200)


@pytest.mark.parametrize("ends", [True, False])
def test_leaving_the_block_cancels_a_call_that_has_not_ended(client: Client, ends: bool) -> None:
    code = ECHO if not ends else "def run():\n    yield 'a'"
    with client.duplex(code) as stream:
        if not ends:
            stream.send("a")
        values = iter(stream)
        assert next(values) == "a"
        if ends:
            assert list(values) == []
    assert failure_of(client, stream.run) == (None if ends else "cancelled")
    for use in (lambda: stream.send("b"), stream.end, lambda: next(iter(stream))):
        with pytest.raises(CannotSend, match="the stream was closed"):
            use()


def test_a_failure_is_raised_at_its_place_and_by_send(client: Client) -> None:
    code = "def run():\n  yield next(request.messages)\n  1 / 0"
    with client.duplex(code) as stream:
        stream.send("a")
        values = iter(stream)
        assert next(values) == "a"
        with pytest.raises(RemoteError, match="ZeroDivisionError") as failure:
            next(values)
    assert "1 / 0" in failure.value.traceback

    def send_for_ever() -> None:
        while True:
            stream.send("b")

    with client.duplex(code) as stream, pytest.raises(RemoteError, match="ZeroDivisionError"):
        send_for_ever()


def test_sends_are_refused_after_the_end(client: Client, gate: Gate) -> None:
    with client.duplex(f"def run():\n  {gate.wait}\n  return len(list(request.messages))") as stream:
        stream.send("a")
        stream.end()
        with pytest.raises(CannotSend, match="the input was ended"):
            stream.send("b")
        gate.open()
        assert list(stream) == [1]
        with pytest.raises(CannotSend, match="the call has ended"):
            stream.send("c")


def test_a_refusal_is_a_remote_error(client: Client) -> None:
    with client.duplex("1 +") as stream, pytest.raises(RemoteError) as refused:
        list(stream)
    assert refused.value.status == 400


def test_a_sender_waits_for_an_adaptor_that_does_not_read(client: Client, gate: Gate) -> None:
    code = f"def run():\n  {gate.wait}\n  return sum(map(len, request.messages))"
    part, count, sent = bytes(256 * 1024), 200, [0]

    with client.duplex(code) as stream:

        def send() -> None:
            for _ in range(count):
                stream.send(part)
                sent[0] += 1
            stream.end()

        sender = threading.Thread(target=send)
        sender.start()
        seen = [-1]

        def waits() -> bool:
            seen.append(sent[0])
            return seen[-1] == seen[-2] > 0

        wait_until(waits)
        # What the server and the buffers of the connection hold.
        assert sent[0] < count
        gate.open()
        assert list(stream) == [count * len(part)]
        sender.join()


def test_a_thread_that_sends_ends_with_the_stream(client: Client, gate: Gate) -> None:
    raised = []
    with client.duplex(f"def run():\n  yield 'begun'\n  {gate.wait}") as stream:

        def send() -> None:
            try:
                while True:
                    stream.send(bytes(256 * 1024))
            except CannotSend as error:
                raised.append(str(error))

        sender = threading.Thread(target=send)
        sender.start()
        assert next(iter(stream)) == "begun"
    sender.join()
    assert len(raised) == 1


def test_a_reader_that_waits_stops_the_adaptor(client: Client) -> None:
    with client.duplex("def run():\n  for state.sent in range(1000): yield 'x' * 100_000") as stream:
        values = iter(stream)
        assert len(next(values)) == 100_000
        counts = [-1]

        def waits() -> bool:
            counts.append(client.run(stream.run)["bytes"])
            return counts[-1] == counts[-2]

        wait_until(waits)
        assert counts[-1] < 50_000_000
        assert sum(1 for _ in values) == 999


SIZES = [0, 10, 5000, 70_000]


def test_cuts_lose_nothing_and_repeat_nothing_in_either_direction(patient: LiveServer) -> None:
    chance = random.Random(14)
    items = [f"{number} " + "x" * chance.choice(SIZES) for number in range(400)]
    received = []
    with TcpProxy(patient.port) as between, Client(between.url, session="duplex-cuts") as client:
        with client.duplex(ECHO) as stream:

            ahead = threading.Semaphore(30)

            def send() -> None:
                for item in items:
                    ahead.acquire()
                    stream.send(item)
                stream.end()

            sender = threading.Thread(target=send)
            sender.start()
            next_cut = 1
            for value in stream:
                received.append(value)
                # The sender has more, so the client connects again.
                if len(received) == next_cut < len(items) - 30:
                    wait_until(between.cut)
                    next_cut += chance.randrange(1, 20)
                ahead.release()
            sender.join()
        assert received == items
        assert failure_of(client, stream.run) is None


def test_the_asynchronous_client_does_the_same(patient: LiveServer) -> None:
    async def check(between: TcpProxy) -> None:
        items = [str(n) * 1000 for n in range(200)]
        async with AsyncClient(between.url, session="duplex-async") as client:
            async with client.duplex(ECHO) as stream:

                async def send() -> None:
                    for item in items:
                        await stream.send(item)
                    await stream.end()

                sender = asyncio.create_task(send())
                received = []
                async for value in stream:
                    received.append(value)
                    if len(received) % 50 == 1:
                        between.cut()
                await sender
                assert received == items
                with pytest.raises(CannotSend, match="the call has ended"):
                    await stream.send("more")
            async with client.duplex(ECHO) as stream:
                await stream.send("a")
                await stream.end()
                assert [event.data async for event in stream.events()][:-1] == ["a"]
            with pytest.raises(RemoteError, match="ZeroDivisionError"):
                async with client.duplex("1 / 0") as stream:
                    await anext(aiter(stream))

            async def stay() -> None:
                async with client.duplex(ECHO) as stream:
                    begun.set_result(stream.run)
                    await anext(aiter(stream))

            begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            staying = asyncio.create_task(stay())
            run = await begun
            staying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await staying
            with Client(patient.url) as other:
                assert failure_of(other, run) == "cancelled"

    with TcpProxy(patient.port) as between:
        asyncio.run(check(between))


def test_a_server_that_does_not_return_is_unreachable(
    patient: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "DELAYS", (0.0, 0.0))
    with TcpProxy(patient.port) as between, Client(between.url) as client, client.duplex(ECHO) as stream:
        between.close()
        with pytest.raises(Unreachable, match="broke off"):
            next(iter(stream))
    patient.ask("DELETE", f"/_owt/runs/{stream.run}").raise_for_status()


def test_a_run_that_the_server_does_not_know_is_lost(patient: LiveServer, server: LiveServer) -> None:
    with TcpProxy(patient.port) as between, Client(between.url) as client, client.duplex(ECHO) as stream:
        between.redirect(server.port)
        with pytest.raises(RemoteError, match="is not known here") as lost:
            next(iter(stream))
        assert lost.value.status == 410
        patient.ask("DELETE", f"/_owt/runs/{stream.run}").raise_for_status()


def refusal(url: str) -> str:
    with Client(url) as client, pytest.raises(Unreachable) as error, client.duplex("1"):
        pass
    return str(error.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "permits no WebSocket: it says 200 'hi'"),
        (b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n", "permits no WebSocket: it says 405"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://a.example/\r\nContent-Length: 0\r\n\r\n", "a.example"),
        (b"", "no server answers"),
        (b"SSH-2.0-x\r\n", "no server answers"),
    ],
)
def test_a_proxy_without_websockets_is_named(answer: bytes, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert reason in refusal(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def test_no_server_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert "no server answers" in refusal(f"http://127.0.0.1:{unused.getsockname()[1]}")


def test_arguments_must_fit_into_the_url(client: Client) -> None:
    with pytest.raises(CannotSend, match="image: JSON has no bytes"), client.duplex("1", image=b"x"):
        pass
    client.close()
    with pytest.raises(CannotSend, match="is closed"), client.duplex("1"):
        pass
