"""The handover socket: it brings the connections to the frontend, and later those to the next frontend.

The kernel's process inherits the socket with its first connections in it. The frontend at the other end also
gets what outlives this process: the memory for output that has not been sent, and the ends for reading of the
pipes behind stdout and stderr.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
from array import array
from typing import NamedTuple

from owt.errors import WireError
from owt.wire.messages import CONNECTIONS_VARIABLE
from owt.wire.unsent import SIZE, UnsentOutput


class FrontendEnd:
    """The frontend's end of this process's output, so that nothing is lost when the process dies.

    `unsent` is the memory for output that has not been sent; `is_attended` is False while the frontend is
    gone.
    """

    def __init__(self, memory: mmap.mmap, channel: socket.socket | None) -> None:
        """`channel` is the handover socket; None if there is no frontend."""
        self.unsent = UnsentOutput(memoryview(memory))
        self.is_attended = channel is not None
        self._channel = channel
        self._outputs: dict[int, int] = {}

    def fileno(self) -> int:
        """Return the descriptor of the handover socket, for an event loop."""
        assert self._channel is not None
        return self._channel.fileno()

    def keep(self, descriptor: int, output: int) -> None:
        """Have the frontend keep `output`, from which the output to `descriptor` is read from now on.

        The next frontend gets it too, so it must stay open until it is replaced.
        """
        self._outputs[descriptor] = output
        if self._channel is not None and self.is_attended:
            # A frontend that does not read, or is gone, may miss the last words of this process. `send_fds`
            # ignores its flags before Python 3.12.
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [output]))
            with contextlib.suppress(OSError):
                self._channel.sendmsg([bytes([descriptor])], [rights], socket.MSG_DONTWAIT)

    def receive(self) -> tuple[socket.socket, socket.socket] | None:
        """Return the connections for calls and for control of the next frontend, which has the pipes' ends
        then; None if no other will come. Call it when the socket is readable.

        Raises OSError or ValueError for anything else.
        """
        assert self._channel is not None
        try:
            data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 2, socket.MSG_DONTWAIT)
        except ConnectionResetError:
            # The other side has not received all ends of pipes.
            return None
        if not data:
            return None
        calls, control = descriptors
        self.is_attended = True
        for descriptor, output in list(self._outputs.items()):
            self.keep(descriptor, output)
        return _private_socket(calls), _private_socket(control)


class Inherited(NamedTuple):
    """Objects from the frontend: two connections, and its end of the output."""

    calls: socket.socket
    control: socket.socket
    end: FrontendEnd


def inherited_connections() -> Inherited | None:
    """Return the connections that the frontend has for this process, if it has.

    The processes that this one starts do not inherit them. Raises `WireError` when they did not arrive.
    """
    value = os.environ.pop(CONNECTIONS_VARIABLE, None)
    if value is None:
        return None
    try:
        with socket.socket(fileno=int(value)) as channel:
            _, descriptors, _, _ = socket.recv_fds(channel, 1, 3, socket.MSG_DONTWAIT)
            calls, control, memory = descriptors
            # The copy is one that children do not inherit.
            end = FrontendEnd(mmap.mmap(memory, SIZE), channel.dup())
        os.close(memory)
        inherited = Inherited(_private_socket(calls), _private_socket(control), end)
    except (OSError, ValueError) as error:
        raise WireError(
            f"descriptor {value} ({CONNECTIONS_VARIABLE}) has not the frontend's connections ({error}); the "
            "kernelspec's command must pass its standard input on to the kernel"
        ) from error
    if int(value) == 0:
        # The number must not be used for anything else.
        os.open(os.devnull, os.O_RDONLY)
    return inherited


def _private_socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)
