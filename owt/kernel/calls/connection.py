"""The kernel's side of its two connections to the frontend."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from owt.errors import WireError
from owt.kernel.exit import process_id
from owt.wire.messages import Message, Output, encode, message_decoder
from owt.wire.unsent import Region, UnsentOutput


class Receiver:
    """Receiving side of a stream socket with messages. `received` is the number of bytes so far."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = 0
        self._decoder = message_decoder()

    def fileno(self) -> int:
        """Return the socket's descriptor, for an event loop."""
        return self.socket.fileno()

    @property
    def incomplete(self) -> bool:
        """Return True if a part of a message has been received. Thread-safe."""
        return self._decoder.incomplete

    def receive(self) -> list[Message] | None:
        """Return the messages that have arrived, without waiting; None at the end of the connection.

        Raises `WireError`, OSError or MemoryError when the connection cannot be used any more.
        """
        try:
            with self._decoder.get_buffer() as buffer:
                size = self.socket.recv_into(buffer, 0, socket.MSG_DONTWAIT)
            self.received += size
            return self._decoder.buffer_updated(size) if size else None
        except (BlockingIOError, InterruptedError):
            return []
        except ConnectionResetError:
            return None

    def receive_first(self) -> Message:
        """Wait for the first message. Raises `WireError` when the connection ends before."""
        while True:
            with self._decoder.get_buffer() as buffer:
                size = self.socket.recv_into(buffer)
            if not size:
                raise WireError("the frontend closed the connection before its first message")
            if messages := self._decoder.buffer_updated(size):
                [first] = messages
                return first


class KeptOutput(Protocol):
    """Output of a run that outlives its frontend."""

    def add(self, output: Output) -> Output:
        """Keep an output that is about to be sent, and return it as it is to be sent."""


class FrontendConnection:
    """Stream socket with messages to and from the frontend, and to the next frontend when this one is gone.

    `receiver` receives from the current frontend. `send` may be called from any thread.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_lost: Callable[[Receiver], None],
        unsent: UnsentOutput | None = None,
    ) -> None:
        """`on_lost(receiver)` is called when a message cannot be sent, in any thread; it returns if another
        frontend may come. `unsent` is the memory for text that will be sent here."""
        self.unsent = unsent
        self.receiver = Receiver(connection)
        self.is_open = True
        self._on_lost = on_lost
        self._sent = 0
        self._lock = threading.Lock()
        self._owner = 0
        self._deferred: deque[tuple[Message, Sequence[Region], KeptOutput | None]] = deque()
        self._process = process_id()

    def send(
        self, message: Message, regions: Sequence[Region] = (), kept: KeptOutput | None = None
    ) -> bool:
        """Write a message; block while the frontend's buffers are full, which credit keeps rare.

        `regions` have text of the message; they get its number. `kept` keeps an output, for the next
        frontend, too. Returns False if there is no frontend: the message is dropped.

        The garbage collector may run a finalizer in the middle of a write, and the finalizer may print. A
        message that is sent from there follows the frame that is being written.

        Raises RuntimeError in a forked child process: the connection is the parent's.
        """
        if process_id() != self._process:
            raise RuntimeError("a forked child process has no connection to the server; the kernel has")
        me = threading.get_ident()
        if self._owner == me:
            self._deferred.append((message, regions, kept))
            return True
        with self._lock:
            self._owner = me
            try:
                self._write(message, regions, kept)
                while self._deferred:
                    self._write(*self._deferred.popleft())
            finally:
                self._owner = 0
        return self.is_open

    def hold(self) -> threading.Lock:
        """Return the lock that a thread holds while it writes."""
        return self._lock

    def note_handled(self, number: int) -> None:
        """Note in the memory that the frontend reads that the handling of this message begins."""
        if self.unsent is not None:
            self.unsent.note_handled(number)

    def disconnect(self) -> None:
        """Drop all messages from now on, as the frontend is gone."""
        self.is_open = False
        with contextlib.suppress(OSError):
            # The frontend may have closed only the other connection, and not read this one.
            self.receiver.socket.shutdown(socket.SHUT_RDWR)

    def connect(self, receiver: Receiver, first: Callable[[int], Iterable[Message]]) -> None:
        """Go on with the next frontend, whose messages `receiver` receives.

        No message comes before or between those that `first(number)` returns. `number` is that of the first
        of them.
        """

        def connect() -> None:
            self.receiver = receiver
            self.is_open = True
            for message in first(self._sent + 1):
                self._write(message)

        self.pause(connect)

    def pause(self, function: Callable[[], None]) -> None:
        """Call a function while nothing is sent."""
        with self._lock:
            self._owner = threading.get_ident()
            try:
                function()
                while self._deferred:
                    self._write(*self._deferred.popleft())
            finally:
                self._owner = 0

    def _write(
        self, message: Message, regions: Sequence[Region] = (), kept: KeptOutput | None = None
    ) -> None:
        frame = encode(message)
        if kept is not None:
            assert isinstance(message, Output)
            if (cut := kept.add(message)) is not message:
                frame = encode(cut)
        if not self.is_open:
            return
        self._sent += 1
        for region in regions:
            region.mark(self._sent)
        try:
            for buffer in frame:
                self.receiver.socket.sendall(buffer)
        except OSError:
            self.is_open = False
            self._on_lost(self.receiver)
