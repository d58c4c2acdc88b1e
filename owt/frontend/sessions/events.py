"""Events in the life of a session's kernel, and their observers."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class KernelEvent(StrEnum):
    """Event in the life of a session's kernel."""

    STARTED = "started"
    RESTARTING = "restarting"
    """The kernel is about to be killed, because a restart was requested."""
    DIED = "died"
    """The kernel has died, and the next one is starting."""
    FAILED = "failed"
    """There is no kernel until a call starts one."""
    CLOSED = "closed"
    """The session has ended."""


class SessionObserver(Protocol):
    """Observer of a session's kernel. Its methods must not raise."""

    def kernel_changed(self, event: KernelEvent) -> None:
        """Handle an event of the kernel."""
