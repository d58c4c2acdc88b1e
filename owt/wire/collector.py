"""Collector of bytes whose number is announced: a request's body, a frame's attachment."""

from __future__ import annotations

import ctypes
import io
import mmap
from functools import cache
from typing import Any

HEADROOM = 8
"""Maximum size of the block, as a multiple of what has been received when it is allocated."""
HUGE_BLOCK = 32 * 1024 * 1024
"""Minimum size of a block, in bytes, that uses huge pages. glibc maps such a block, and unmaps it when it is
freed, so that each one has only new pages. Page faults of small ones take three times as long as the copy."""
HUGE_HEADROOM = 64
"""`HEADROOM` of such a block, which takes no memory where it has not been written to."""


class Collector:
    """Bytes that arrive in parts and become one object without a copy of the whole.

    Parts are kept until there are enough of them to trust the announced size. Then a block of that size is
    allocated, and written to once. It does not grow: the system would move, and split, its huge pages.
    """

    def __init__(self, announced: int = 0) -> None:
        """`announced` is the number of bytes; 0 if it is not known."""
        self._received = 0
        self._announced = announced
        self._headroom = HUGE_HEADROOM if announced >= HUGE_BLOCK else HEADROOM
        self._parts: list[bytes] = []
        self._block: io.BytesIO | None = None

    def add(self, part: bytes | memoryview) -> None:
        """Append a part."""
        self._received += len(part)
        if self._block is None and (not self._parts or self._headroom * self._received < self._announced):
            # Most bodies arrive as one part.
            self._parts.append(bytes(part))
            return
        if self._block is None:
            self._block = _block(self._announced)
            self._block.writelines(self._parts)
            self._parts.clear()
        self._block.write(part)

    def value(self) -> bytes:
        """Return all bytes that were added."""
        if self._block is None:
            return b"".join(self._parts)
        self._block.truncate(self._received)
        return self._block.getvalue()


def _block(size: int) -> io.BytesIO:
    """Return a stream of `size` zero bytes."""
    block = io.BytesIO(bytes(size))
    if size >= HUGE_BLOCK and (advice := getattr(mmap, "MADV_HUGEPAGE", None)) is not None:
        with block.getbuffer() as view:
            start = ctypes.addressof(ctypes.c_char.from_buffer(view))
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        # A system without huge pages refuses, and small ones do.
        _libc().madvise(ctypes.c_void_p(first), ctypes.c_size_t(start + size - first), advice)
    return block


@cache
def _libc() -> Any:
    return ctypes.CDLL(None)
