"""The frontend's side of a kernel's connections, for tests of the kernel's side."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Self

from owt.kernel.calls.connection import FrontendConnection, Receiver
from owt.kernel.calls.interrupts import Interrupts
from owt.kernel.calls.output_sender import OutputSender
from owt.wire.chunk import Chunk, Done
from owt.wire.messages import Message, Output, encode, message_decoder

PATIENCE = 20.0
PLENTY = 1 << 30
"""Bytes of credit that no test uses up."""


class FrontendSide:
    """The frontend's side of a connection, with blocking calls."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.socket = connection
        self.decoder = message_decoder()
        self.pending: list[Message] = []

    def send(self, *messages: Message) -> None:
        self.socket.sendall(b"".join(buffer for message in messages for buffer in encode(message)))

    def receive(self) -> Message:
        """Return the next message. Raises EOFError at the end of the connection."""
        while not self.pending:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self.pending += self.decoder.feed(data)
        return self.pending.pop(0)

    def chunks(self, count: int) -> list[Chunk]:
        """Return the next `count` chunks, of any run."""
        chunks: list[Chunk] = []
        while len(chunks) < count:
            message = self.receive()
            assert isinstance(message, Output)
            chunks += message.chunks
        return chunks

    def run(self, id: str) -> list[Chunk]:
        """Return all chunks of a run, whose outputs are the next messages."""
        chunks: list[Chunk] = []
        while not (chunks and isinstance(chunks[-1], Done)):
            message = self.receive()
            assert isinstance(message, Output)
            assert message.run == id
            chunks += message.chunks
        return chunks

    def close(self) -> None:
        self.socket.close()


class ConnectionMaker:
    """Factory of connections. A context manager, which closes them."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def pair(self) -> tuple[socket.socket, FrontendSide]:
        """Return the kernel's socket of a new connection, and the frontend's side."""
        near, far = socket.socketpair()
        self._sockets += near, far
        return near, FrontendSide(far)

    def connect(self) -> tuple[FrontendConnection, FrontendSide]:
        """Return both sides of a new connection."""
        near, far = self.pair()
        return FrontendConnection(near, exit_on_loss), far

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._sockets:
            connection.close()


def exit_on_loss(receiver: Receiver) -> NoReturn:
    raise SystemExit("the connection is lost")


class SenderStage:
    """Senders of a run `a` on a connection, and the functions that they schedule."""

    def __init__(self, connections: ConnectionMaker) -> None:
        self.near, self.far = connections.connect()
        self.interrupts = Interrupts(lambda target: None)
        self.due: list[tuple[float, Callable[[], None]]] = []

    def sender(self, window: int = PLENTY) -> OutputSender:
        return OutputSender("a", self.near, window, self.interrupts, lambda *what: self.due.append(what))

    def later(self) -> None:
        """Call the scheduled functions, in another thread."""
        due, self.due = self.due, []

        def work() -> None:
            for _, function in due:
                function()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    def arrived(self) -> list[Chunk]:
        """Return the chunks that have been sent by now."""
        self.near.send(Output("end", ()))
        chunks: list[Chunk] = []
        while (message := self.far.receive()) != Output("end", ()):
            assert isinstance(message, Output)
            assert message.run == "a"
            chunks += message.chunks
        return chunks
