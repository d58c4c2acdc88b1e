"""The frontend's side of a kernel's connections, for tests of the kernel's side."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Self

from owt.kernel.calls.connection import FrontendConnection
from owt.kernel.calls.interrupts import Interrupts
from owt.kernel.calls.output_sender import OutputSender
from owt.wire.chunk import Chunk, Done
from owt.wire.messages import Message, Output, encode, message_decoder

PATIENCE = 20.0
PLENTY = 1 << 30
"""Bytes of credit that no test uses up."""


class FarEnd:
    """The frontend's side of a connection, with blocking calls."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.socket = connection
        self.decoder = message_decoder()
        self.pending: list[Message] = []

    def send(self, *messages: Message) -> None:
        self.socket.sendall(b"".join(buffer for message in messages for buffer in encode(message)))

    def receive(self) -> Message:
        """The next message. Raises EOFError at the end of the connection."""
        while not self.pending:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self.pending += self.decoder.feed(data)
        return self.pending.pop(0)

    def chunks(self, count: int) -> list[Chunk]:
        """The next `count` chunks, whichever run's."""
        found: list[Chunk] = []
        while len(found) < count:
            message = self.receive()
            assert isinstance(message, Output)
            found += message.chunks
        return found

    def run(self, id: str) -> list[Chunk]:
        """All the chunks of a run, whose outputs are the next messages."""
        found: list[Chunk] = []
        while not (found and isinstance(found[-1], Done)):
            message = self.receive()
            assert isinstance(message, Output)
            assert message.run == id
            found += message.chunks
        return found

    def close(self) -> None:
        self.socket.close()


class Listening:
    """A maker of connections. A context manager."""

    def __init__(self) -> None:
        self._made: list[socket.socket] = []

    def pair(self) -> tuple[socket.socket, FarEnd]:
        """Return the kernel's socket of a new connection, and the frontend's side."""
        near, far = socket.socketpair()
        self._made += near, far
        return near, FarEnd(far)

    def connect(self) -> tuple[FrontendConnection, FarEnd]:
        """Return both sides of a new connection."""
        near, far = self.pair()
        return FrontendConnection(near, exit_on_loss), far

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._made:
            connection.close()


def exit_on_loss() -> NoReturn:
    raise SystemExit("the connection is lost")


class Wired:
    """A lane, outlets of a run `a` on it, and what is to be called later."""

    def __init__(self, door: Listening) -> None:
        self.near, self.far = door.connect()
        self.interrupts = Interrupts(lambda target: None)
        self.due: list[tuple[float, Callable[[], None]]] = []

    def sender(self, window: int = PLENTY) -> OutputSender:
        return OutputSender("a", self.near, window, self.interrupts, lambda *what: self.due.append(what))

    def later(self) -> None:
        """What is due happens, in another thread."""
        due, self.due = self.due, []

        def work() -> None:
            for _, function in due:
                function()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    def arrived(self) -> list[Chunk]:
        """What has been sent by now."""
        self.near.send(Output("end", ()))
        found: list[Chunk] = []
        while (message := self.far.receive()) != Output("end", ()):
            assert isinstance(message, Output)
            assert message.run == "a"
            found += message.chunks
        return found
