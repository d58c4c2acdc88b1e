"""Clients that disconnect at every stage of a call, 500 times, and leave nothing behind."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest

from owt.testing import Bystander, LiveServer, wait_until

TIMES = 500
KEPT = 16 * 1024 * 1024
"""Bytes that the allocator may keep of buffers of many sizes; 500 leaked answers would be more."""

SLEEPS = "def run():\n    import time\n    time.sleep(1000)"
STREAMS = "def run():\n    while True: yield b'x' * 4096"
WAITS = "def run():\n    import time\n    yield 'first'\n    time.sleep(1000)"
PRINTS = "def run():\n    while True: print('x' * 4000)"
WHOLE = "def run(): return 'x' * 3_000_000"
ASYNC = "import asyncio\nasync def run():\n    yield 'first'\n    await asyncio.sleep(1000)"
ANSWERS = "1 + 1"


@pytest.fixture
def server() -> Iterator[LiveServer]:
    options = ["--resume-window", "0", "--run-retention", "0", "--kill-after", "30s", "--pool-max", "1"]
    with LiveServer(*options) as server:
        yield server


def request(code: str, **fields: str) -> bytes:
    """A POST of this code, as bytes."""
    body = urlencode({"code": code, **fields}).encode()
    return (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body


def parts_of(whole: bytes) -> list[bytes]:
    """Return parts of a request that a client may have sent when it disconnects."""
    head = whole.index(b"\r\n\r\n") + 4
    return [b"", whole[:3], whole[: head - 2], whole[:head], whole[: head + 10], whole[:-1]]


def sent(data: bytes) -> Callable[[socket.socket], None]:
    return lambda client: client.sendall(data)


def begun(data: bytes, amount: int = 1) -> Callable[[socket.socket], None]:
    """Return a stage at which the client has received `amount` bytes of the answer."""

    def work(client: socket.socket) -> None:
        client.sendall(data)
        while amount > 0 and len(client.recv(amount, socket.MSG_WAITALL)) < amount:
            break

    return work


def stages() -> list[Callable[[socket.socket], None]]:
    """Return all stages at which a client may disconnect."""
    named = {"session": "left"}
    events = {**named, "stream": "sse"}
    return [
        *(sent(part) for part in parts_of(request(SLEEPS, **named))),
        # While the call is queued, runs, or has just begun.
        sent(request(SLEEPS, **named)),
        sent(request(SLEEPS)),
        sent(request(SLEEPS, **events)),
        sent(request(ASYNC, **named)),
        sent(request(PRINTS, **named)),
        # With a second request behind the first, or a part of one.
        sent(request(SLEEPS, **named) + request(ANSWERS)),
        sent(request(SLEEPS, **named) + b"GET /"),
        # During the answer: at its first byte, in its headers, later.
        begun(request(STREAMS, **named)),
        begun(request(STREAMS), 100_000),
        begun(request(STREAMS, **events), 100_000),
        begun(request(WAITS, **named), 200),
        begun(request(WAITS, **events), 150),
        begun(request(ASYNC, **events), 150),
        begun(request(PRINTS, **events), 10_000),
        begun(request(WHOLE, **named), 1_000_000),
        begun(request(WHOLE, **events), 1_000_000),
        # After the answer.
        begun(request(ANSWERS, **named), 100),
        begun(request(ANSWERS, detach="1", **named), 100),
        begun(request("1 / 0"), 100),
        begun(b"GET /_owt/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 20),
    ]


def leave(server: LiveServer, stage: Callable[[socket.socket], None], *, rudely: bool) -> None:
    """Connect, go through the stage, and disconnect: with a FIN, or with a reset."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        stage(client)
        if rudely:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resources(server: LiveServer) -> dict[str, Any]:
    """Return the resources of the server while nothing runs."""
    frontend = psutil.Process(server.pid)
    # The connection of this request is in all of the counts.
    document = server.ask("GET", "/_owt/sessions").json()
    pids = sorted(kernel["pid"] for kernel in (*document["sessions"], *document["pool"]))
    return {
        "kernels": pids,
        "descriptors": frontend.num_fds(),
        "of kernels": [psutil.Process(pid).num_fds() for pid in pids],
        "processes": sorted(child.pid for child in frontend.children(recursive=True)),
        "runs": server.ask("GET", "/_owt/runs").json()["runs"],
    }


def no_leak(now: dict[str, Any], before: dict[str, Any]) -> bool:
    """Return True if the server has the same kernels and no more resources than before. The end of a
    connection, a process or a run may take time, so there may be fewer than before."""
    return (
        now["kernels"] == before["kernels"]
        and set(now["processes"]) <= set(before["processes"])
        and all(run in before["runs"] for run in now["runs"])
        and now["descriptors"] <= before["descriptors"]
        and all(a <= b for a, b in zip(now["of kernels"], before["of kernels"], strict=True))
    )


def quiet(server: LiveServer) -> bool:
    return bool(server.ask("GET", "/_owt/health").json()["runs"] == 0)


def memory(server: LiveServer) -> dict[int, int]:
    """Return the unique memory of the frontend and of each kernel, in bytes."""
    document = server.ask("GET", "/_owt/sessions").json()
    pids = [server.pid, *(kernel["pid"] for kernel in (*document["sessions"], *document["pool"]))]
    return {pid: psutil.Process(pid).memory_full_info().uss for pid in pids}


def test_clients_that_disconnect_at_any_stage_leave_nothing_behind(server: LiveServer) -> None:
    all_stages = stages()

    def disconnect(times: int) -> None:
        for n, stage in zip(range(times), itertools.cycle(all_stages), strict=False):
            leave(server, stage, rudely=n // len(all_stages) % 2 == 1)

    assert server.call("state.kept = 1", session="left").status_code == 200
    with Bystander(server) as other:
        # The first rounds grow caches and buffers.
        disconnect(2 * len(all_stages))
        wait_until(lambda: quiet(server) or None)
    before, held = resources(server), memory(server)
    with Bystander(server) as other:
        disconnect(TIMES)
        wait_until(lambda: quiet(server) or None)
    assert other.calls > 0
    wait_until(lambda: no_leak(resources(server), before))
    # The same kernels, with their state: no call was ended by killing one.
    assert server.call("state.kept", session="left").text == "1"
    for pid, amount in memory(server).items():
        assert amount < held[pid] + KEPT, pid
