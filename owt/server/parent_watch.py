"""`owt serve` for as long as the process lives that started it: `python -m owt.server.parent_watch OPTIONS`.

Whoever starts this keeps the other end of its standard input open. When that end closes, or the process
is gone, however it ended, the server ends as on SIGTERM.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextlib import suppress


def tie() -> None:
    """From now on end this process when its parent ends, or lets go of this process's standard input.

    Standard input is empty afterwards, also for processes that are started later.
    """
    watched = [os.dup(0)]
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if hasattr(os, "pidfd_open"):
        # A process that the parent has forked may hold the pipe open after the parent's end. Without a
        # parent any more, the pipe is what tells.
        with suppress(OSError):
            watched.append(os.pidfd_open(os.getppid()))
    threading.Thread(target=_watch, args=(watched,), name="tied", daemon=True).start()


def _watch(watched: list[int]) -> None:
    select.select(watched, [], [])
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from owt.cli.main import main

    tie()
    sys.exit(main(["serve", *sys.argv[1:]]))
