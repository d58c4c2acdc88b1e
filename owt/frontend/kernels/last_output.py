"""The last output of a kernel: what it had written when it died, and had not sent.

The frontend holds the memory in which a kernel keeps unsent output (`owt.wire.unsent`), and the ends for
reading of the pipes behind the kernel's stdout and stderr. Native code and child processes write there, as
does `faulthandler`, which reports a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import tempfile
import time
from typing import NamedTuple

from owt.wire.chunk import Stderr, Stdout
from owt.wire.messages import Output
from owt.wire.unsent import NAMES, POSITION, SIZE, StreamName, find_unsent, newest_handled

MAX_READ = 1024 * 1024
"""Maximum number of bytes that are read from one pipe, which a child process may still write to."""


_USAGE = struct.Struct("<Qd")
_EDITION = struct.Struct("16s")
"""Notes for the next frontend, behind what the kernel uses of the memory."""


class Notes(NamedTuple):
    """Notes of an earlier frontend about a kernel: the number of calls that the kernel got, the time of the
    last one (0: none), and the edition of the pool (see `Kernels.edition`) that it was started for; zeros
    if it is a session's."""

    calls: int
    last_call: float
    edition: bytes

    @classmethod
    def read(cls, memory: int) -> Notes:
        """Return the notes in this memory."""
        data = os.pread(memory, _USAGE.size + _EDITION.size, SIZE)
        data = data.ljust(_USAGE.size + _EDITION.size, b"\0")
        return cls(*_USAGE.unpack_from(data), *_EDITION.unpack_from(data, _USAGE.size))


class LastOutput:
    """The frontend's end of one kernel's output. Close it at the end."""

    def __init__(self, channel: socket.socket | None = None, memory: int = -1) -> None:
        """Make the handover socket and the memory, or go on with those of an earlier frontend."""
        self._pipes: dict[int, int] = {}
        self._newest_handled = 0
        self._calls: int | None = None
        self._kernel_side: socket.socket | None = None
        self._memory = memory
        if channel is None:
            channel, self._kernel_side = socket.socketpair()
            try:
                self._memory = _memory()
            except OSError:
                channel.close()
                self._kernel_side.close()
                raise
        self._channel = channel
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._receive_pipes)

    def hand_over(self, *connections: socket.socket) -> socket.socket:
        """Return the socket from which the new kernel receives the connections and the memory."""
        self._send(*(connection.fileno() for connection in connections), self._memory)
        assert self._kernel_side is not None
        return self._kernel_side

    def hand_over_again(self, *connections: socket.socket) -> None:
        """Send the kernel of an earlier frontend these connections."""
        # A kernel that has died cannot receive them.
        with contextlib.suppress(OSError):
            self._send(*(connection.fileno() for connection in connections))

    def _send(self, *descriptors: int) -> None:
        socket.send_fds(self._channel, [b"\0"], descriptors)

    @property
    def descriptors(self) -> tuple[int, int]:
        """Return what the next frontend needs: the handover socket and the memory."""
        return self._channel.fileno(), self._memory

    def note_call(self) -> None:
        """Note for the next frontend that the kernel gets a call now."""
        if self._calls is None:
            self._calls = self.usage()[0]
        self._calls += 1
        os.pwrite(self._memory, _USAGE.pack(self._calls, time.time()), SIZE)

    def note_edition(self, edition: bytes) -> None:
        """Note for the next frontend that the kernel is one of the pool, started for this edition of it;
        empty if it is a session's."""
        if self._memory >= 0:
            os.pwrite(self._memory, _EDITION.pack(edition), SIZE + _USAGE.size)

    def usage(self) -> tuple[int, float]:
        """Return the number of calls that were noted, and the time of the last one (0: none)."""
        return (0, 0.0) if self._memory < 0 else Notes.read(self._memory)[:2]

    def read(self, received: int) -> tuple[list[Output], list[Stdout | Stderr]]:
        """Return the output of a dead kernel that had sent `received` messages: that of known runs, and the
        rest in order."""
        self._receive_pipes()
        outputs: list[Output] = []
        rest: dict[StreamName, bytes] = {name: b"" for name in NAMES}
        with contextlib.suppress(OSError):
            for unsent in find_unsent(os.pread(self._memory, SIZE, 0), received):
                if unsent.run:
                    outputs.append(Output(unsent.run, (_chunk(unsent.name, unsent.text),)))
                else:
                    rest[unsent.name] = unsent.text
        for name, number in zip(NAMES, (1, 2), strict=True):
            if number in self._pipes:
                rest[name] += _read(self._pipes[number])
        return outputs, [_chunk(name, text) for name, text in rest.items() if text]

    def newest_handled(self) -> int:
        """Return the number of the newest message for calls that the kernel's main thread has begun to handle
        by now, or before its end."""
        if self._memory >= 0:
            self._newest_handled = newest_handled(os.pread(self._memory, SIZE - POSITION, POSITION))
        return self._newest_handled

    def close(self) -> None:
        """Close all descriptors."""
        self.newest_handled()
        self._close_channel()
        if self._kernel_side is not None:
            self._kernel_side.close()
        for descriptor in (*self._pipes.values(), self._memory):
            os.close(descriptor)
        self._pipes.clear()
        self._memory = -1

    def _receive_pipes(self) -> None:
        """Receive the ends of pipes that the kernel uses from now on."""
        while self._channel.fileno() >= 0:
            try:
                number, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                number, descriptors = b"", []
            for descriptor in descriptors:
                if (earlier := self._pipes.get(number[0])) is not None:
                    os.close(earlier)
                self._pipes[number[0]] = descriptor
            if not number:
                self._close_channel()

    def _close_channel(self) -> None:
        if self._channel.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()


def _memory() -> int:
    """Return the descriptor of a new file in memory where the system has them, without a name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("owt-unsent")
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    try:
        os.ftruncate(descriptor, SIZE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(pipe: int) -> bytes:
    """Return what is in a pipe, which is read without waiting."""
    parts: list[bytes] = []
    size = 0
    # The kernel has set the pipe to non-blocking, and the file is the same one.
    with contextlib.suppress(OSError):
        os.set_blocking(pipe, False)
        while size < MAX_READ and (part := os.read(pipe, 1 << 16)):
            parts.append(part)
            size += len(part)
    return b"".join(parts)


def _chunk(name: StreamName, text: bytes) -> Stdout | Stderr:
    kind = Stdout if name == "stdout" else Stderr
    return kind(text.decode("utf-8", "replace"))
