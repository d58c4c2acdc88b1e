"""Memory limit of a kernel (`--kernel-memory`), and recovery when it is reached.

The limit is RLIMIT_DATA of setrlimit(2), which covers private writable memory since Linux 4.7. An allocation
beyond it raises MemoryError, and the kernel survives.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
import traceback
from pathlib import Path

from owt.errors import add_note

RESERVE = 4 * 1024 * 1024
"""Bytes kept in reserve, so that a call that ran out of memory can still be answered and the next call can
free what this one has left in the session."""

LARGE_BLOCK = 4 * 1024 * 1024
"""Size of a block, in bytes, after which glibc keeps twice as much freed memory: see `keep_freed_memory`."""


def keep_freed_memory() -> None:
    """Have glibc keep up to 8 MiB of what a call has freed for the next one.

    Otherwise it may return arguments of 1 MiB to the system after each call, and each call then has hundreds
    of page faults. What counts is the size of the largest block that was mapped and freed (mallopt(3)).
    """
    bytes(LARGE_BLOCK)  # freed at once, and never written to


class MemoryLimit:
    """Limit of what this kernel may allocate. Inactive until `set` is called with a size."""

    def __init__(self) -> None:
        self._limit: int | None = None
        self._reserve: mmap.mmap | None = None

    def set(self, size: int | None) -> None:
        """Allow `size` more bytes than the process uses now; None sets no limit.

        Does nothing on systems other than Linux; the frontend warns about it.
        """
        if size is None or sys.platform != "linux":
            return
        import resource

        self._limit = size
        # The limit is for adaptors: the interpreter, thread stacks and preloaded modules do not count.
        self.keep_reserve()
        max_size = _data_size() + size
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard != resource.RLIM_INFINITY:
            max_size = min(max_size, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (max_size, max_size))

    def relieve(self, error: BaseException) -> None:
        """Handle an exception of an adaptor: if memory ran out, free what its frames hold and note the limit
        in its traceback."""
        if self._limit is None:
            return
        link: BaseException | None = error
        seen: set[int] = set()
        while link is not None and id(link) not in seen:
            seen.add(id(link))
            if _is_out_of_memory(link):
                if self._reserve is not None:
                    self._reserve.close()
                    self._reserve = None
                traceback.clear_frames(link.__traceback__)
                add_note(link, f"this kernel may allocate {self._limit / 2**20:g} MiB (--kernel-memory)")
            # The truth of an exception is for its class to say.
            link = link.__context__ if link.__cause__ is None else link.__cause__

    def keep_reserve(self) -> None:
        """Allocate the reserve again if it was used and there is memory for it."""
        if self._limit is not None and self._reserve is None:
            with contextlib.suppress(OSError, MemoryError):
                self._reserve = mmap.mmap(-1, RESERVE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def resident_size() -> int:
    """Return the bytes of this process that are in memory; 0 where that is unknown."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def total_memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE


def _is_out_of_memory(error: BaseException) -> bool:
    """Return True if there was no memory for an object, a thread's stack or a child process."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and str(error) == "can't start new thread")
    )


def _data_size() -> int:
    """Return the number of bytes that count towards RLIMIT_DATA: `VmData` of proc(5)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
