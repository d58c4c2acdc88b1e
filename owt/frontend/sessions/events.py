"""States of a session, events in the life of its kernel, its observers and its owner."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal, Protocol

SessionState = Literal["starting", "idle", "busy", "stuck", "dead"]
"""State of a session. A `stuck` kernel runs no call and can begin none, because something that an earlier
call has left running blocks its main thread."""


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


class SessionOwner:
    """The pool, or the table of named sessions, that a session belongs to. The argument is the session."""

    def session_idle(self, session: Any) -> None:
        """Handle that the session's kernel is ready and has no call to run. Does nothing by default."""

    def session_stuck(self, session: Any) -> None:
        """Handle that the kernel cannot begin the calls in the session's queue. Does nothing by default."""

    def session_failed(self, session: Any) -> None:
        """Handle that the session has no kernel until a call starts one."""


class SessionObserver(Protocol):
    """Observer of a session's kernel. Its methods must not raise."""

    def kernel_changed(self, event: KernelEvent) -> None:
        """Handle an event of the kernel."""


class SessionObservers:
    """Observers of one session's kernel."""

    def __init__(self) -> None:
        self._observers: list[SessionObserver] = []

    def add(self, observer: SessionObserver) -> None:
        """Notify this observer from now on."""
        self._observers.append(observer)

    def remove(self, observer: SessionObserver) -> None:
        """Stop notifying this observer."""
        if observer in self._observers:
            self._observers.remove(observer)

    def __iter__(self) -> Iterator[SessionObserver]:
        return iter(tuple(self._observers))

    def notify(self, event: KernelEvent) -> None:
        """Notify all observers of an event."""
        for observer in self:
            observer.kernel_changed(event)
