"""File descriptors: the process's limit, how connections and kernels share it, and a reserve.

A connection needs one descriptor, and a kernel seven. If `ulimit -n` permits fewer than
the other limits need, connections and kernels share them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys

from owt.errors import Busy

KERNEL = 7
"""Maximum number of descriptors of a kernel."""
OWN = 40
"""Descriptors of the server itself, including the reserve."""
MARGIN = 16
"""Free descriptors beyond those of a kernel that its start requires, since connections need some."""
RESERVE = 8
"""Descriptors that are kept to respond to clients when the process has no other left."""


def ran_out(error: BaseException) -> bool:
    """Return True if `error` reports that the process, or the whole system, has no descriptor left."""
    return getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE)


class Descriptors:
    """File descriptors of this process. `inherited` is the soft limit with which it was started."""

    def __init__(self) -> None:
        self.inherited = self.limit
        self._reserve: list[int] = []

    @property
    def limit(self) -> int:
        """Return the current soft limit of `ulimit -n`."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return sys.maxsize if soft == resource.RLIM_INFINITY else soft

    @property
    def lingering(self) -> int:
        """Return the maximum number of connections that linger after their end."""
        return min(256, max(16, self.limit // 16))

    def connections(self, max_connections: int, max_kernels: int) -> int:
        """Return the maximum number of connected clients: `max_connections`, or fewer if the limit is low.

        Kernels get what `max_kernels` need, but at most half of all descriptors.
        """
        left = self.limit - OWN - self.lingering
        return max(1, min(max_connections, left - min(max_kernels * KERNEL, left // 2)))

    def free(self) -> int:
        """Return the number of unused descriptors. Counting them takes about a millisecond."""
        try:
            used = len(os.listdir("/dev/fd"))
        except OSError as error:
            # Without /dev/fd the number is unknown; a lack shows as an error of the system.
            return 0 if ran_out(error) else self.limit
        return max(0, self.limit - used)

    def require(self, kernels: int) -> None:
        """Raise `Busy` unless there are enough descriptors to start this number of kernels."""
        if self.free() < kernels * KERNEL + MARGIN:
            raise self.exhausted("start a kernel")

    def exhausted(self, purpose: str) -> Busy:
        """Return the error for a client: too few descriptors for `purpose`."""
        return Busy(
            f"the server has run out of file descriptors, so it cannot {purpose}; it may have {self.limit} "
            "(ulimit -n). Try again later, delete sessions that are not needed (owt session delete NAME), or "
            "start the server with a higher ulimit -n",
            retry_after=5,
        )

    def hold(self) -> None:
        """Fill the reserve as far as possible."""
        with contextlib.suppress(OSError):
            while len(self._reserve) < RESERVE:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY))

    def spend(self) -> bool:
        """Close one descriptor of the reserve, so that it is free; return False if there is none."""
        if not self._reserve:
            return False
        os.close(self._reserve.pop())
        return True

    def release(self) -> None:
        """Close the reserve."""
        while self.spend():
            pass

    def raise_limit(self) -> None:
        """Raise the soft limit to the hard limit."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS refuses an unlimited soft limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def restore_limit(self, pid: int) -> None:
        """Set the limit of a child process back to the inherited one.

        User code may use select(2), which supports descriptors up to 1023 only; that is why systems have a
        low soft limit. Only Linux can do this (prlimit(2)); elsewhere kernels have the server's limit.
        """
        if not hasattr(resource, "prlimit"):
            return
        # The process may have ended, or a kernelspec may run it as another user.
        with contextlib.suppress(OSError):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            if soft == self.limit and soft != self.inherited:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.inherited, hard))
