"""Clients that send without end to adaptors that do not read, and the memory and files that this takes."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from urllib.parse import quote

import httpx
import psutil
import pytest

from owt.frontend.http.messages import frame
from owt.testing import PATIENCE, LiveServer, wait_until

MIB = 1 << 20
WINDOW = 4 * MIB
"""Default of --window."""

WAITS = """
import time
def run():
    yield 'begun'
    state.first = next(iter(PARTS), None)
    yield 'read'
    time.sleep(1000)
"""


def masked(code: int, data: bytes) -> bytes:
    head, body = frame(code, data)
    return bytes((head[0], head[1] | 0x80)) + head[2:] + bytes(4) + body


def head(session: str, parts: str, *headers: str, method: str = "GET") -> bytes:
    code = quote(WAITS.replace("PARTS", parts))
    lines = [f"{method} /?session={session}&code={code} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def handshake(session: str, *headers: str) -> bytes:
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", key)
    return head(session, "request.messages", *upgrade, *headers)


SENDERS = {
    "WebSocket": (b"", masked(2, bytes(64 * 1024))),
    "WebSocket, tiny messages": (b"", masked(1, b"x") * 10_000),
    "events, tiny messages": (masked(1, b'{"start": true}'), masked(1, b"") * 10_000),
    "body": (b"", b"10000\r\n" + bytes(65536) + b"\r\n"),
    "body, tiny chunks": (b"", b"1\r\nx\r\n" * 10_000),
}


def first_bytes(name: str, session: str) -> bytes:
    if name.startswith("body"):
        return head(session, "[request.stream.read(1)]", "Transfer-Encoding: chunked", method="POST")
    return handshake(session, *["Sec-WebSocket-Protocol: owt.events"] * name.startswith("events"))


def send_until_stalled(client: socket.socket, parts: Iterable[bytes]) -> None:
    client.settimeout(0.5)
    with suppress(TimeoutError):
        for part in parts:
            client.sendall(part)


def until(client: socket.socket, text: bytes) -> None:
    data = b""
    while text not in data:
        data += client.recv(65536)


def uss(*pids: int) -> list[int]:
    return [psutil.Process(pid).memory_full_info().uss for pid in pids]


def assert_bounded(pids: tuple[int, int], before: list[int]) -> None:
    """Raise AssertionError if frontend or kernel have grown by more than the window and 8 MiB."""
    for now, then in zip(uss(*pids), before, strict=True):
        assert now - then < WINDOW + 8 * MIB


@pytest.fixture
def pids(server: LiveServer) -> Iterator[tuple[int, int]]:
    """Yield the processes of the frontend and of the session "endless", which exists."""
    server.call("1", session="endless").raise_for_status()
    yield server.pid, server.session("endless")["pid"]
    server.ask("DELETE", "/_owt/sessions/endless")


@pytest.mark.parametrize("name", SENDERS)
def test_a_sender_without_end_is_bounded_and_leaves_nothing(
    server: LiveServer, pids: tuple[int, int], name: str
) -> None:
    first, part = SENDERS[name]
    before, files = uss(*pids), psutil.Process(pids[1]).num_fds()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        address = client.getsockname()
        client.sendall(first_bytes(name, "endless") + first + part)
        until(client, b"read")
        send_until_stalled(client, itertools.repeat(part))
        assert_bounded(pids, before)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: server.session("endless")["state"] == "idle")
    # The same kernel.
    assert server.session("endless")["pid"] == pids[1]
    wait_until(lambda: psutil.Process(pids[1]).num_fds() <= files)
    frontend = psutil.Process(server.pid)
    wait_until(lambda: address not in [connection.raddr for connection in frontend.net_connections("tcp")])
    assert_bounded(pids, before)


def test_posts_are_refused_beyond_a_window(server: LiveServer, pids: tuple[int, int]) -> None:
    before = uss(*pids)
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as http:
        code = WAITS.replace("PARTS", "request.messages")
        run = http.post("/", json={"session": "endless", "detach": True, "code": code}).headers["Owt-Run"]
        statuses = [http.post(f"/_owt/runs/{run}/input", content=bytes(MIB)).status_code for _ in range(20)]
        assert statuses == sorted(statuses)
        assert (statuses[0], statuses[-1]) == (200, 429)
        assert_bounded(pids, before)
        http.delete(f"/_owt/runs/{run}")


VALUES = {"bytes": "bytes(N)", "text": "'x' * N", "JSON": "[0] * (N // 2)", "tiny values": None}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_large_event_takes_no_memory_of_the_frontend(server: LiveServer, value: str | None) -> None:
    code = "def run():\n  while True: yield 1"
    if value is not None:
        code = f"N = 100_000_000\ndef run(): yield {value}"
    server.call("1", session="large")
    [before] = uss(server.pid)
    query = f"GET /?session=large&code={quote(code)} HTTP/1.1\r\n"
    request = query.encode() + handshake("", "Sec-WebSocket-Protocol: owt.events").partition(b"\r\n")[2]
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(request + masked(1, b'{"start": true}'))
        received = 0
        while received < 50_000_000 and value is not None:
            received += len(client.recv(MIB))
        wait_until(lambda: server.session("large")["state"] == "busy")
        [now] = uss(server.pid)
        assert now - before < 12 * MIB
    server.ask("DELETE", "/_owt/sessions/large")
