"""The pool: kernels for calls that name no session, and fresh ones for new sessions."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from owt.errors import Busy
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import CancelReason, Run
from owt.frontend.sessions.failures import not_begun, unstarted, without_kernel
from owt.frontend.sessions.limits import Limits
from owt.frontend.sessions.session import Session

FIRST_RETRY, LAST_RETRY = 0.5, 30.0
"""Seconds until a spare that could not be had is tried again: twice as many each time."""
RECENT = 10.0
"""Seconds for which a failed start says that no kernel can be had, where nobody but a call tries again."""


class Pool:
    """Members that have run something, for more of the same, and spares that have not.

    A call goes to an idle member that has loaded this very code, else to the most recently used
    idle one, else to a spare, else to a new member while there are fewer than `most`, else it waits.
    """

    def __init__(self, *, kernels: Kernels, limits: Limits, spec: str, least: int, most: int) -> None:
        """`least` spares are kept ready; at most `most` members run calls."""
        self.members: list[Session] = []
        self.spares: list[Session] = []
        self.waiting: deque[Run] = deque()
        self._kernels = kernels
        self._limits = limits
        self._spec = spec
        self._least = least
        self._most = most
        self._closed = False
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None

    @property
    def has_kernel(self) -> bool:
        """Whether there is a kernel that calls could be sent to, busy or not."""
        everyone = (*self.members, *self.spares)
        return any(each.kernel is not None and each.kernel.alive for each in everyone)

    @property
    def problem(self) -> str | None:
        """Why a kernel could not be started when that was last tried, if it could not."""
        failure = self._kernels.failures.get(self._spec)
        if failure is None or (self._least == 0 and time.monotonic() - failure.moment > RECENT):
            return None
        return failure.problem

    def refill(self) -> None:
        """Have `least` spares ready or on their way, if there is room."""
        while len(self.spares) < self._least and not self._closed and self._room():
            spare = self._new()
            self.spares.append(spare)
            spare.start()

    def submit(self, run: Run) -> None:
        """Run a call on a kernel of the pool. Raises `Busy` when too many wait already, and when there is
        no room for a kernel to wait for."""
        member = self._choose(run)
        if member is not None:
            member.submit(run)
        elif len(self.waiting) >= self._limits.queue:
            raise Busy(
                f"all {self._most} kernels of the pool are busy (--pool-max) and {len(self.waiting)} "
                f"calls wait (--queue {self._limits.queue}); try again later"
            )
        else:
            run.enqueue(self)
            self.waiting.append(run)

    def cancel(self, run: Run, reason: CancelReason) -> None:
        """Fail a run that waits for a kernel."""
        if run in self.waiting:
            self.waiting.remove(run)
            run.fail(not_begun(reason))

    def spare(self) -> Session | None:
        """A ready kernel that has never run anything, for a new session; the pool has one less."""
        for spare in self.spares:
            if spare.state == "idle":
                self.spares.remove(spare)
                return spare
        return None

    async def close(self) -> None:
        """End every kernel of the pool."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        waiting, self.waiting = self.waiting, deque()
        for run in waiting:
            run.fail(without_kernel("the server is ending", "the server is ending"))
        await asyncio.gather(
            *(session.close("the server is ending") for session in (*self.members, *self.spares))
        )

    def _choose(self, run: Run) -> Session | None:
        code = run.call.code
        best: Session | None = None
        for member in self.members:
            if member.state == "idle" and not member.queue:
                if code in member.codes:
                    return member
                if best is None or (member.last_used or 0) > (best.last_used or 0):
                    best = member
        if best is not None or len(self.members) >= self._most:
            return best
        if not self.spares:
            if not self.members:
                self._kernels.check_room()
            elif not self._room():
                return None
        member = self.spare() or (self.spares.pop(0) if self.spares else self._new())
        self.members.append(member)
        self.refill()
        return member

    def _room(self) -> bool:
        """Whether one more kernel can be started."""
        try:
            self._kernels.check_room()
        except Busy:
            return False
        return True

    def _new(self) -> Session:
        return Session(
            None,
            kernels=self._kernels,
            limits=self._limits,
            spec=self._spec,
            on_idle=self._idle,
            on_dead=self._dead,
        )

    def _idle(self, session: Session) -> None:
        if self._failures and session in self.spares:
            self._failures = 0
        if self.waiting and session in self.members:
            session.submit(self.waiting.popleft())

    def _dead(self, session: Session) -> None:
        """A member that cannot get a kernel. Its place is free, and what waits must not wait for it."""
        if session in self.members:
            self.members.remove(session)
        if session in self.spares:
            # Not replaced at once, or a broken environment would start kernels in a loop.
            self.spares.remove(session)
            self._refill_later()
        while self.waiting and not self.members:
            run = self.waiting.popleft()
            try:
                self.submit(run)
            except Busy as error:
                run.fail(unstarted(error))

    def _refill_later(self) -> None:
        if self._retry is None and not self._closed:
            delay = min(FIRST_RETRY * 2**self._failures, LAST_RETRY)
            self._failures += 1
            self._retry = asyncio.get_running_loop().call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.refill()
