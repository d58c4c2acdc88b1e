"""Deadlines of a session's calls: to begin, to end, to stop after a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from owt.frontend.kernels.exit import ExitKind
from owt.frontend.kernels.kernel import Kernel
from owt.frontend.runs.runs import Run
from owt.wire.messages import StartDeadlinePassed


@dataclass
class _Clock:
    """The timers of one call. `start_timeout` is None once the kernel has begun it, or without a timeout."""

    run: Run
    kernel: Kernel
    start_timeout: float | None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def after(self, seconds: float, function: Callable[[], None]) -> None:
        self.timers.append(asyncio.get_running_loop().call_later(seconds, function))

    def stop(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


class Deadlines:
    """Deadlines of the calls that one session's kernel has.

    - A call's timeout runs from the moment when the kernel reports its beginning. When it has not begun by
      its timeout, the kernel receives `StartDeadlinePassed` and has to answer within `kill_after` seconds.
    - A cancelled call has to end within `kill_after` seconds, or `kill_abandoned` (None: no limit) if it was
      cancelled only because its client has disconnected.
    - A kernel that has calls may be stopped (SIGSTOP) for `kill_after` seconds.

    A kernel that misses one of the last three is killed.
    """

    def __init__(self, kill_after: float, kill_abandoned: float | None = None) -> None:
        self._kill_after = kill_after
        self._kill_abandoned = kill_abandoned
        self._clocks: dict[str, _Clock] = {}
        # The kernel that was last seen stopped, and since when (event loop time).
        self._stopped: tuple[Kernel, float] | None = None

    def sent(self, run: Run, kernel: Kernel) -> None:
        """Start the clock of a call that was sent to this kernel."""
        clock = self._clocks[run.id] = _Clock(run, kernel, run.call.timeout)
        self._expect_start(clock)

    def begun(self, run: Run) -> None:
        """Start the timeout of a call at the first output of its kernel."""
        clock = self._clocks[run.id]
        timeout, clock.start_timeout = clock.start_timeout, None
        # A call whose client has disconnected keeps its timeout.
        if timeout is not None and run.cancel_reason in (None, "disconnected"):
            clock.after(timeout, lambda: run.cancel("timeout"))

    def queued(self, run: Run) -> None:
        """Extend the start of a call that the kernel reports to be behind a cell."""
        clock = self._clocks[run.id]
        if clock.start_timeout is not None and run.cancel_reason is None:
            clock.stop()
            self._expect_start(clock)

    def cancelled(self, run: Run) -> None:
        """Kill the kernel unless the run ends in time."""
        seconds = self._kill_abandoned if run.abandoned else self._kill_after
        if seconds is not None:
            self._kill_later(
                self._clocks[run.id], seconds, f"did not stop within {seconds:g} s of being interrupted"
            )

    def ended(self, run: Run) -> None:
        """Stop the clock of a call."""
        self._clocks.pop(run.id).stop()
        if not self._clocks:
            self._stopped = None

    def check_stopped(self, kernel: Kernel) -> None:
        """Kill a kernel that has been stopped for too long. Called periodically while it has calls."""
        if not kernel.stopped():
            self._stopped = None
            return
        now = asyncio.get_running_loop().time()
        if self._stopped is None or self._stopped[0] is not kernel:
            self._stopped = (kernel, now)
        if now - self._stopped[1] >= self._kill_after:
            limit = f"{self._kill_after:g} s"
            reason = f"was stopped (SIGSTOP) for {limit} while it had calls and was killed"
            kernel.kill(reason, ExitKind.STUCK)

    def _expect_start(self, clock: _Clock) -> None:
        if clock.start_timeout is not None:
            clock.after(clock.start_timeout, lambda: self._start_overdue(clock))

    def _start_overdue(self, clock: _Clock) -> None:
        if clock.start_timeout is not None:
            clock.kernel.ask(StartDeadlinePassed(clock.run.id, clock.start_timeout))
            self._kill_later(
                clock, self._kill_after, f"did not answer for {self._kill_after:g} s", start=True
            )

    def _kill_later(self, clock: _Clock, seconds: float, problem: str, *, start: bool = False) -> None:
        """Kill the kernel after some time; with `start`, unless it has begun the call by then."""

        def kill() -> None:
            if start and clock.start_timeout is None:
                return
            if start and clock.run.cancel_reason is None:
                clock.run.cancel_reason = "timeout"
            clock.kernel.kill(f"{problem} and was killed", ExitKind.STUCK)

        clock.after(seconds, kill)
