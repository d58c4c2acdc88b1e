"""Objects that the template keeps for the next frontend, when the server has `--keep`.

They are descriptors by name, which the frontend hands over while it lives: listening sockets, the lock of the
runtime directory, and of each kernel the socket by which it receives its connections. The next frontend
connects to the template's socket, which only its owner can reach.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator

from owt.wire.template import LOCK, Held

VISIT_TIMEOUT = 5.0
"""Seconds that a client of the template's socket has for its first request."""

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group of a peer (unix(7), SO_PEERCRED)."""


class Kept:
    """Descriptors and exit codes for the next frontend, and the time for which they are kept."""

    def __init__(self, seconds: float, path: str, lock: int | None) -> None:
        """Listen at `path`. `lock` is the descriptor of the locked runtime directory."""
        self.seconds = seconds
        self.since: float | None = None
        self._path = path
        self._deadline: float | None = None
        self._descriptors: dict[str, tuple[int, ...]] = {}
        self._pids: dict[str, int] = {}
        self._codes: dict[int, int] = {}
        if lock is not None:
            os.set_inheritable(lock, False)
            self._descriptors[LOCK] = (lock,)
        self._listener = _listen(path)

    @property
    def lock(self) -> int | None:
        """Return the descriptor of the locked runtime directory."""
        return self._descriptors.get(LOCK, (None,))[0]

    def fileno(self) -> int:
        """Return the listening socket's descriptor."""
        return self._listener.fileno()

    def hold(self, name: str, descriptors: tuple[int, ...], pid: int) -> None:
        """Keep descriptors under a name, in place of earlier ones."""
        self._close(name)
        self._descriptors[name], self._pids[name] = descriptors, pid

    def release(self, name: str) -> None:
        """Close what is kept under a name, and forget how its process ended."""
        self._close(name)
        self._codes.pop(self._pids.pop(name, 0), None)

    def exited(self, pid: int, code: int) -> None:
        """Record how a kernel has ended, until it is released."""
        if pid in self._pids.values():
            self._codes[pid] = code

    def held(self, children: set[int]) -> Iterator[tuple[Held, tuple[int, ...]]]:
        """Yield all that is kept. `children` are the live kernels whose parent is this process."""
        for name, descriptors in self._descriptors.items():
            pid = self._pids.get(name, 0)
            yield Held(name, len(descriptors), pid, pid in children or pid in self._codes), descriptors

    def codes(self) -> list[tuple[int, int]]:
        """Return the processes that have ended and how."""
        return list(self._codes.items())

    # The time between two frontends.

    def frontend_lost(self) -> None:
        """Begin to wait for the next frontend, unless that has begun."""
        if self._deadline is None:
            self.since = time.time()
            self._deadline = time.monotonic() + self.seconds

    def adopted(self, seconds: float) -> None:
        """Wait no longer: there is a frontend, which is to be outlived by this time."""
        self.seconds = seconds
        self.since = self._deadline = None

    def remaining(self) -> float | None:
        """Return the seconds for which to wait, or None while there is a frontend."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def accept(self) -> socket.socket | None:
        """Return the connection of a client that has the same user, or None."""
        try:
            client, _ = self._listener.accept()
        except OSError:
            return None
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] != os.geteuid():
            client.close()
            return None
        return client

    def close(self) -> None:
        """Close everything."""
        self._listener.close()
        for name in list(self._descriptors):
            self._close(name)

    def remove(self) -> None:
        """Remove the socket's file."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _close(self, name: str) -> None:
        for descriptor in self._descriptors.pop(name, ()):
            os.close(descriptor)


def _listen(path: str) -> socket.socket:
    with contextlib.suppress(OSError):
        # Of a template that was killed.
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen()
    listener.setblocking(False)
    return listener
