"""The frontend's end of a lane, for tests of the kernel's end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from owt.kernel.calls.connection import LaneEnd
from owt.kernel.calls.interrupts import Interrupts
from owt.kernel.calls.output_sender import OutputSender
from owt.wire.chunk import Chunk, Done
from owt.wire.handshake import NONCE, Lane, Signer, read_preface
from owt.wire.messages import FrameReader, FrameWriter, Hello, Message, Output

KEY = b"the connection key"
PATIENCE = 20.0
PLENTY = 1 << 30
"""Bytes of credit that no test uses up."""


class FarEnd:
    """What a frontend does with an accepted connection, by blocking calls."""

    def __init__(self, connection: socket.socket, key: bytes = KEY) -> None:
        connection.settimeout(PATIENCE)
        self.socket = connection
        nonce = os.urandom(NONCE)
        connection.sendall(nonce)
        line = b""
        while not line.endswith(b"\n"):
            line += connection.recv(1)
        self.kernel, self.lane = read_preface(line[:-1])
        signer = Signer(key, nonce, self.lane, frontend=True)
        self.writer = FrameWriter(signer.sending)
        self.reader = FrameReader(signer.receiving)
        self.pending: list[Message] = []
        hello = self.receive()
        assert isinstance(hello, Hello)
        self.hello = hello

    def send(self, *messages: Message) -> None:
        self.socket.sendall(b"".join(map(self.writer.encode, messages)))

    def receive(self) -> Message:
        """The next message. Raises EOFError at the end of the connection."""
        while not self.pending:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self.pending += self.reader.feed(data)
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
    """A door behind which `FarEnd`s are made. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "door")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(PATIENCE)
        self._listener.bind(self.path)
        self._listener.listen()
        self._made: list[FarEnd | LaneEnd] = []

    def accept(self) -> FarEnd:
        end = FarEnd(self._listener.accept()[0])
        self._made.append(end)
        return end

    def accepting(self, *then: Callable[[FarEnd], object]) -> threading.Thread:
        """Accept one connection for each of `then`, in a thread, and call it with the far end."""

        def work() -> None:
            for each in then:
                each(self.accept())

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def connect(self, lane: Lane = "calls") -> tuple[LaneEnd, FarEnd]:
        """Both ends of a lane."""
        far: list[FarEnd] = []
        thread = self.accepting(far.append)
        near = LaneEnd(self.path, "k1", KEY, lane)
        thread.join()
        self._made.append(near)
        return near, far[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for end in self._made:
            socket_of(end).close()


def socket_of(end: FarEnd | LaneEnd) -> socket.socket:
    return end.socket if isinstance(end, FarEnd) else end._socket


class Wired:
    """A lane, outlets of a run `a` on it, and what is to be called later."""

    def __init__(self, door: Listening) -> None:
        self.near, self.far = door.connect()
        self.interrupts = Interrupts(lambda target: None)
        self.due: list[tuple[float, Callable[[], None]]] = []

    def outlet(self, window: int = PLENTY) -> OutputSender:
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
