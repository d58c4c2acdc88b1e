"""How long a session's kernel may take: to begin a call, to end it, to obey, and to be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from owt.frontend.kernels.kernel import Kernel
from owt.frontend.runs.runs import CancelReason, Run
from owt.frontend.sessions.timers import Timers
from owt.wire.messages import StartDeadlinePassed

LOOK = 1.0
"""Most seconds between two looks at the process of a kernel that has calls."""


class Deadlines:
    """The clocks of the calls that one session's kernel has.

    A call's timeout runs from when the kernel says that it has begun. A kernel that does not say so
    in that time is asked about it; one that does not answer for `kill_after` seconds is killed, and so
    is one that goes on for as long after a cancel, or that is stopped (SIGSTOP) for as long.
    """

    def __init__(
        self,
        kill_after: float,
        kernel: Callable[[], Kernel | None],
        cancel: Callable[[Run, CancelReason], None],
    ) -> None:
        """`kernel()` is the session's kernel by now; `cancel(run, "timeout")` is called for what ran
        for too long."""
        self._kill_after = kill_after
        self._kernel = kernel
        self._cancel = cancel
        self._timers = Timers()
        self._given: set[str] = set()
        self._not_begun: dict[str, float] = {}
        self._looking = False
        self._stopped: tuple[Kernel, float] | None = None

    def given(self, run: Run) -> None:
        """The kernel has been given this call."""
        self._given.add(run.id)
        if run.call.timeout is not None:
            self._expect(run, run.call.timeout)
        if not self._looking:
            self._looking = True
            self._look_later()

    def begun(self, run: Run) -> None:
        """The kernel says something of this run; the first time, that it has begun."""
        timeout = self._not_begun.pop(run.id, None)
        if timeout is not None:
            self._timers.off(run.id)
            self._timers.after(timeout, run.id, partial(self._cancel, run, "timeout"))

    def behind(self, run: Run) -> None:
        """The kernel says that something is before this call that may take its time."""
        timeout = self._not_begun.get(run.id)
        if timeout is not None:
            self._timers.off(run.id)
            self._expect(run, timeout)

    def cancelled(self, run: Run) -> None:
        """The kernel has been told to end this run."""
        self._kill_later(run, f"did not stop within {self._kill_after:g} s of being interrupted")

    def ended(self, run: Run) -> None:
        """The run is over."""
        self._given.discard(run.id)
        self._not_begun.pop(run.id, None)
        self._timers.off(run.id)

    def _expect(self, run: Run, timeout: float) -> None:
        self._not_begun[run.id] = timeout
        self._timers.after(timeout, run.id, partial(self._ask, run, timeout))

    def _ask(self, run: Run, timeout: float) -> None:
        if (kernel := self._kernel()) is not None:
            kernel.ask(StartDeadlinePassed(run.id, timeout))
            self._kill_later(run, f"did not answer for {self._kill_after:g} s", timeout=True)

    def _kill_later(self, run: Run, why: str, *, timeout: bool = False) -> None:
        def kill() -> None:
            if not run.ended and (kernel := self._kernel()) is not None:
                if timeout and run.cancel_reason is None:
                    run.cancel_reason = "timeout"
                kernel.kill(f"{why} and was killed", "stuck")

        self._timers.after(self._kill_after, run.id, kill)

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(min(LOOK, max(0.05, self._kill_after / 4)), self._look)

    def _look(self) -> None:
        kernel = self._kernel()
        self._looking = bool(self._given) and kernel is not None
        if not self._looking or kernel is None or not kernel.stopped():
            self._stopped = None
        else:
            now = asyncio.get_running_loop().time()
            if self._stopped is None or self._stopped[0] is not kernel:
                self._stopped = (kernel, now)
            if now - self._stopped[1] >= self._kill_after:
                time_given = f"{self._kill_after:g} s"
                why = f"was stopped (SIGSTOP) for {time_given} while it had calls and was killed"
                kernel.kill(why, "stuck")
        if self._looking:
            self._look_later()
