"""owt.kernel.process.attach: the connections that a kernel inherits."""

from __future__ import annotations

import os
import socket

import pytest

from owt.errors import WireError
from owt.kernel.process.attach import inherited_connections
from owt.wire.messages import CONNECTIONS_VARIABLE


def test_a_process_without_connections_is_an_ordinary_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONNECTIONS_VARIABLE, raising=False)
    assert inherited_connections() is None


def test_inherited_connections_are_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    numbers = [os.dup(kernel_side.fileno()) for _, kernel_side in pairs]
    for number in numbers:
        os.set_inheritable(number, True)
    monkeypatch.setenv(CONNECTIONS_VARIABLE, ",".join(map(str, numbers)))
    connections = inherited_connections()
    assert connections is not None
    assert [connection.fileno() for connection in connections] == numbers
    assert not any(os.get_inheritable(number) for number in numbers)
    assert CONNECTIONS_VARIABLE not in os.environ
    for connection in (*connections, *(end for pair in pairs for end in pair)):
        connection.close()


@pytest.mark.parametrize("value", ["", "5", "a,b", "987,988", "1,2,3"])
def test_connections_that_are_not_open_are_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONNECTIONS_VARIABLE, value)
    with pytest.raises(WireError, match="must pass on the descriptors that it inherits"):
        inherited_connections()


def test_descriptors_that_are_no_sockets_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    readable, writable = os.pipe()
    monkeypatch.setenv(CONNECTIONS_VARIABLE, f"{readable},{writable}")
    with pytest.raises(WireError, match="are not the frontend's connections"):
        inherited_connections()
    os.close(readable)
    os.close(writable)
