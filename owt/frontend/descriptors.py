"""File descriptors: how many the server may have, what they are for, and what is said when there are none.

A connection costs one and a kernel costs four, six while it starts. Where `ulimit -n` leaves fewer than
the other limits ask for, connections and kernels share what there is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys

from owt.errors import Busy

KERNEL = 6
"""Descriptors that a kernel costs at most."""
OWN = 40
"""What the server needs for itself, the reserve included."""
MARGIN = 16
"""What must be left, beside what a kernel costs, for one to be started: connections need some, too."""
RESERVE = 8

EXHAUSTED = (errno.EMFILE, errno.ENFILE)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that there are no descriptors left, for this process or the whole system."""
    return getattr(error, "errno", None) in EXHAUSTED


class Descriptors:
    """The file descriptors of this process.

    Some are held in reserve, only to be given up: who has none left cannot even say so to a client.
    """

    def __init__(self) -> None:
        self.inherited = self.limit
        self._reserve: list[int] = []

    @property
    def limit(self) -> int:
        """How many the process may have: the soft limit of `ulimit -n`, as it is now."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return sys.maxsize if soft == resource.RLIM_INFINITY else soft

    @property
    def lingering(self) -> int:
        """How many connections may linger after their end."""
        return min(256, max(16, self.limit // 16))

    def connections(self, most: int, kernels: int) -> int:
        """How many clients may be connected: `most`, or fewer where `kernels` kernels leave less.

        Kernels keep half of what there is, or what they need, if that is less.
        """
        left = self.limit - OWN - self.lingering
        return max(1, min(most, left - min(kernels * KERNEL, left // 2)))

    def free(self) -> int:
        """How many are not in use. It takes a while to count, so ask only when much depends on it."""
        try:
            used = len(os.listdir("/dev/fd"))
        except OSError as error:
            # Without /dev/fd nobody knows, and the system will say so.
            return 0 if ran_out(error) else self.limit
        return max(0, self.limit - used)

    def require(self, kernels: int) -> None:
        """Raises `Busy` unless so many kernels can be started."""
        if self.free() < kernels * KERNEL + MARGIN:
            raise self.exhausted("start a kernel")

    def exhausted(self, purpose: str) -> Busy:
        """What a client is told: there are not descriptors enough to do this."""
        return Busy(
            f"the server has run out of file descriptors, so it cannot {purpose}; it may have {self.limit} "
            "(ulimit -n). Try again later, delete sessions that are not needed (owt session delete NAME), or "
            "start the server with a higher ulimit -n",
            retry_after=5,
        )

    def hold(self) -> None:
        """Fill the reserve, as far as that can be done."""
        with contextlib.suppress(OSError):
            while len(self._reserve) < RESERVE:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY))

    def spend(self) -> bool:
        """Give up one of the reserve, so that the next one who asks gets it. False: there is none."""
        if not self._reserve:
            return False
        os.close(self._reserve.pop())
        return True

    def release(self) -> None:
        """Give up the reserve."""
        while self.spend():
            pass

    def raise_limit(self) -> None:
        """Have as many as the hard limit allows."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS refuses what it calls unlimited.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def give_back(self, pid: int) -> None:
        """Let this process, which we have started, have the limit that we were started with.

        User code may use select(2), which knows no descriptor past 1023; that is why systems set the soft
        limit low. Only Linux can do this (prlimit(2)); elsewhere a kernel has our limit.
        """
        if not hasattr(resource, "prlimit"):
            return
        # It may have ended, and a kernelspec may run another user's process.
        with contextlib.suppress(OSError):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            if soft == self.limit and soft != self.inherited:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.inherited, hard))
