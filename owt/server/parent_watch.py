"""End of a server together with the process that started it: the hidden option `--watch-parent`.

The parent keeps the write end of the server's standard input open. When that end closes, or the parent
ends for any reason, the server gets SIGTERM.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress


def watch_parent(pipe: int | None = None) -> int:
    """Send SIGTERM to this process when its parent ends or closes the pipe to its standard input.

    Standard input is empty afterwards, also for processes that are started later. Returns the descriptor of
    the pipe, for the program that this process may execute later, which calls this function with it.
    """
    if pipe is None:
        pipe = os.dup(0)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
    watched = [pipe]
    if hasattr(os, "pidfd_open"):
        # A process that the parent forked may hold the pipe open after the parent's end. If the parent has
        # ended by now, the pipe alone is watched.
        with suppress(OSError):
            watched.append(os.pidfd_open(os.getppid()))
    threading.Thread(target=_watch, args=(watched,), name="parent-watch", daemon=True).start()
    return pipe


def _watch(watched: list[int]) -> None:
    select.select(watched, [], [])
    os.kill(os.getpid(), signal.SIGTERM)
