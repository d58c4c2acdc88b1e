"""Sessions: a name bound to a kernel, a queue before it, and what happens when the kernel dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from owt.errors import Busy, KernelDied, KernelKilled, OwtError
from owt.frontend.kernels.kernel import Kernel
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import CancelReason, Run
from owt.frontend.sessions.codes import Codes
from owt.frontend.sessions.deadlines import Deadlines
from owt.frontend.sessions.failures import not_begun, unstarted, with_its_kernel, without_kernel
from owt.frontend.sessions.limits import IDLE_DEATHS, Limits
from owt.frontend.sessions.observers import Observers
from owt.wire.chunk import Failed
from owt.wire.messages import Cancel, Output, Queued

log = logging.getLogger("owt.sessions")

SessionState = Literal["starting", "idle", "busy", "dead"]


class Session:
    """One kernel and the calls that want it. The pool's members are sessions without a name.

    Calls begin in order of arrival, up to `concurrency` at a time. When the kernel dies, the calls
    that it was running fail and the queued ones go on with a fresh kernel.
    """

    def __init__(
        self,
        name: str | None,
        *,
        kernels: Kernels,
        limits: Limits,
        spec: str,
        concurrency: int = 1,
        on_idle: Callable[[Session], None] = lambda session: None,
        on_dead: Callable[[Session], None] = lambda session: None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.concurrency = concurrency
        self.created = time.time()
        self.last_used: float | None = None
        self.restarts = 0
        self.restarted: float | None = None
        self.last_death: str | None = None
        self.kernel: Kernel | None = None
        self.queue: deque[Run] = deque()
        self.active: dict[str, Run] = {}
        self.codes = Codes()
        self.calls = 0
        self.ever_started = False
        self.observers = Observers()
        self._kernels = kernels
        self._limits = limits
        self._starting: asyncio.Task[None] | None = None
        self._deadlines = Deadlines(limits.kill_after, lambda: self.kernel, self.cancel)
        self._deaths = 0
        self._closed = False
        self._on_idle = on_idle
        self._on_dead = on_dead

    @property
    def state(self) -> SessionState:
        """What the session is doing."""
        if self._closed:
            return "dead"
        if self.kernel is not None and self.kernel.alive:
            return "busy" if self.active or self.kernel.in_cell else "idle"
        # A kernel that is dying is replaced, which begins when it is known how it died.
        return "dead" if self._starting is None and self.kernel is None else "starting"

    @property
    def used(self) -> float | None:
        """When a call or a cell last began or ended, if one did."""
        return max(self.last_used or 0, (self.kernel and self.kernel.last_cell) or 0) or None

    @property
    def fresh(self) -> bool:
        """Whether no call has ever run on its kernel."""
        return self.calls == 0 and not self.queue

    def start(self) -> None:
        """Begin to start a kernel, unless one is there, dying (a new one follows) or on its way."""
        if self._starting is None and self.kernel is None and not self._closed:
            self._starting = asyncio.get_running_loop().create_task(self._start())

    async def started(self) -> None:
        """Start a kernel if there is none, and wait for it. Raises `KernelDied`, or `Busy`, when it cannot
        be had."""
        self.start()
        while not (self.kernel is not None and self.kernel.alive):
            if self._closed:
                raise KernelDied("the session was deleted before its kernel was ready")
            if self.kernel is not None:
                await self.kernel.closed()
            elif self._starting is not None:
                await asyncio.wait([self._starting])
            else:
                self._kernels.check_room()
                raise KernelDied(f"the kernel {self.last_death}")

    def adopt(self, spare: Session, concurrency: int) -> None:
        """Take over the kernel of a pool member that has never run anything."""
        kernel, spare.kernel = spare.kernel, None
        assert kernel is not None
        assert spare.fresh
        spare._closed = True
        self.concurrency = concurrency
        self.kernel = kernel
        self.ever_started = True
        kernel.on_output = self._output
        kernel.on_death = self._died
        kernel.bind(self.name, concurrency)

    async def _start(self) -> None:
        try:
            kernel = await self._kernels.start(
                self.spec, self.name, self.concurrency, self._output, self._died
            )
        except Exception as error:
            self._starting = None
            self._not_started(error)
            return
        self._starting = None
        if self._closed:
            kernel.kill("was not needed any more")
            return
        self.kernel = kernel
        self.ever_started = True
        self.observers.tell("started")
        if kernel.death is not None:
            # It ended between its hello and now.
            self._died(kernel, kernel.death)
            return
        self._pump()
        if not self.active:
            self._on_idle(self)

    def _not_started(self, error: Exception) -> None:
        failure = unstarted(error)
        unexpected = None if isinstance(error, OwtError) else error
        log.error("%s: %s", self.label, failure.detail, exc_info=unexpected)
        self.last_death = failure.detail.removeprefix("the kernel ")
        if isinstance(error, KernelKilled) and not self._closed:
            # Calls have not begun, so they can go on with the next one.
            self._deaths += 1
            if self._deaths < IDLE_DEATHS:
                self.start()
                return
            failure = without_kernel(f"{failure.detail} ({self._deaths} times in a row)")
        self._give_up(failure)

    def _died(self, kernel: Kernel, reason: str) -> None:
        if self.kernel is not kernel:
            return
        self.kernel = None
        self.codes.clear()
        self.last_death = reason
        log.log(logging.INFO if self._closed else logging.WARNING, "%s: the kernel %s", self.label, reason)
        # A death during a call is that call's; only kernels that die by themselves could go on so.
        self._deaths = 0 if self.active else self._deaths + 1
        for run in list(self.active.values()):
            self._deadlines.ended(run)
            run.fail(with_its_kernel(run, reason))
        self.active.clear()
        if self._closed:
            return
        if self._deaths >= IDLE_DEATHS:
            self._give_up(without_kernel(f"the kernel {reason}, {self._deaths} times in a row"))
            return
        self.restarts += 1
        self._kernels.counters.kernel_restarts += 1
        self.restarted = time.time()
        self.observers.tell("died")
        self.start()

    def _give_up(self, failure: Failed) -> None:
        """Fail what waits; the next call tries again with a new kernel."""
        self._deaths = 0
        waiting, self.queue = self.queue, deque()
        for run in waiting:
            run.fail(failure)
        self.observers.tell("given-up")
        self._on_dead(self)

    def submit(self, run: Run) -> None:
        """Run this call when its turn comes. Raises `Busy` when too many wait, or no kernel can be had."""
        # Those that only wait for the kernel to start are as good as running.
        waiting = len(self.queue) + len(self.active) - self.concurrency
        if waiting >= self._limits.queue:
            raise Busy(
                f"{self.label} already has {waiting} calls waiting (the limit is --queue "
                f"{self._limits.queue}); try again later or use another session"
            )
        if self.kernel is None and self._starting is None:
            self._kernels.check_room()
        self.last_used = time.time()
        run.enqueue(self)
        self.queue.append(run)
        if self.kernel is not None and self.kernel.alive:
            self._pump()
        else:
            self.start()

    def cancel(self, run: Run, reason: CancelReason) -> None:
        """End one run of this session: out of the queue, or interrupted in its kernel."""
        if run.ended:
            return
        if run in self.queue:
            self.queue.remove(run)
            run.fail(not_begun(reason))
            return
        if run.cancel_reason is None and self.kernel is not None and run.id in self.active:
            run.cancel_reason = reason
            self.kernel.cancel(Cancel(run.id, reason))
            self._deadlines.cancelled(run)

    async def interrupt(self) -> bool:
        """Interrupt whatever the kernel is doing, a cell before the calls that wait for it; queued calls
        stay. False: there is no kernel."""
        if self.kernel is None or not self.kernel.alive:
            return False
        if self.active and not self.kernel.in_cell:
            for run in list(self.active.values()):
                self.cancel(run, "interrupted")
        else:
            await self.kernel.interrupt()
        return True

    async def restart(self) -> None:
        """A fresh kernel: calls in flight fail, queued ones go on with it. Waits until it is there.

        Raises `KernelDied` when it cannot be started.
        """
        self._deaths = 0
        if self.kernel is not None:
            self.observers.tell("restarting")
            self.kernel.kill("was restarted on request")
            await self.kernel.closed()
        self.start()
        await self.started()

    async def close(self, cause: str) -> None:
        """End the kernel; calls in flight and queued ones fail, and hear the `cause`."""
        self._closed = True
        self.observers.tell("closed")
        waiting, self.queue = self.queue, deque()
        for run in waiting:
            run.fail(without_kernel(f"the call was not begun because {cause}", "the session is gone"))
        if self._starting is not None:
            self._starting.cancel()
        if (kernel := self.kernel) is not None:
            kernel.kill(f"was ended because {cause}")
            await kernel.closed()

    @property
    def label(self) -> str:
        """The session in a message for people."""
        return "a kernel of the pool" if self.name is None else f"session {self.name}"

    def _pump(self) -> None:
        kernel = self.kernel
        while self.queue and kernel is not None and kernel.alive and len(self.active) < self.concurrency:
            run = self.queue.popleft()
            self.active[run.id] = run
            self.calls += 1
            self.codes.add(run.call.code)
            run.start(kernel)
            kernel.invoke(run.id, run.call)
            self._deadlines.given(run)

    def _output(self, message: Output | Queued) -> None:
        run = self.active.get(message.run)
        if run is None:
            return
        if isinstance(message, Queued):
            self._deadlines.behind(run)
            return
        self._deadlines.begun(run)
        run.feed(message.chunks)
        if run.ended:
            self._deaths = 0
            del self.active[run.id]
            self._deadlines.ended(run)
            self.last_used = run.ended_at
            if self.queue:
                self._pump()
            elif not self.active:
                self._on_idle(self)
