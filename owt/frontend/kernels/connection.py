"""The frontend's side of a kernel's connections."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol

from owt.errors import WireError
from owt.wire.messages import Message, Output, encode, message_decoder

log = logging.getLogger("owt.channel")

WRITE_SIZE = 256 * 1024
"""Maximum number of bytes that are given to the transport at once."""

READ_SIZE = 640 * 1024
"""Maximum number of bytes of output that are read at once. A step of the event loop takes as long as to copy
256 KiB."""

SOCKET_BUFFER = 1024 * 1024
"""Number of bytes that one side can write before the other reads them. With the system's default, the two
processes would take turns three times as often."""


class MessageHandler(Protocol):
    """Receiver of what happens on a connection."""

    def received(self, message: Message) -> None:
        """Handle a message. Raises `WireError` for one that has no place here, which ends the connection."""

    def disconnected(self, error: WireError | None) -> None:
        """Handle the end of the connection, before the socket is closed; `error` is why it ends here."""


class KernelConnection(asyncio.BufferedProtocol):
    """One of the two connections of a kernel. `received` is the number of messages that have arrived, `sent`
    the number of messages for the kernel."""

    def __init__(self, handler: MessageHandler) -> None:
        self._handler = handler
        self._decoder = message_decoder(READ_SIZE)
        self._transport: asyncio.Transport | None = None
        self._unsent: deque[memoryview] = deque()
        self._paused = False
        self._error: WireError | None = None
        self.received = 0
        self.sent = 0
        self.ended = asyncio.Event()

    @classmethod
    async def open(cls, handler: MessageHandler) -> tuple[KernelConnection, socket.socket]:
        """Return a new connection, and the socket of the kernel's side."""
        frontend_side, kernel_side = socket.socketpair()
        try:
            for side in (frontend_side, kernel_side):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
            frontend_side.setblocking(False)
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_unix_connection(lambda: cls(handler), sock=frontend_side)
        except BaseException:
            frontend_side.close()
            kernel_side.close()
            raise
        return connection, kernel_side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        # The transport copies what it cannot send at once.
        transport.set_write_buffer_limits(0)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            messages = self._decoder.buffer_updated(nbytes)
            self.received += len(messages)
            for message in joined(messages) if len(messages) > 1 else messages:
                self._handler.received(message)
        except WireError as error:
            log.error("a kernel's connection is closed: %s", error)
            self._error = error
            self.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write_unsent()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.ended.set()
        self._unsent.clear()
        self._handler.disconnected(self._error)

    def send(self, message: Message, *, later: bool = False) -> None:
        """Send a message. What the kernel cannot take yet is buffered; callers limit that.

        With `later`, it is written in the next step of the event loop, together with others, which saves
        system calls and the switches to the kernel's process.
        """
        if self._transport is None:
            return
        self.sent += 1
        buffers = encode(message)
        if later or self._unsent or len(buffers) > 1 or len(buffers[0]) > WRITE_SIZE:
            if later and not self._unsent:
                asyncio.get_running_loop().call_soon(self._write_unsent)
            self._unsent.extend(map(memoryview, buffers))
            if not later:
                self._write_unsent()
        else:
            self._transport.write(buffers[0])

    def close(self) -> None:
        """Close the connection, without waiting for what is not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    def _write_unsent(self) -> None:
        """Write small messages together, and a large one from where its bytes lie, in parts, so that it holds
        up nothing else."""
        while self._unsent and not self._paused and self._transport is not None:
            parts, size = [], 0
            while self._unsent and size + len(self._unsent[0]) <= WRITE_SIZE:
                size += len(self._unsent[0])
                parts.append(self._unsent.popleft())
            if parts:
                self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
            else:
                self._transport.write(self._unsent[0][:WRITE_SIZE])
                self._unsent[0] = self._unsent[0][WRITE_SIZE:]


def joined(messages: Iterable[Message]) -> Iterator[Message]:
    """Yield the messages with successive outputs of one run as one, since each has its own cost."""
    outputs: list[Output] = []
    for message in (*messages, None):
        if outputs and not (isinstance(message, Output) and message.run == outputs[0].run):
            first, *others = outputs
            chunks = (output.chunks for output in outputs)
            yield Output(first.run, tuple(chain.from_iterable(chunks))) if others else first
            outputs = []
        if isinstance(message, Output):
            outputs.append(message)
        elif message is not None:
            yield message
