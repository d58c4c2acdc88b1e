"""Ports for servers whose port a test has to choose."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack


def free_ports(count: int) -> int:
    """Return the first of `count` consecutive free ports.

    They lie outside the range of ephemeral ports, so that no connection takes one before the server does, and
    apart from those of other processes that run tests.
    """
    for first in range(20_000 + 64 * os.getpid() % 9000, 32_000, count):
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("there are no free ports")
