"""A client that reads a stream of numbered chunks on request and checks that none is missing."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from connection import Request
from measuring import KIB, MIB

from owt.wire import sse

BYTES = """
def run(size):
    number = 0
    while True:
        yield b"%012d" % number + bytes(size - 12)
        number += 1
"""
TEXT = """
def run(size):
    number = 0
    while True:
        yield f"{number:012d}".ljust(size, "x")
        number += 1
"""


class Missing(ValueError):
    """A received chunk that is not the next one."""


@dataclass(frozen=True)
class Case:
    """A stream of chunks of `size` bytes, raw or as events."""

    name: str
    size: int
    events: bool = False

    def fields(self) -> dict:
        return {
            "session": "memory",
            "code": TEXT if self.events else BYTES,
            "kwargs": {"size": self.size},
            "stream": "sse" if self.events else "raw",
        }

    def numbers(self) -> Callable[[bytes], list[int]]:
        """Return a function that takes pieces of the answer's body and returns their chunks' numbers."""
        if self.events:
            decoder = sse.Decoder()
            return lambda data: [int(event.data[:12]) for event in decoder.feed(data)]
        kept = bytearray()

        def cut(data: bytes) -> list[int]:
            kept.extend(data)
            whole = len(kept) - len(kept) % self.size
            numbers = [int(kept[at : at + 12]) for at in range(0, whole, self.size)]
            del kept[:whole]
            return numbers

        return cut


CASES = (
    Case("1 KiB chunks", KIB),
    Case("1 MiB chunks", MIB),
    Case("1 KiB as events", KIB, events=True),
)


class Reader:
    """A client on a raw socket that reads on request and decodes the chunked transfer."""

    def __init__(self, case: Case, port: int) -> None:
        self.chunks = 0
        self._numbers = case.numbers()
        self._pending = bytearray()
        self._left = 0
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.sendall(Request(port, "/", case.fields()).encode())
        while b"\r\n\r\n" not in self._pending:
            self._pending += self._receive()
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or b"\r\nTransfer-Encoding: chunked" not in head:
            raise ValueError(f"not an answer in chunks: {head!r}")

    def read(self, seconds: float) -> None:
        """Read for some seconds. Raises `Missing`, and ConnectionError when the stream ends."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._pending += self._receive()
            for piece in self._pieces():
                for number in self._numbers(piece):
                    if number != self.chunks:
                        raise Missing(f"expected chunk {self.chunks}, got chunk {number}")
                    self.chunks += 1

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        data = self._socket.recv(256 * KIB)
        if not data:
            raise ConnectionError(f"the answer ended after {self.chunks} chunks")
        return data

    def _pieces(self) -> Iterator[bytes]:
        """Yield the parts of the body in `_pending` (RFC 9112, section 7.1)."""
        data, at = bytes(self._pending), 0
        while at < len(data):
            if self._left == 0:
                end = data.find(b"\r\n", at)
                if end < 0:
                    break
                # The line end after a chunk's data is counted here and removed below.
                self._left = int(data[at:end], 16) + 2
                at = end + 2
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            over = max(0, 2 - self._left)
            yield piece[: max(0, len(piece) - over)]
        del self._pending[:at]
