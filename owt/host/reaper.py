"""The end of all processes of a server that is gone.

Each process that a server starts, and each that those start, has the server's mark in its environment, which
survives `setsid` and double forks; process groups and parents do not. A process without the mark (started
with an environment of its own) belongs to the server if it descends from a process with it.

The template does this when the frontend is gone, with `--keep` if no other one comes in time. When the
template is gone too, a kernel does: its process executes this file, which imports nothing of owt, so that it
starts at once. The frontend, and with `--keep` the template, holds a lock on the runtime directory, which
tells a kernel whose connection ended for another reason that the server is alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator

import psutil

MARK = "OWT_SERVER_ID"

RECORDS = ("sessions", "server-id", "frontend.json")
"""Folder and files of a runtime directory by which the next server tells why its sessions have ended."""

KILL_TIMEOUT = 5.0
"""Seconds for which processes are looked for and killed."""
TRACKER_TIMEOUT = 1.0
"""Seconds that resource trackers have to end, after the processes that use them, before they are killed."""
LOCK_TIMEOUT = 5.0
"""Seconds that the end of a frontend may take from the end of its first connection to that of its lock."""


def marked(mark: str, variable: str = MARK) -> Iterator[int]:
    """Yield the ids of this user's other processes that have `variable=mark` in their environment."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(variable) == mark:
                yield process.pid


def members(mark: str | None, variable: str = MARK) -> set[int]:
    """Return the ids of other live processes that have the mark or descend from one with it or this one.

    Without a mark, only those that descend from this one.
    """
    children: dict[int, list[int]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                children.setdefault(process.ppid(), []).append(process.pid)
    pids = {*(() if mark is None else marked(mark, variable)), os.getpid()}
    pending = list(pids)
    while pending:
        new = set(children.get(pending.pop(), ())) - pids
        pids |= new
        pending += new
    return pids - {os.getpid()}


def kill_members(mark: str | None, timeout: float = KILL_TIMEOUT, variable: str = MARK) -> int:
    """Kill all that belongs to the server, or kernel, with this mark; return the number of processes.

    Without a mark, kill what this process has started.

    Looks again until nothing is left or `timeout` seconds have passed, because a process may start another
    while the list is read.
    """
    killed: set[int] = set()
    groups: set[int] = set()
    start = time.monotonic()
    while (pids := members(mark, variable)) and time.monotonic() < start + timeout:
        if time.monotonic() < start + TRACKER_TIMEOUT:
            pids = {pid for pid in pids if not _is_resource_tracker(pid)}
        for pid in pids:
            with contextlib.suppress(OSError):
                if os.getpgid(pid) == pid:
                    groups.add(pid)
                os.kill(pid, signal.SIGKILL)
        killed |= pids
        time.sleep(0.01)
    for group in groups:
        # Some of its processes cannot be found otherwise.
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    return len(killed)


def _is_resource_tracker(pid: int) -> bool:
    """Return True for a resource tracker of multiprocessing or loky, which removes shared memory when the
    processes that use it have ended."""
    try:
        return any("resource_tracker" in part for part in psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return False


def clean_up(
    mark: str,
    runtime_dir: str,
    timeout: float | None = None,
    *,
    lock: int | None = None,
    keep_records: bool = False,
) -> None:
    """Kill what belongs to the server and remove its runtime directory.

    Does nothing if the directory stays locked for `timeout` seconds. `lock` is the descriptor of the
    directory if this process has locked it already. With `keep_records`, the records of sessions and the
    server's mark stay, if there are records.

    The server holds the lock while it lives, and later one process at a time that cleans up, because two
    could kill each other with the work half done. If the directory is gone, there is no lock.
    """
    has_lock = lock is not None
    if lock is None:
        with contextlib.suppress(OSError):
            lock = os.open(runtime_dir, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if lock is None or has_lock or _acquire(lock, timeout):
            if mark:
                kill_members(mark)
            # The directory may have been removed by hand, and made again by another server.
            if lock is None or _is_at(lock, runtime_dir):
                _remove(runtime_dir, keep_records and os.path.isdir(os.path.join(runtime_dir, RECORDS[0])))
    finally:
        if lock is not None:
            os.close(lock)


def _remove(runtime_dir: str, keep_records: bool) -> None:
    if not keep_records:
        shutil.rmtree(runtime_dir, ignore_errors=True)
        return
    for entry in os.scandir(runtime_dir):
        if entry.name not in RECORDS:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_at(directory: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(directory), os.stat(path))
    except OSError:
        return False


def _acquire(lock: int, timeout: float | None) -> bool:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if deadline is None else fcntl.LOCK_NB))
            return True
        except BlockingIOError:
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(0.01)


def main(mark: str, runtime_dir: str, scope: str = "") -> None:
    """Clean up after the server, if it is gone, then end this process and its group.

    Records of sessions stay for the next server, unless the scope is "all".
    """
    # Without the directory, another process has cleaned up, or it was removed by hand and the server lives.
    if os.path.isdir(runtime_dir):
        clean_up(mark, runtime_dir, LOCK_TIMEOUT, keep_records=scope != "all")
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
