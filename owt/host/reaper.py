"""Ending everything that belonged to a server which is gone.

Each process that a server starts, and each that those start, carries the server's mark in its
environment, which survives `setsid` and double forks; process groups and parents do not. A process
without the mark (started with an environment of its own) belongs to the server all the same when it
descends from one that has it.

Whoever is left does it: the template as a rule; when that is gone as well, a kernel, which turns
into a sweeper by running this file. It imports nothing of owt, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

MARK = "OWT_SERVER_ID"

SWEEP_TIME = 5.0
"""Seconds for which a sweep looks for what is still there."""
KNOCK_TIME = 5.0


def marked(mark: str) -> Iterator[int]:
    """The ids of other processes of this user whose environment has `OWT_SERVER_ID=mark`."""
    wanted = f"{MARK}={mark}".encode()
    me = os.getpid()
    if sys.platform == "linux":
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != me:
                with contextlib.suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        yield int(entry.name)
        return
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != me and process.environ().get(MARK) == mark:
                yield process.pid


def belonging(mark: str) -> set[int]:
    """The ids of other live processes that have the mark, or descend from one that has it or from
    this process."""
    found = {*marked(mark), os.getpid()}
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    pending = list(found)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in found:
                found.add(child)
                pending.append(child)
    return found - {os.getpid()}


def sweep(mark: str, timeout: float = SWEEP_TIME) -> int:
    """Kill all that belongs to the server with this mark, until nothing is found or `timeout`
    seconds are over. Gives the number of processes.

    Looks several times, because a process may start another while the list is read.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + timeout
    while (found := belonging(mark)) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(OSError):
                # The leader of a group takes along what has left no other trace.
                if os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)
        killed |= found
        time.sleep(0.01)
    return len(killed)


def clear(mark: str, runtime_dir: str) -> None:
    """Sweep, then remove the server's runtime directory. One process at a time does this, or two
    could kill each other with the work half done; the directory itself is the lock."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            lock = os.open(runtime_dir, os.O_RDONLY | os.O_CLOEXEC)
            held.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if mark:
            sweep(mark)
        shutil.rmtree(runtime_dir, ignore_errors=True)


def leave(door: str) -> NoReturn:
    """End this kernel, whose connection to the frontend's `door` has ended, and what it started.

    When nobody listens at the door any more the server is gone, and this process may be the last
    that could clean up after it: it becomes a sweeper, without a trace of user code in it.
    """
    mark = os.environ.get(MARK)
    if mark and not _somebody_at(door):
        with contextlib.suppress(OSError):
            os.execv(sys.executable, [sys.executable, "-I", __file__, mark, os.path.dirname(door)])
    _end_group()


def _somebody_at(door: str) -> bool:
    """Whether the frontend lives: it greets whoever connects. One that is just dying may still have
    its door open, but greets nobody."""
    with socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(KNOCK_TIME)
        try:
            knock.connect(door)
            return bool(knock.recv(1))
        except (ConnectionError, FileNotFoundError):
            return False
        except OSError:
            # Too busy to answer is not gone.
            return True


def _end_group() -> NoReturn:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _parents() -> Iterator[tuple[int, int]]:
    """The id of each live process, and its parent's."""
    if sys.platform == "linux":
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    # proc(5): the name, in parentheses, may itself hold spaces and parentheses.
                    state, parent = (entry / "stat").read_bytes().rpartition(b") ")[2].split()[:2]
                    if state != b"Z":
                        yield int(entry.name), int(parent)
        return
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid, process.ppid()


if __name__ == "__main__":
    # Without a directory somebody has swept before, or it was removed by hand and the server lives.
    if os.path.isdir(sys.argv[2]):
        clear(sys.argv[1], sys.argv[2])
    _end_group()
