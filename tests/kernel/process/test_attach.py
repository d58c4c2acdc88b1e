"""owt.kernel.process.attach: the connections that a kernel inherits."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from owt.errors import WireError
from owt.kernel.process.attach import inherited_connections
from owt.wire.messages import CONNECTIONS_VARIABLE


def test_a_process_without_connections_is_an_ordinary_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONNECTIONS_VARIABLE, raising=False)
    assert inherited_connections() is None


@contextlib.contextmanager
def channel_with(*connections: socket.socket) -> Iterator[int]:
    """Make a socket with these connections; its receiver closes it."""
    near, far = socket.socketpair()
    with near:
        socket.send_fds(near, [b"\0"], [connection.fileno() for connection in connections])
    yield far.detach()


def test_the_connections_of_the_frontend_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    with channel_with(*(kernel_side for _, kernel_side in pairs)) as descriptor:
        monkeypatch.setenv(CONNECTIONS_VARIABLE, str(descriptor))
        connections = inherited_connections()
        assert CONNECTIONS_VARIABLE not in os.environ
    assert connections is not None
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
