"""Preparation of a process for its forks: its threads, and the free blocks of its memory."""

from __future__ import annotations

import ctypes
import os
import sys
import threading

PYTHON_SIZES = range(512, 16, -16)
"""Sizes of blocks that fill the holes in the memory of Python's allocator: all except the smallest."""

C_SIZES = (*(1 << power for power in range(16, 10, -1)), *range(1032, 16, -16))
"""Sizes of blocks that fill the holes in the memory of the C library's allocator."""

ROW = 8192
PYTHON_ROW = ROW if sys.version_info >= (3, 10) else 3072
"""Bytes in blocks of one size in a row after which no holes of this size are expected. Python 3.9 has its
blocks in pools of 4096 bytes, later versions in larger ones."""

MAX_FILLING = 2 << 20
"""Maximum number of bytes in blocks of one size, for allocators that never put one beside another."""


def fill_holes() -> list[object]:
    """Allocate the free blocks that lie between other blocks, for the rest of this process's life.

    New objects of a fork then lie together in new pages. In the holes, each would take a page of its own away
    from what the fork shares with this process. Returns the blocks that are objects of Python, which must be
    kept.
    """
    filling: list[object] = []
    overhead = sys.getsizeof(b"")

    def new_object(size: int) -> int:
        # Sizes of the smallest blocks are those of numbers.
        filling.append(bytes(size - overhead) if size > overhead else len(filling) + (1 << 32))
        return id(filling[-1])

    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    for allocate, sizes, row in ((new_object, PYTHON_SIZES, PYTHON_ROW), (malloc, C_SIZES, ROW)):
        for size in sizes:
            last = neighbours = 0
            for _ in range(MAX_FILLING // size):
                block = allocate(size) or 0
                neighbours = neighbours + 1 if 0 < block - last <= size + 16 else 0
                last = block
                # Blocks in a row come from memory without holes.
                if neighbours >= max(row // 1024, row // size):
                    break
    return filling


def native_threads() -> int:
    """Return the number of threads of this process, also those that Python does not know."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def lost_threads() -> int:
    """Return the number of threads that this process has at a fork, which the fork does not have.

    Libraries such as OpenBLAS end their threads before a fork, and start them again at their next use.
    """
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return native_threads()
