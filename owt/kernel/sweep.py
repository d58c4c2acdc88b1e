"""Ending everything that belonged to a server which is gone.

Each process that a server starts, and each that those start, carries the server's mark in its
environment, which survives `setsid` and double forks; process groups and parents do not.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "OWT_SERVER_ID"


def marked(mark: str) -> Iterator[int]:
    """The ids of other processes of this user whose environment has `OWT_SERVER_ID=mark`."""
    wanted = f"{MARK}={mark}".encode()
    me = os.getpid()
    if sys.platform == "linux":
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != me:
                try:
                    environ = (entry / "environ").read_bytes()
                except OSError:
                    continue
                if wanted in environ.split(b"\0"):
                    yield int(entry.name)
        return
    import psutil

    for process in psutil.process_iter():
        try:
            if process.pid != me and process.environ().get(MARK) == mark:
                yield process.pid
        except (psutil.Error, OSError):
            continue


def sweep(mark: str, rounds: int = 20) -> int:
    """Kill every process with this mark, until none is found. Gives the number of kills.

    Several rounds, because a process may start another while the list is read.
    """
    kills = 0
    for _ in range(rounds):
        found = list(marked(mark))
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            except OSError:
                continue
        time.sleep(0.01)
    return kills
