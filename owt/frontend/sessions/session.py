"""Session: a name bound to a kernel, the queue of its calls, and the handling of the kernel's death.

`Session.kernel_died` says what happens when a kernel dies. `owt.frontend.kernels.kernel` notices the end of
the process and cleans up after it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from owt.errors import Busy, KernelDied, KernelKilled, OwtError
from owt.frontend.kernels.exit import Exit, ExitKind
from owt.frontend.kernels.kernel import Kernel, RunMessage
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.resuming import expect_reader
from owt.frontend.runs.runs import CancelReason, Run
from owt.frontend.sessions import failures, waiting
from owt.frontend.sessions.deadlines import NO_CALL, STUCK, Deadlines, Limits
from owt.frontend.sessions.events import KernelEvent, SessionObservers, SessionOwner, SessionState
from owt.frontend.sessions.records import SessionRecord
from owt.wire.chunk import Done, Failed, Stderr, Stdout
from owt.wire.messages import (
    PING,
    Accepted,
    Cancel,
    Credit,
    KeptRun,
    Output,
    Pong,
    Queued,
    Withdraw,
    Withdrawn,
)

log = logging.getLogger("owt.sessions")

IDLE_DEATHS = 3
"""Number of kernels that may die in a row without a call. After that, the next call starts one."""
RECONNECT = 1.0
"""Minimum time, in seconds, that clients of an earlier frontend have to come back to their runs."""
MAX_AHEAD = 8
"""Maximum number of queued calls that are sent before their turn."""
SHORT = 0.01
"""Maximum duration, in seconds, of a call after which others are sent ahead."""
MAX_KNOWN_CODES = 1000
"""Number of codes of which a session remembers that its kernel has loaded them."""


class Session:
    """One kernel and the queue of its calls. The members of the pool are sessions without a name.

    Calls begin in order of arrival, up to `concurrency` at a time. While they are short, some are sent
    *ahead*: the kernel has the next one when one ends, so that the processes need not wait for each other.
    A call that was sent ahead stays in the queue until its turn. Its cancel asks the kernel, which may just
    have begun it.
    """

    def __init__(
        self,
        name: str | None,
        *,
        owner: SessionOwner,
        kernels: Kernels,
        limits: Limits,
        spec: str,
        concurrency: int = 1,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        """`env` has further variables for the environment of the session's kernels, and `cwd` is their
        working directory, instead of the server's."""
        self.name = name
        self.spec = spec
        self.env = env or {}
        self.cwd = cwd
        self.concurrency = concurrency
        self.created = time.time()
        self.last_used: float | None = None
        self.restarts = 0
        self.restarted: float | None = None
        self.last_death: str | None = None
        # What the last kernel wrote at its end, until the next one starts.
        self.last_output: tuple[Stdout | Stderr, ...] = ()
        self.kernel: Kernel | None = None
        self.queue: deque[Run] = deque()
        self.active: dict[str, Run] = {}
        self.calls = 0
        self.ever_started = False
        self.observers = SessionObservers()
        self._owner = owner
        self._kernels = kernels
        self._limits = limits
        self._starting: asyncio.Task[None] | None = None
        self._deadlines = Deadlines(limits.kill_after, limits.kill_abandoned)
        # By hash: codes can be large, and a collision costs time only.
        self._known_codes: dict[int, None] = {}
        # The queued calls that the kernel has.
        self._ahead: dict[str, Run] = {}
        self._max_ahead = 0
        self._deaths = 0
        self._closed = False
        self._is_resuming = False  # the kernel has not said yet which runs it has
        self._loss: str | None = None  # why the last kernel's state is gone, until a call reports it

    @property
    def state(self) -> SessionState:
        """Return the state that the session is in."""
        if self._closed:
            return "dead"
        if self.kernel is not None and self.kernel.alive:
            if self.active or self.kernel.in_cell:
                return "busy"
            return "idle" if self._deadlines.blocked_since is None else "stuck"
        # The replacement of a dying kernel begins when the cause of its death is known.
        return "dead" if self._starting is None and self.kernel is None else "starting"

    @property
    def used(self) -> float | None:
        """Return the time when a call or a cell last began or ended, or None."""
        return max(self.last_used or 0, (self.kernel and self.kernel.last_cell) or 0) or None

    @property
    def label(self) -> str:
        """Return the name of the session for messages."""
        return "a kernel of the pool" if self.name is None else f"session {self.name}"

    def knows(self, code: str | None) -> bool:
        """Return True if the kernel has probably loaded this code."""
        return code is not None and hash(code) in self._known_codes

    # Calls -------------------------------------------------------------------------------------------

    def submit(self, run: Run) -> None:
        """Run this call when its turn comes. Raises `Busy` if too many wait or no kernel can be started."""
        # Calls that only wait for the kernel to start count as running.
        beyond = len(self.queue) + len(self.active) - self.concurrency
        if beyond >= self._limits.queue:
            # Cancelled calls that were sent ahead leave as soon as the kernel replies.
            beyond -= sum(queued.cancel_reason is not None for queued in self.queue)
        if beyond >= self._limits.queue:
            raise Busy(
                f"{self.label} already has {beyond} calls waiting (the limit is --queue "
                f"{self._limits.queue}); try again later or use another session"
            )
        if run.caller is not None and len(self.active) + len(self.queue) >= self.concurrency:
            waiting.check(run, self.holders(), self.label)
        if self.kernel is None and self._starting is None:
            self._kernels.check_room()
        self.last_used = time.time()
        run.enqueue(self)
        self.queue.append(run)
        self.start()
        self._send_queued()

    def holders(self) -> list[Run]:
        """Return the runs one of which has to end before the next one can begin."""
        return [*self.active.values(), *self.queue][: self.concurrency]

    def cancel(self, run: Run, reason: CancelReason) -> None:
        """End a run of this session: remove it from the queue, or interrupt it in the kernel."""
        if run.ended:
            return
        if run in self.queue and run.id not in self._ahead:
            self.queue.remove(run)
            self._deadlines.ended(run)
            run.fail(failures.cancelled_in_queue(run, reason))
            return
        new = run.cancel_reason is None or (run.abandoned and reason != "disconnected")
        if new and self.kernel is not None and (run.id in self.active or run.id in self._ahead):
            run.cancel_reason = reason
            run.note()
            self.kernel.ask(Cancel(run.id, failures.failure_type(reason)))
            if run.id in self.active:
                self._deadlines.cancelled(run)

    async def interrupt(self) -> str | None:
        """Interrupt what the kernel runs: a cell, or else its calls. Queued calls stay.

        Returns why there was nothing to interrupt, or None. SIGINT is sent also then: it ends processes that
        something else may wait for.
        """
        if self.kernel is None or not self.kernel.alive:
            return "there is no kernel"
        if self.active and not self.kernel.in_cell:
            for run in list(self.active.values()):
                self.cancel(run, "interrupted")
            return None
        in_cell, stuck = self.kernel.in_cell, self.state == "stuck"
        await self.kernel.interrupt()
        return None if in_cell else STUCK if stuck else NO_CALL

    def check(self) -> None:
        """Find out whether the kernel can begin its calls, and kill it if it has been unable to for too long.

        Called periodically. The kernel of a named session lives as long as no call needs it.
        """
        if (kernel := self.kernel) is None or not kernel.alive:
            if kernel is not None and self._is_resuming and self.queue:
                self._deadlines.check_stopped(kernel)
            return
        unhandled = self._deadlines.check(kernel, self.active)
        # The kernel has not withdrawn these calls: it would still run them.
        needed = any(id in self.active for id in unhandled) or self.name is None
        for id in unhandled:
            self._take_back(kernel, id)
        if self.state == "stuck" and self._deadlines.is_kill_due() and (self.queue or needed):
            self._deadlines.kill_stuck(kernel)

    def _take_back(self, kernel: Kernel, id: str) -> None:
        """Put a call that the kernel cannot begin back into the queue; `PING` stands for no call."""
        if id in self._ahead:
            self._forget_ahead(id)
            return
        run = self.active.pop(id, None)
        if run is None and id != PING:
            return
        timed_out = self._deadlines.withdrawn(id, kernel)
        if run is not None:
            # They would run before this one.
            for ahead in self._ahead:
                kernel.ask(Withdraw(ahead))
            self._queue_again(run, timed_out)
        if self.state == "stuck":
            self._owner.session_stuck(self)

    def _queue_again(self, run: Run, timed_out: bool) -> None:
        """Put a call that was sent into the queue again, or end it if its timeout has passed."""
        run.take_back()
        self.queue.insert(sum(other.created_at < run.created_at for other in self.queue), run)
        if timed_out:
            run.cancel("timeout")

    def release_queue(self) -> list[Run]:
        """Give the queued calls away, to run elsewhere."""
        runs, self.queue = list(self.queue), deque()
        for run in runs:
            self._deadlines.ended(run)
        return runs

    def _send_queued(self) -> None:
        """Begin the calls whose turn it is, and send some ahead. Notify the owner if there are none."""
        if (kernel := self.kernel) is None or self._is_resuming:
            return
        can_send = kernel.alive and self._deadlines.blocked_since is None
        while self.queue and len(self.active) < self.concurrency:
            run = self.queue[0]
            if run.id not in self._ahead:
                if not can_send:
                    return
                self._send(run, kernel)
            self._begin(run, kernel)
        if can_send and len(self._ahead) < min(len(self.queue), self._max_ahead):
            for run in islice(self.queue, self._max_ahead):
                if run.id not in self._ahead:
                    self._send(run, kernel, ahead=True)
        if can_send and not self.active:
            self._owner.session_idle(self)

    def _send(self, run: Run, kernel: Kernel, *, ahead: bool = False) -> None:
        self.calls += 1
        if run.call.code is not None:
            self._known_codes[hash(run.call.code)] = None
            if len(self._known_codes) > MAX_KNOWN_CODES:
                self._known_codes.pop(next(iter(self._known_codes)))
        if self._loss is not None:
            # The first call of a fresh kernel reports that the state of the last one is gone.
            run.kernel_loss, self._loss = self._loss, None
            if run.call.caching is None:
                run.feed((failures.loss_notice(run.kernel_loss),))
        keep = run.note_sent(kernel.id, kernel.newest_sent + 1)
        kernel.invoke(run.id, run.call, keep, later=ahead)
        self._ahead[run.id] = run

    def _begin(self, run: Run, kernel: Kernel) -> None:
        """Record that it is the turn of a call that was sent."""
        self.queue.remove(run)
        self.active[run.id] = run
        run.start(kernel)
        del self._ahead[run.id]
        self._deadlines.sent(run, kernel, run.number)
        if run.cancel_reason is not None:
            self._deadlines.cancelled(run)

    def _forget_ahead(self, id: str) -> None:
        """Record that the kernel no longer has a call that was sent ahead."""
        run = self._ahead.pop(id)
        if run.is_outline:
            self.queue.remove(run)
            run.fail(failures.lost("does not have it any more"))
            return
        run.take_back()
        if run.cancel_reason is not None:
            self.cancel(run, run.cancel_reason)

    def received(self, message: RunMessage) -> None:
        """Handle a message of the kernel about a run, or about its main thread."""
        if not isinstance(message, Output):
            self._received_control(message)
            return
        if message.run in self._ahead and self.kernel is not None:
            # It was cancelled, and ends before its turn.
            self._begin(self._ahead[message.run], self.kernel)
        if (run := self.active.get(message.run)) is None:
            return
        self._deadlines.begun(run)
        run.feed(message.chunks, wake=False)
        if not run.ended:
            # More may have arrived, and is then read with it.
            run.wake_readers()
            return
        self._deaths = 0
        del self.active[run.id]
        self._deadlines.ended(run)
        self.last_used = run.ended_at
        is_short = isinstance(last := message.chunks[-1], Done) and last.seconds <= SHORT
        self._max_ahead = MAX_AHEAD if is_short and self.concurrency == 1 else 0
        self._send_queued()
        # The kernel has its next call by now. A step of the event loop costs a twentieth of a call.
        run.wake_readers(now=True)

    def _received_control(self, message: Queued | Withdrawn | Credit | Pong | Accepted) -> None:
        if (kernel := self.kernel) is None:
            return
        match message:
            case Credit(run=id, size=size):
                if (run := self.active.get(id)) is not None:
                    run.open_input().grant(size, kernel)
            case Queued(run=id):
                self._deadlines.queued(id)
            case Withdrawn(run=id):
                self._take_back(kernel, id)
            case Accepted(run=id):
                run = self.active.get(id) or self._ahead.get(id)
                if run is not None and run.record is not None:
                    run.record.confirmed()
            case Pong():
                self._deadlines.received_ping()
                self._send_queued()

    # The kernel: start, death, end ---------------------------------------------------------------------

    def start(self) -> None:
        """Begin to start a kernel, unless there is one, one is starting, or one is dying (and replaced)."""
        if self._starting is None and self.kernel is None and not self._closed:
            self.last_output = ()
            self._starting = asyncio.get_running_loop().create_task(self._start())

    async def started(self) -> None:
        """Wait until there is a kernel; start one if necessary.

        Raises `KernelDied` or `Busy` if none can be started, and `Busy` if that of an earlier frontend does
        not answer in time.
        """
        self.start()
        while not (self.kernel is not None and self.kernel.alive):
            if self._closed:
                raise KernelDied("the session was deleted before its kernel was ready")
            if (kernel := self.kernel) is not None:
                if kernel.ready.done():
                    await kernel.closed()
                else:
                    await self._kernels.recovery.wait_until(kernel.ready.done)
            elif self._starting is not None:
                await asyncio.wait([self._starting])
            else:
                self._kernels.check_room()
                raise KernelDied.because(str(self.last_death))

    def adopt(self, spare: Session, concurrency: int) -> None:
        """Take over the kernel of a pool member that has run no call."""
        self.kernel = kernel = spare.release()
        self.concurrency, self.ever_started = concurrency, True
        kernel.bind(self.name, concurrency, self)

    def resume(
        self,
        record: SessionRecord,
        kernel: Kernel | None,
        restore: Callable[[KeptRun], Run],
        runs: Sequence[Run] = (),
        ending: str = "has ended",
    ) -> None:
        """Go on as the session that an earlier frontend has recorded, with its kernel if that was kept; it
        has ended for the reason `ending` otherwise.

        `restore` returns a run that the kernel has, and `runs` are those that were recorded, in order.
        """
        for name in ("created", "last_used", "calls", "restarts", "restarted", "last_death"):
            setattr(self, name, getattr(record, name))
        self.ever_started = True
        if kernel is not None:
            self.resume_kernel(kernel, restore, runs)
        else:
            if record.kernel is not None:
                self._loss = self.last_death = ending
                self.restarts, self.restarted = self.restarts + 1, time.time()
            self._queue_recorded(runs, ending)
            self.start()

    def resume_kernel(
        self, kernel: Kernel, restore: Callable[[KeptRun], Run], runs: Iterable[Run] = ()
    ) -> None:
        """Go on with the kernel of an earlier frontend, and with runs that were recorded, in order.

        `restore` returns a run that the kernel has. It will say whether it has those that it was sent.
        """
        self.kernel, self.ever_started, self._is_resuming = kernel, True, True
        self._queue_recorded(runs, "has ended")
        calls, last_call = kernel.usage()
        self.calls, self.last_used = self.calls + calls, last_call or self.last_used
        kernel.on_runs = lambda runs: self._resume_runs(kernel, runs, restore)
        kernel.ready.add_done_callback(lambda _: self._send_queued())

    def _queue_recorded(self, runs: Iterable[Run], ending: str) -> None:
        """Queue runs of an earlier frontend, or fail those whose kernel is gone, for the reason `ending`."""
        for run in runs:
            run.enqueue(self)
            self.queue.append(run)
            asyncio.get_running_loop().call_later(RECONNECT, expect_reader, run)
            if self.kernel is not None and run.sent_to == self.kernel.id:
                self._ahead[run.id] = run
            elif run.sent_to is not None or run.is_outline:
                self.queue.remove(run)
                run.fail(failures.lost(ending))
            if (reason := run.cancel_reason) is not None:
                run.cancel_reason = None
                self.cancel(run, reason)

    def _resume_runs(
        self, kernel: Kernel, runs: Iterable[KeptRun], restore: Callable[[KeptRun], Run]
    ) -> None:
        """Go on with runs that the kernel has from an earlier frontend, before their output comes."""
        self._is_resuming = False
        others, self.queue = self.queue, deque()
        for kept in runs:
            run = restore(kept)
            if run in others:
                others.remove(run)
            else:
                run.enqueue(self)
                asyncio.get_running_loop().call_later(RECONNECT, expect_reader, run)
            self.queue.append(run)
            self._ahead[run.id] = run
            if kept.started is not None:
                self._begin(run, kernel)
                if kept.ended is None:
                    self._deadlines.begun(run, time.time() - kept.started)
                run.started_at = kept.started
        self.queue += others
        for run in others:
            if run.id in self._ahead:
                # It was lost on its way to the kernel.
                self._forget_ahead(run.id)

    def release(self) -> Kernel:
        """Give the kernel away, and end without it."""
        assert self.kernel is not None
        assert not self.calls
        kernel, self.kernel = self.kernel, None
        self._closed = True
        return kernel

    async def restart(self) -> None:
        """Replace the kernel and wait for the new one. Active calls fail; queued calls stay.

        Raises `KernelDied` if no kernel can be started."""
        self._deaths = 0
        if self.kernel is not None:
            self.observers.notify(KernelEvent.RESTARTING)
            self.kernel.kill("was restarted on request")
            await self.kernel.closed()
        self.start()
        await self.started()

    async def close(self, cause: str, kind: ExitKind = ExitKind.REQUESTED) -> None:
        """End the kernel. Active and queued calls fail, with the `cause` in words that follow "because"."""
        self._closed = True
        self.observers.notify(KernelEvent.CLOSED)
        failure = failures.not_begun(cause, kind)
        self._fail_queued(failure)
        if self._starting is not None:
            self._starting.cancel()
        if (kernel := self.kernel) is not None:
            kernel.kill(f"was ended because {cause}", kind)
            await kernel.closed()
            # Now it is known which calls that were sent ahead have not begun.
            self._fail_queued(failure)

    def close_soon(self, cause: str) -> None:
        """Begin to `close`."""
        # The kernel, whose end it waits for, refers to the task.
        asyncio.get_running_loop().create_task(self.close(cause))

    async def _start(self) -> None:
        try:
            kernel = await self._kernels.start(
                self.spec, self.name, self.concurrency, self, self.env, self.cwd
            )
        except Exception as error:
            self._starting = None
            self._start_failed(error)
            return
        self._starting = None
        if self._closed:
            kernel.kill("was not needed any more")
            return
        self.kernel = kernel
        self.ever_started = True
        self.observers.notify(KernelEvent.STARTED)
        if kernel.exit is not None:
            # It died between the end of its start and this step of the event loop.
            self.kernel_died(kernel, kernel.exit)
            return
        self._send_queued()

    def _start_failed(self, error: Exception) -> None:
        failure = failures.start_failure(error)
        log.error("%s: %s", self.label, failure.detail, exc_info=not isinstance(error, OwtError) and error)
        self.last_death = error.reason if isinstance(error, KernelDied) else failure.detail
        if isinstance(error, KernelKilled) and not self._closed:
            # No call has begun, so all of them can wait for the next kernel.
            self._deaths += 1
            if self._deaths < IDLE_DEATHS:
                self.start()
                return
            failure = failures.kernel_lost(f"{failure.detail} ({self._deaths} times in a row)")
        self._give_up(failure)

    def kernel_died(self, kernel: Kernel, exit: Exit) -> None:
        """Handle the death of the kernel.

        `Kernel` calls it once the exit status is known; its endpoints are gone by then. In this order:

        1. The session has no kernel, and no code that it knows.
        2. Active calls get what the kernel wrote last, and fail with the reason, as do calls sent ahead that
           it has begun to handle. Other queued calls stay, and active ones that it has not are queued again.
        3. A session that was closed is done.
        4. After `IDLE_DEATHS` deaths in a row without a call, queued calls fail too, observers and owner are
           notified (`FAILED`), and the next call starts a kernel.
        5. Otherwise observers are notified (`DIED`) and the next kernel starts; it runs the queued calls.
        """
        if self.kernel is not kernel:
            return
        reason = str(exit)
        for run in list(self._ahead.values()):
            if run.number <= kernel.newest_handled():
                # The end of the call before it was lost.
                self._begin(run, kernel)
        self.kernel, self._is_resuming = None, False
        unhandled = () if self._closed else self._deadlines.unhandled(kernel)
        self._deadlines.forget_kernel()
        self._known_codes.clear()
        if self.name is not None and exit.kind is not ExitKind.REQUESTED:
            self._loss = reason
        self.last_death, self.last_output = reason, exit.output
        log.log(logging.INFO if self._closed else logging.WARNING, "%s: the kernel %s", self.label, reason)
        active, self.active = list(self.active.values()), {}
        again = [run for run in active if run.id in unhandled and run.cancel_reason is None]
        # A call may have caused its kernel's death. Only kernels that die without one could do so forever.
        self._deaths = 0 if len(again) < len(active) else self._deaths + 1
        for run in reversed(again):
            self._queue_again(run, self._deadlines.ended(run))
        for run in active:
            if run not in again:
                self._deadlines.ended(run)
                run.feed(exit.output, wake=False)
                run.fail(failures.killed_with_kernel(run, reason, exit.kind))
        for id in list(self._ahead):
            self._forget_ahead(id)
        if self._closed:
            return
        if self._deaths >= IDLE_DEATHS:
            self._give_up(failures.kernel_lost(f"the kernel {reason}, {self._deaths} times in a row"))
            return
        self.restarts += 1
        self._kernels.counters.kernel_restarts += 1
        self.restarted = time.time()
        self.observers.notify(KernelEvent.DIED)
        self.start()

    def _give_up(self, failure: Failed) -> None:
        self._deaths = 0
        self._fail_queued(failure)
        self.observers.notify(KernelEvent.FAILED)
        self._owner.session_failed(self)

    def _fail_queued(self, failure: Failed) -> None:
        """Fail the queued calls, but not those that were sent ahead, which the kernel may have begun."""
        for run in [run for run in self.queue if run.id not in self._ahead]:
            self.queue.remove(run)
            run.fail(failure)
