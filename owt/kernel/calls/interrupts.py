"""Who may be interrupted, and when: SIGINT in a kernel's main thread.

Python runs signal handlers in the main thread, between two bytecodes of whatever is executing
there. An interrupt may only land in user code: one that landed while a frame is written would
break the channel, one that landed after its run would hit the next. So the main thread says when
it is in user code, on behalf of which run, and the handler decides.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


class Interrupts:
    """The SIGINT handler of a kernel's main thread. All methods but `aim` belong to that thread."""

    def __init__(self, otherwise: Callable[[str | None], None]) -> None:
        """`otherwise(target)` is called, in the main thread, when nothing of the main thread could
        be interrupted: `target` is the run that was aimed at, or None for everything that runs."""
        self.run: str | None = None
        self._user = False
        self._pending = False
        self._aim: str | None = None
        self._otherwise = otherwise
        self._thread = threading.main_thread().ident

    def install(self) -> None:
        """Take over SIGINT. ipykernel puts its own handler in place while it handles a message of
        its own, and this one back afterwards."""
        signal.signal(signal.SIGINT, self._handle)

    def aim(self, run: str) -> None:
        """Interrupt this run, if it is still the main thread's when the signal gets there. From
        any thread."""
        self._aim = run
        assert self._thread is not None
        signal.pthread_kill(self._thread, signal.SIGINT)

    @property
    def aimed(self) -> str | None:
        """The run of an `aim` that the main thread has not noticed yet. It stays so when the signal
        came just before the main thread began to wait for something; another signal ends that."""
        return self._aim

    def begin(self, run: str) -> None:
        """The main thread now works for `run`."""
        self._pending = False
        self.run = run

    def end(self) -> None:
        """The main thread works for no run any more; an interrupt that comes now is too late."""
        self.run = None
        self._user = False
        self._pending = False

    def enter(self) -> None:
        """User code begins. Raises KeyboardInterrupt if an interrupt came before."""
        self._user = True
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def leave(self) -> None:
        """User code has ended."""
        self._user = False

    def shield(self) -> bool:
        """Keep interrupts off for a while; give the result to `unshield`."""
        was, self._user = self._user, False
        return was

    def unshield(self, was: bool) -> None:
        """Let interrupts in again, also the one that came meanwhile."""
        self._user = was
        if was and self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        target, self._aim = self._aim, None
        if self.run is None or (target is not None and target != self.run):
            self._otherwise(target)
        elif self._user:
            raise KeyboardInterrupt
        else:
            self._pending = True
