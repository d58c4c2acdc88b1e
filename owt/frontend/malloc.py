"""How this process gives memory back to the system: later than glibc would."""

from __future__ import annotations

import ctypes
import sys

KEPT = 32 * 1024 * 1024
"""Bytes that may be free without being given back."""

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep() -> None:
    """Keep up to `KEPT` bytes that are free, to be used again, and take blocks up to that size from there.

    Bodies and chunks of megabytes come and go with every call, and to have their pages from the system anew
    each time takes a third of the time that a call with 1 MiB of arguments takes. Does nothing where the
    system's allocator is another one.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_MMAP_THRESHOLD, KEPT)
        mallopt(_TRIM_THRESHOLD, KEPT)
