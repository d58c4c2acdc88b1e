"""One of the two connections between a kernel and the frontend, the kernel's end."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque

from owt.errors import WireError
from owt.host.reaper import leave
from owt.wire.handshake import NONCE, Lane, Signer, preface
from owt.wire.messages import FrameReader, FrameWriter, Hello, Message


class LaneEnd:
    """A connected lane. `send` may be called from any thread; `receive` from one at a time."""

    def __init__(self, door: str, kernel: str, key: bytes, lane: Lane) -> None:
        """Connect and say hello. Raises OSError when the door is gone, `WireError` when whoever
        answers there does not speak as a frontend does."""
        self.door = door
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(door)
            nonce = self._read_nonce()
        except BaseException:
            self._socket.close()
            raise
        signer = Signer(key, nonce, lane, frontend=False)
        self._writer = FrameWriter(signer.sending)
        self._reader = FrameReader(signer.receiving)
        self._lock = threading.Lock()
        self._owner = 0
        self._deferred: deque[Message] = deque()
        self._socket.sendall(preface(kernel, lane))
        self.send(Hello(kernel=kernel, lane=lane, pid=os.getpid()))

    def fileno(self) -> int:
        """The socket's descriptor, for an event loop."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Write one message; blocks while the frontend's buffers are full, which credit keeps rare.

        A finalizer that the garbage collector runs in the middle of a write may print: what it
        sends then follows the frame that is being written.
        """
        me = threading.get_ident()
        if self._owner == me:
            self._deferred.append(message)
            return
        with self._lock:
            self._owner = me
            try:
                self._write(message)
                while self._deferred:
                    self._write(self._deferred.popleft())
            finally:
                self._owner = 0

    def hold(self) -> threading.Lock:
        """The lock that a thread holds while it writes."""
        return self._lock

    def receive(self) -> list[Message] | None:
        """The messages that have arrived, without waiting; None at the end of the connection, and
        when it is of no more use: a part could not be understood, or did not fit into memory."""
        try:
            with self._reader.room() as room:
                size = self._socket.recv_into(room, 0, socket.MSG_DONTWAIT)
            return self._reader.received(size) if size else None
        except (BlockingIOError, InterruptedError):
            return []
        except (OSError, WireError, MemoryError):
            return None

    def receive_first(self) -> list[Message]:
        """Wait for the first message or messages. Raises `WireError` if there are none."""
        while True:
            with self._reader.room() as room:
                size = self._socket.recv_into(room)
            if not size:
                break
            if messages := self._reader.received(size):
                return messages
        raise WireError("the frontend closed the call channel")

    def _read_nonce(self) -> bytes:
        nonce = b""
        while len(nonce) < NONCE:
            part = self._socket.recv(NONCE - len(nonce))
            if not part:
                raise WireError(f"{self.door} closed the connection")
            nonce += part
        return nonce

    def _write(self, message: Message) -> None:
        frame = self._writer.encode(message)
        try:
            self._socket.sendall(frame)
        except OSError:
            # There is nobody left to work for; the control lane sees it too.
            leave(self.door)
