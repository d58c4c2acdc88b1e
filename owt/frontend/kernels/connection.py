"""The door that kernels knock at, and the frontend's end of each kernel's two lanes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Protocol

from owt.errors import WireError
from owt.wire.handshake import NONCE, Lane, Signer, read_preface
from owt.wire.messages import (
    Cell,
    FrameReader,
    FrameWriter,
    Hello,
    Message,
    Output,
    Queued,
    RegisterEndpoints,
    Welcome,
)

log = logging.getLogger("owt.channel")

PREFACE_LIMIT = 200


class Guest(Protocol):
    """A kernel that is expected at the door, or is inside."""

    key: bytes

    def welcome(self) -> Welcome:
        """What to tell it first."""

    def connected(self, lane: Lane, connection: LaneProtocol) -> None:
        """A lane of it is open, and its hello was right."""

    def output(self, message: Output | Queued | Cell) -> None:
        """It sends chunks of a run, or what a run waits for."""

    def offered(self, message: RegisterEndpoints) -> None:
        """It says which paths its session answers at, or asks whether it may."""

    def disconnected(self, lane: Lane) -> None:
        """A lane of it has ended."""


class LaneProtocol(asyncio.BufferedProtocol):
    """One connection at the door. Until its hello has been checked it can do nothing.

    What comes is written by the system where it is taken apart, rather than copied there.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._nonce = os.urandom(NONCE)
        self._preface = bytearray(PREFACE_LIMIT)
        self._preface_size = 0
        self._guest: Guest | None = None
        self._lane: Lane = "calls"
        self._greeted = False
        self._transport: asyncio.Transport | None = None
        self._reader: FrameReader | None = None
        self._writer: FrameWriter | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._nonce)

    def get_buffer(self, sizehint: int) -> bytearray | memoryview:
        """Where the next bytes belong."""
        if self._reader is None:
            return memoryview(self._preface)[self._preface_size :]
        return self._reader.room()

    def buffer_updated(self, nbytes: int) -> None:
        """So many have come."""
        try:
            if self._reader is not None:
                messages = self._reader.received(nbytes)
            else:
                messages = self._take_preface(nbytes)
            for message in messages:
                self._handle(message)
        except WireError as error:
            log.error("the call channel is closed: %s", error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._guest is not None and self._greeted:
            self._guest.disconnected(self._lane)

    def send(self, message: Message) -> None:
        """Send a message to the kernel. What it cannot take yet is buffered; callers bound that."""
        if self._writer is not None and self._transport is not None:
            self._transport.write(self._writer.encode(message))

    def close(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _take_preface(self, size: int) -> list[Message]:
        self._preface_size += size
        line, newline, rest = bytes(self._preface[: self._preface_size]).partition(b"\n")
        if not newline:
            if self._preface_size >= PREFACE_LIMIT:
                raise WireError(f"a connection to the call channel began with {line[:60]!r}")
            return []
        kernel, self._lane = read_preface(line)
        guest = self._door.expected(kernel)
        if guest is None:
            raise WireError(f"no kernel {kernel[:60]!r} is expected")
        self._guest = guest
        signer = Signer(guest.key, self._nonce, self._lane, frontend=True)
        self._reader = FrameReader(signer.receiving)
        self._writer = FrameWriter(signer.sending)
        return self._reader.feed(rest)

    def _handle(self, message: Message) -> None:
        guest = self._guest
        assert guest is not None
        match message:
            case Output() | Queued() | Cell() if self._greeted:
                guest.output(message)
            case RegisterEndpoints() if self._greeted:
                guest.offered(message)
            case Hello(lane=lane) if not self._greeted and lane == self._lane:
                self._greeted = True
                self.send(guest.welcome())
                guest.connected(lane, self)
            case _:
                raise WireError(f"{type(message).__name__} out of place")


class Door:
    """The Unix socket in the runtime directory to which kernels connect."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._expected: dict[str, Guest] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. The folder that the path is in must be its owner's alone."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: LaneProtocol(self), self.path, backlog=1024)

    def close(self) -> None:
        """Listen no more; open lanes stay."""
        if self._server is not None:
            self._server.close()

    def expect(self, kernel: str, guest: Guest) -> Callable[[], None]:
        """Let the kernel with this id in. Gives a function that ends the expectation."""
        self._expected[kernel] = guest

        def forget() -> None:
            self._expected.pop(kernel, None)

        return forget

    def expected(self, kernel: str) -> Guest | None:
        """Who is expected under this id."""
        return self._expected.get(kernel)
