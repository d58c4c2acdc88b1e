"""Memory for output that a kernel has not sent yet, which outlives the kernel.

The frontend makes a file without a name, and the kernel maps it. When the kernel has died, however that was,
the frontend reads what had been written and not yet sent. The file is divided into regions:

    reading   one for stdout and one for stderr: what was read from the pipe behind the descriptor
    waiting   text of runs that is collected for a moment, so that many prints are one message

A region notes the number of the message in which its text is sent, just before it is sent. So the frontend
knows by the number of messages that it has received whether the text has arrived.

The file ends with the number of the newest message on the connection for calls that the kernel's main thread
has begun to handle: a kernel in which no thread runs cannot say which calls it has begun.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

StreamName = Literal["stdout", "stderr"]
NAMES: tuple[StreamName, ...] = ("stdout", "stderr")

REGION = 64 * 1024
"""Size of a region in bytes."""
WAITING = 16
"""Number of runs whose text may wait at the same time; text of more is sent without delay."""
POSITION = (len(NAMES) + WAITING) * REGION
"""Position of the number of the newest message that is handled."""
SIZE = POSITION + 8

# Number of the message, size of the text, index of the stream's name, id of the run.
_HEADER = struct.Struct("<QIB64s")
_NUMBER = struct.Struct("<Q")
_TEXT_SIZE = struct.Struct("<I")
_TEXT = 80
"""Position of the text in a region."""


class Region:
    """One region, as the kernel uses it."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._text = memory[_TEXT:]
        self._size = 0

    def begin(self, run: str, name: StreamName) -> None:
        """Prepare the empty region for text of this run and stream."""
        _HEADER.pack_into(self._memory, 0, 0, 0, NAMES.index(name), run.encode())

    def append(self, text: bytes) -> bool:
        """Add text. Returns False if there is no room for it."""
        size = self._size + len(text)
        if size > len(self._text):
            return False
        self._text[self._size : size] = text
        _TEXT_SIZE.pack_into(self._memory, _NUMBER.size, size)
        self._size = size
        return True

    def read(self, descriptor: int) -> bytes:
        """Read from a pipe into the empty region, and return what was read.

        The bytes are in the pipe or in the region at any time: the system call moves them. Raises what
        `os.readv` does.
        """
        self._size = os.readv(descriptor, [self._text])
        return bytes(self._text[: self._size])

    def mark(self, number: int) -> None:
        """Note that the text is sent with this message of the kernel."""
        _NUMBER.pack_into(self._memory, 0, number)

    def clear(self) -> None:
        """Remove the text."""
        self._text[: self._size] = bytes(self._size)
        _TEXT_SIZE.pack_into(self._memory, _NUMBER.size, 0)
        self.mark(0)
        self._size = 0


class UnsentOutput:
    """The regions in the memory of a kernel."""

    def __init__(self, memory: memoryview) -> None:
        """`memory` has `SIZE` bytes, all of them zero."""
        parts = [memory[start : start + REGION] for start in range(0, POSITION, REGION)]
        self._handled = 0
        self._handled_memory = memory[POSITION:]
        self.reading = {name: Region(parts.pop(0)) for name in NAMES}
        for name, region in self.reading.items():
            region.begin("", name)
        self._free = [Region(part) for part in reversed(parts)]

    def note_handled(self, number: int) -> None:
        """Note that the handling of this message for calls begins. Messages are numbered from 1."""
        self._handled = max(number, self._handled)
        _NUMBER.pack_into(self._handled_memory, 0, self._handled)

    def acquire(self) -> Region | None:
        """Return a region for the waiting text of a run; None if all are in use. Thread-safe."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def release(self, region: Region) -> None:
        """Take back an empty region. Thread-safe."""
        self._free.append(region)


@dataclass(frozen=True)
class Unsent:
    """Output of a kernel that had not been sent. `run` is empty if it is not known whose it was."""

    run: str
    name: StreamName
    text: bytes


def newest_handled(memory: bytes) -> int:
    """Return the number of the newest message that is handled. `memory` begins at `POSITION`."""
    return int(_NUMBER.unpack_from(memory)[0])


def find_unsent(memory: bytes, received: int) -> Iterator[Unsent]:
    """Yield the output that had not arrived with the first `received` messages: that of runs first.

    The kernel may have written anything to the memory.
    """
    for start in (*range(len(NAMES) * REGION, POSITION, REGION), *range(0, len(NAMES) * REGION, REGION)):
        region = memory[start : start + REGION]
        if len(region) < REGION:
            continue
        number, size, name, run = _HEADER.unpack_from(region)
        # A pipe's text has no size: it ends with its last byte.
        text = region[_TEXT : _TEXT + size] if size else region[_TEXT:].rstrip(b"\0")
        if text and not 0 < number <= received:
            yield Unsent(run.rstrip(b"\0").decode("ascii", "replace"), NAMES[name % len(NAMES)], text)
