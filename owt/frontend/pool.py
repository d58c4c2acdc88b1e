"""The pool: kernels for calls that name no session, and fresh ones for new sessions."""

from __future__ import annotations

import asyncio
from collections import deque

from owt.errors import Busy
from owt.frontend.endings import Reason, not_begun, without_kernel
from owt.frontend.kernels import Kernels
from owt.frontend.runs import Run
from owt.frontend.session import Limits, Session


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

    def refill(self) -> None:
        """Have `least` spares ready or on their way."""
        while len(self.spares) < self._least and not self._closed:
            spare = self._new()
            self.spares.append(spare)
            spare.start()

    def submit(self, run: Run) -> None:
        """Run a call on a kernel of the pool. Raises `Busy` when too many wait already."""
        member = self._choose(run)
        if member is not None:
            member.submit(run)
        elif len(self.waiting) >= self._limits.queue:
            raise Busy(
                f"all {self._most} kernels of the pool are busy (--pool-max) and {len(self.waiting)} "
                f"calls wait (--queue {self._limits.queue}); try again later"
            )
        else:
            self.waiting.append(run)

    def cancel(self, run: Run, reason: Reason) -> None:
        """End a run of the pool, wherever it is."""
        if run in self.waiting:
            self.waiting.remove(run)
            run.fail(not_begun(reason))
        for member in self.members:
            if run.id in member.active or run in member.queue:
                member.cancel(run, reason)

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
        member = self.spare() or (self.spares.pop(0) if self.spares else self._new())
        self.members.append(member)
        self.refill()
        return member

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
        if self.waiting and session in self.members:
            session.submit(self.waiting.popleft())

    def _dead(self, session: Session) -> None:
        """A member that cannot get a kernel. Its place is free, and what waits must not wait for it."""
        if session in self.members:
            self.members.remove(session)
        if session in self.spares:
            # Not replaced at once, or a broken environment would start kernels in a loop.
            self.spares.remove(session)
        if self.waiting and not self.members:
            self.submit(self.waiting.popleft())
