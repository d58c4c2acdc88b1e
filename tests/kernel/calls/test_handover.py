"""owt.kernel.calls.handover: the connections that a kernel inherits, and those that follow."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from owt.errors import WireError
from owt.kernel.calls.handover import inherited_connections
from owt.wire.messages import CONNECTIONS_VARIABLE
from owt.wire.unsent import SIZE, Unsent, find_unsent


def test_a_process_without_connections_is_an_ordinary_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONNECTIONS_VARIABLE, raising=False)
    assert inherited_connections() is None


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@contextlib.contextmanager
def channel_with(*connections: socket.socket | IO[bytes]) -> Iterator[int]:
    """Make a socket with these connections; its receiver closes it."""
    near, far = socket.socketpair()
    with near:
        socket.send_fds(near, [b"\0"], [connection.fileno() for connection in connections])
    yield far.detach()


def test_the_connections_of_the_frontend_are_taken(
    monkeypatch: pytest.MonkeyPatch, stack: contextlib.ExitStack, tmp_path: Path
) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    (tmp_path / "memory").write_bytes(bytes(SIZE))
    memory = stack.enter_context((tmp_path / "memory").open("r+b"))
    with channel_with(*(kernel_side for _, kernel_side in pairs), memory) as descriptor:
        monkeypatch.setenv(CONNECTIONS_VARIABLE, str(descriptor))
        inherited = inherited_connections()
        assert CONNECTIONS_VARIABLE not in os.environ
    assert inherited is not None
    inherited.end.unsent.reading["stderr"].append(b"last words")
    [unsent] = find_unsent(os.pread(memory.fileno(), SIZE, 0), received=0)
    assert unsent == Unsent("", "stderr", b"last words")
    assert inherited.end._channel is not None
    stack.enter_context(inherited.end._channel)
    connections = (inherited.calls, inherited.control)
    assert not any(connection.get_inheritable() for connection in connections)
    for connection, (frontend_side, kernel_side) in zip(connections, pairs, strict=True):
        with connection, frontend_side:
            kernel_side.close()
            frontend_side.sendall(b"x")
            assert connection.recv(10) == b"x"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("value", ["", "987", "a", "1,2"])
def test_a_channel_that_is_not_open_is_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONNECTIONS_VARIABLE, value)
    with pytest.raises(WireError, match="must pass its standard input on to the kernel"):
        inherited_connections()


def test_a_channel_that_is_no_socket_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as null:
        monkeypatch.setenv(CONNECTIONS_VARIABLE, str(null.fileno()))
        with pytest.raises(WireError, match="has not the frontend's connections"):
            inherited_connections()


def test_a_channel_without_connections_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with channel_with() as descriptor:
        monkeypatch.setenv(CONNECTIONS_VARIABLE, str(descriptor))
        with pytest.raises(WireError, match="has not the frontend's connections"):
            inherited_connections()
