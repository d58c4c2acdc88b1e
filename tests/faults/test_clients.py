"""Many, silent and slow clients, and few descriptors: other clients are not disturbed."""

from __future__ import annotations

import http.client
import os
import select
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from owt.testing import Bystander, LiveServer, wait_until

MANY = 200


def connect(server: LiveServer, receive: int | None = None) -> socket.socket:
    """Return a connection with a receive buffer of `receive` bytes, and with small segments, so that the
    server's send buffer is small too."""
    sock = socket.socket()
    if receive is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", server.port))
    return sock


def refusal(sock: socket.socket) -> str | None:
    """Return the text of the server's refusal of a connection, or None if it waits for a request."""
    if not select.select([sock], [], [], 0)[0]:
        return None
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    text = answer.read().decode()
    assert (answer.status, answer.getheader("Retry-After") is None) == (503, False), text
    return text


def descriptors(server: LiveServer) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """Server with a limit of 256 descriptors."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nulimit -n 256\nexec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    server = LiveServer("-v", "--pool-min", "0")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(python))
        server.start()
    with ExitStack() as stack:
        stack.push(server)
        yield server


def test_with_256_descriptors_excess_clients_and_sessions_get_503(limited: LiveServer) -> None:
    server = limited
    with Bystander(server) as other, ExitStack() as stack:
        assert server.call("'here'", session="here").text == "here"
        # Open connections until one is refused.
        refused = None
        clients = []
        while refused is None and len(clients) < 256:
            clients.append(stack.enter_context(connect(server)))
            # A client that is not refused at once is served.
            served = clients[-1]
            served.sendall(b"GET /_owt/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            select.select([served], [], [], 20)
            if served.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 503":
                refused = refusal(served)
        assert refused is not None
        assert "--max-connections" in refused
        assert "256 file descriptors (ulimit -n)" in refused
        # Create sessions over an existing connection until one is refused.
        names = []
        while (answer := server.call("1 + 1", session=f"s{len(names)}")).status_code == 200:
            assert answer.text == "2"
            names.append(f"s{len(names)}")
            assert len(names) < 256
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "cannot start a kernel; it may have 256 (ulimit -n)" in answer.text
        assert len(names) > 5
        for name in names:
            assert server.call("2 + 2", session=name).text == "4"
        # When the clients have disconnected, new sessions and clients are accepted again.
        full = descriptors(server)
        for client in clients:
            client.close()
        wait_until(lambda: descriptors(server) <= full - len(clients) + 1)
        assert server.call("'again'", session="again").text == "again"
        with connect(server) as client:
            client.sendall(b"GET /_owt/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    assert other.calls > 0
    assert "Traceback" not in server.log()


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """Server that disconnects silent clients after two seconds and keeps little of each run."""
    options = ("--connection-idle", "2s", "--window", "64KiB", "--run-journal", "64KiB", "--pool-min", "0")
    with LiveServer("-v", *options) as server:
        yield server


def test_200_silent_clients_are_disconnected_and_do_not_disturb_others(server: LiveServer) -> None:
    with Bystander(server) as other, ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(MANY)]
        for client in clients[: MANY // 2]:
            client.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert server.call("1 + 1").text == "2"
        assert [client.recv(1) for client in clients] == [b""] * MANY
        # A new connection: that of the call before may be idle for two seconds now, too.
        assert httpx.get(server.url, params={"code": "1 + 1"}, trust_env=False).text == "2"
    assert other.calls > 0


ENDLESS = """
async def run():
    while True:
        state.items = getattr(state, "items", 0) + 1
        yield "x" * 10_000
"""
LARGE = "def run(): return 'x' * 1_000_000"


def test_200_slow_readers_do_not_disturb_others(server: LiveServer) -> None:
    assert server.ask("PUT", "/_owt/sessions/crowd", json={"concurrency": MANY + 1}).status_code == 201
    assert server.call("1 + 1").text == "2"
    with Bystander(server) as other, ExitStack() as stack:
        begun = descriptors(server)
        clients = []
        for number in range(MANY):
            client = stack.enter_context(connect(server, 4096))
            clients.append(client)
            body = "session=crowd&code=" + (LARGE if number % 2 else ENDLESS).replace("+", "%2B")
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body.encode())
            )
        read = b"".join(client.recv(1) for client in clients)

        def paused() -> bool:
            items = server.call("items", session="crowd").text
            goal = other.calls + 20
            wait_until(lambda: other.calls >= goal)
            return server.call("items", session="crowd").text == items

        # Generators pause once the buffers of their readers are full; other clients make calls meanwhile.
        wait_until(paused)
        read += b"".join(client.recv(1) for client in clients)
        assert read == b"H" * MANY + b"T" * MANY
        assert server.call("1 + 1").text == "2"
        assert len(server.session("crowd")["runs"]) >= MANY // 2
    # The calls of the disconnected clients are cancelled.
    wait_until(lambda: server.session("crowd")["state"] == "idle")
    wait_until(lambda: descriptors(server) <= begun)
    assert other.calls > 0
    assert "Traceback" not in server.log()
