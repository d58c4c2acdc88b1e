"""Deadlines of a session's calls: to begin, to end, to stop after a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from owt.frontend.kernels.exit import ExitKind
from owt.frontend.kernels.kernel import Kernel
from owt.frontend.runs.runs import Run
from owt.wire.messages import PING, Withdraw

NO_CALL = "no call and no cell is running"
STUCK = (
    "no call and no cell is running: something that an earlier call has left running blocks the kernel, and "
    "cannot be interrupted. After --kill-after, the kernel is killed for the next call; a restart kills it "
    "at once"
)
"""Reasons why an interrupt has interrupted nothing."""


def check_interval(kill_after: float) -> float:
    """Return the seconds between two checks, and from a call to the question whether it has begun."""
    return min(1.0, max(0.05, kill_after / 4))


@dataclass(frozen=True)
class Limits:
    """Limits of every session: number of waiting calls, and seconds between a cancel and a kill.

    `kill_abandoned` counts instead for a call whose client has disconnected (None: it is never killed).
    """

    queue: int
    kill_after: float
    kill_abandoned: float | None = None


@dataclass(slots=True)
class _Sent:
    """A call or ping that was sent: the time, the number of its message, and the time of the question whether
    it has begun."""

    at: float
    number: int
    question: float | None = None


@dataclass(slots=True)
class _Clock(_Sent):
    """The timers of one call. `start_timeout` is None once the kernel has begun it, or without a timeout."""

    run: Run = field(kw_only=True)
    kernel: Kernel = field(kw_only=True)
    start_timeout: float | None = field(kw_only=True)
    start_deadline_passed: bool = False
    timers: tuple[asyncio.TimerHandle, ...] = ()

    def after(self, seconds: float, function: Callable[[], None]) -> None:
        self.timers += (asyncio.get_running_loop().call_later(seconds, function),)

    def stop(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers = ()


class Deadlines:
    """Deadlines of the calls that one session's kernel has, and of the kernel's main thread.

    - A call's timeout runs from the moment when the kernel reports its beginning. When it has not begun by
      its timeout, the kernel is asked to withdraw it and has to answer within `kill_after` seconds.
    - A cancelled call has to end within `kill_after` seconds, or `kill_abandoned` (None: no limit) if it was
      cancelled only because its client has disconnected.
    - A kernel that has calls may be stopped (SIGSTOP) for `kill_after` seconds.

    A kernel that misses one of the last three is killed.

    The kernel's main thread may be *blocked* by something that a call has left running: a callback, a task, a
    signal handler. Then no call begins, and none runs that could be interrupted. The kernel's control thread
    knows that (`Withdraw`). It is asked about the oldest call that has not begun for a while, or about a ping
    that follows the last call, and if something blocks that one, about the others. `blocked_since` is the
    event loop's time of the first message that was not received, until the main thread receives a ping; None
    while it is not blocked.
    """

    def __init__(self, kill_after: float, kill_abandoned: float | None = None) -> None:
        self.blocked_since: float | None = None
        self._kill_after = kill_after
        self._kill_abandoned = kill_abandoned
        self._patience = check_interval(kill_after)
        self._clocks: dict[str, _Clock] = {}
        # The calls among them that have not begun, and the ping.
        self._unbegun: dict[str, _Sent] = {}
        self._used = False
        # Since when the kernel has been seen stopped (event loop time).
        self._stopped: float | None = None

    # Calls

    def sent(self, run: Run, kernel: Kernel, number: int) -> None:
        """Start the clock of a call that was sent to this kernel, in the message with this number."""
        if run.id in self._clocks:
            # It was withdrawn, and is sent again.
            self._clocks[run.id].stop()
        clock = _Clock(_now(), number, run=run, kernel=kernel, start_timeout=run.call.timeout)
        self._clocks[run.id] = self._unbegun[run.id] = clock
        self._used = True
        self._expect_start(clock)

    def begun(self, run: Run, elapsed: float = 0) -> None:
        """Start the timeout of a call at the first output of its kernel, or `elapsed` seconds later."""
        if self._unbegun.pop(run.id, None) is None:
            return
        clock = self._clocks[run.id]
        timeout, clock.start_timeout = clock.start_timeout, None
        # A call whose client has disconnected keeps its timeout.
        if timeout is not None and run.cancel_reason in (None, "disconnected"):
            clock.after(max(0, timeout - elapsed), lambda: run.cancel("timeout"))

    def queued(self, id: str) -> None:
        """Extend the start of a call, or of the ping, that the kernel reports to be behind a call or cell."""
        if id in self._unbegun:
            self._unbegun[id].question = None
        clock = self._clocks.get(id)
        if clock is not None and clock.start_timeout is not None and clock.run.cancel_reason is None:
            clock.stop()
            self._expect_start(clock)

    def cancelled(self, run: Run) -> None:
        """Kill the kernel unless the run ends in time."""
        seconds = self._kill_abandoned if run.abandoned else self._kill_after
        if seconds is not None:
            self._kill_later(
                self._clocks[run.id], seconds, f"did not stop within {seconds:g} s of being interrupted"
            )

    def ended(self, run: Run) -> bool:
        """Stop the clock of a call, if it has one. Returns True if it has not begun by its timeout."""
        clock = self._clocks.pop(run.id, None)
        if clock is not None:
            clock.stop()
            self._unbegun.pop(run.id, None)
        if not self._clocks:
            self._stopped = None
        return clock is not None and clock.start_deadline_passed

    def _expect_start(self, clock: _Clock) -> None:
        if clock.start_timeout is not None:
            clock.after(clock.start_timeout, lambda: self._start_deadline_passed(clock))

    def _start_deadline_passed(self, clock: _Clock) -> None:
        if clock.start_timeout is None:
            return
        clock.start_deadline_passed = True
        if clock.run.id not in self._unbegun:
            # It was withdrawn and waits in the queue.
            clock.run.cancel("timeout")
            return
        self._ask(clock.kernel, clock.run.id)
        self._kill_later(clock, self._kill_after, f"did not answer for {self._kill_after:g} s", start=True)

    def _kill_later(self, clock: _Clock, seconds: float, problem: str, *, start: bool = False) -> None:
        """Kill the kernel after some time; with `start`, unless it has begun the call by then."""

        def kill() -> None:
            if start and clock.start_timeout is None:
                return
            if start and clock.run.cancel_reason is None:
                clock.run.cancel_reason = "timeout"
            clock.kernel.kill(f"{problem} and was killed", ExitKind.STUCK)

        clock.after(seconds, kill)

    # The kernel's main thread

    def check(self, kernel: Kernel, active: Collection[str]) -> list[str]:
        """Ask about the oldest call that has not begun, and kill a kernel that has been stopped for too long.

        Called periodically. `active` are the calls that the kernel has. Returns all that was sent to it if no
        thread of the kernel has answered for `kill_after` seconds and its main thread handles none of the
        calls; the newest first.
        """
        if self._clocks:
            self.check_stopped(kernel)
        if self._used and not self._clocks and not kernel.in_cell and PING not in self._unbegun:
            self._ping(kernel)
        if not self._unbegun:
            return []
        # What is true of the oldest is true of all that wait behind it, which may be a thousand.
        id, oldest = next(iter(self._unbegun.items()))
        now = _now()
        if oldest.question is None:
            if now - oldest.at >= self._patience:
                self._ask(kernel, id)
            return []
        if now - oldest.question < self._kill_after or kernel.in_cell:
            return []
        # A cell, or a call that is handled, may run and hold the interpreter's lock: no thread answers then.
        unhandled = self.unhandled(kernel)
        return unhandled[::-1] if set(active) <= set(unhandled) else []

    def unhandled(self, kernel: Kernel) -> list[str]:
        """Return the calls, and the ping, that the kernel's main thread has not begun to handle, or never did
        if the kernel has died."""
        handled = kernel.newest_handled()
        return [id for id, sent in self._unbegun.items() if sent.number > handled]

    def withdrawn(self, id: str, kernel: Kernel) -> bool:
        """Record that something blocks the kernel, which has not begun this call or received the ping.

        Returns True if the call's timeout has passed.
        """
        if id not in self._unbegun:
            # The main thread has received the ping in the meantime.
            return False
        sent = self._unbegun[id].at
        self.blocked_since = sent if self.blocked_since is None else min(sent, self.blocked_since)
        if id != PING:
            del self._unbegun[id]
        for other in self._unbegun:
            self._ask(kernel, other)
        if PING not in self._unbegun:
            self._ping(kernel)
        clock = self._clocks.get(id)
        return clock is not None and clock.start_deadline_passed

    def received_ping(self) -> None:
        """Record that the kernel's main thread receives calls."""
        self._unbegun.pop(PING, None)
        self.blocked_since = None

    def forget_kernel(self) -> None:
        """Forget a kernel that has died."""
        self.received_ping()
        self._used = False
        self._stopped = None

    def is_kill_due(self) -> bool:
        """Return True if the main thread has been blocked for `kill_after` seconds."""
        return self.blocked_since is not None and _now() - self.blocked_since >= self._kill_after

    def kill_stuck(self, kernel: Kernel) -> None:
        """Kill a kernel that has been blocked, or stopped, for `kill_after` seconds."""
        limit = f"for {self._kill_after:g} s"
        if kernel.stopped():
            reason = f"was stopped (SIGSTOP) {limit} while it had calls and was killed"
        else:
            reason = f"was blocked {limit} by something that an earlier call had left running, and was killed"
        kernel.kill(reason, ExitKind.STUCK)

    def check_stopped(self, kernel: Kernel) -> None:
        """Kill a kernel that has calls, and that a signal has stopped for `kill_after` seconds."""
        if not kernel.stopped():
            self._stopped = None
            return
        if self._stopped is None:
            self._stopped = _now()
        if _now() - self._stopped >= self._kill_after:
            self.kill_stuck(kernel)

    def _ping(self, kernel: Kernel) -> None:
        self._used = False
        kernel.ping()
        self._unbegun[PING] = _Sent(_now(), kernel.newest_sent)

    def _ask(self, kernel: Kernel, id: str) -> None:
        if self._unbegun[id].question is None:
            self._unbegun[id].question = _now()
            kernel.ask(Withdraw(id))


def _now() -> float:
    return asyncio.get_running_loop().time()
