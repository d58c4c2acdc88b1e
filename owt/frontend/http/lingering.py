"""Connections that the server has ended, until their clients have noticed.

Who closes a socket while bytes lie in it unread, or still come, has the system answer with a reset, which
takes from the client what it has not read yet: the answer that says why. So the server says first that it
sends no more, throws away what comes, and closes when the client has (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

LONGEST = 2.0
"""Seconds that a client has to notice."""
SHORTEST = 0.25
"""Seconds that it has even if others need its place."""
MOST_BYTES = 64 * 1024 * 1024
"""What is thrown away of one connection."""
PIECE = 256 * 1024


@dataclass
class _End:
    since: float
    timer: asyncio.TimerHandle
    bytes: int = 0


class Lingering:
    """The sockets that linger, oldest first. They are not counted as connections any more."""

    def __init__(self, most: Callable[[], int], on_closed: Callable[[], None]) -> None:
        """At most `most()` sockets; `on_closed` hears that one has been closed."""
        self._most = most
        self._on_closed = on_closed
        self._ends: dict[socket.socket, _End] = {}
        self._waste = bytearray(PIECE)

    def __len__(self) -> int:
        return len(self._ends)

    def room(self) -> bool:
        """Whether another may come without taking the place of one that needs it; makes room if it can."""
        if len(self._ends) < self._most():
            return True
        oldest, end = next(iter(self._ends.items()))
        if asyncio.get_running_loop().time() - end.since < SHORTEST:
            return False
        self._close(oldest)
        return True

    def take(self, sock: socket.socket) -> None:
        """End this connection: `sock` is closed when its client has closed it, or has had time enough.

        Nobody else may use it from now on. With TLS, what is thrown away is not deciphered.
        """
        loop = asyncio.get_running_loop()
        timer = loop.call_later(LONGEST, self._close, sock)
        self._ends[sock] = _End(loop.time(), timer)
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(sock)
            return
        if len(self._ends) > self._most():
            self._close(next(iter(self._ends)))
        if sock in self._ends and self._discard(sock):
            loop.add_reader(sock, self._discard, sock)

    def close(self) -> None:
        """Close them all now."""
        for sock in list(self._ends):
            self._close(sock)

    def _discard(self, sock: socket.socket) -> bool:
        """Throw away what is there. False: that was the end of it."""
        end = self._ends[sock]
        try:
            count = sock.recv_into(self._waste)
        except BlockingIOError:
            return True
        except OSError:
            count = 0
        end.bytes += count
        if count == 0 or end.bytes > MOST_BYTES:
            self._close(sock)
            return False
        return True

    def _close(self, sock: socket.socket) -> None:
        end = self._ends.pop(sock)
        end.timer.cancel()
        asyncio.get_running_loop().remove_reader(sock)
        with contextlib.suppress(OSError):
            sock.close()
        self._on_closed()
