"""The limit of a kernel's memory (`--kernel-memory`), and what is done when it is reached.

The limit is the system's own: RLIMIT_DATA of setrlimit(2), which Linux counts private writable
memory against since 4.7. What asks for more gets MemoryError, and the kernel lives on.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import sys
import traceback
from pathlib import Path

RESERVE = 4 * 1024 * 1024
"""Bytes that are kept so that a call can still be told that memory ran out, and the next call can
free what this one has left in the session."""


class Memory:
    """What this kernel may allocate. Without a limit nothing here does anything."""

    def __init__(self) -> None:
        self._limit: int | None = None
        self._reserve: mmap.mmap | None = None

    def limit(self, size: int | None) -> None:
        """Allow `size` more bytes than the process has by now; None is no limit.

        Does nothing where the system does not count so (the frontend has warned of it).
        """
        if size is None or sys.platform != "linux":
            return
        import resource

        self._limit = size
        # What the interpreter, its threads' stacks and preloaded modules take is not the adaptors'.
        self.keep_reserve()
        most = _used() + size
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def relieve(self, error: BaseException) -> None:
        """An adaptor has raised this. If memory ran out, let go of what its frames hold, and note
        the limit in its traceback."""
        if self._limit is None:
            return
        each: BaseException | None = error
        seen: set[int] = set()
        while each is not None and id(each) not in seen:
            seen.add(id(each))
            if _is_lack(each):
                if self._reserve is not None:
                    self._reserve.close()
                    self._reserve = None
                traceback.clear_frames(each.__traceback__)
                each.add_note(f"a kernel may allocate {self._limit / 2**20:g} MiB here (--kernel-memory)")
            each = each.__cause__ or each.__context__

    def keep_reserve(self) -> None:
        """Have the reserve again, if it was used and there is memory for it."""
        if self._limit is not None and self._reserve is None:
            with contextlib.suppress(OSError, MemoryError):
                self._reserve = mmap.mmap(-1, RESERVE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _is_lack(error: BaseException) -> bool:
    """Whether this says that there was no memory: also for a thread's stack, or for a child."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and str(error) == "can't start new thread")
    )


def _used() -> int:
    """Bytes that count already: `VmData` of proc(5)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
