"""Pool: kernels for calls without a session, and fresh kernels for new sessions."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from owt.errors import Busy, WaitsForItself
from owt.frontend.kernels.exit import ExitKind
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.runs.runs import CancelReason, Run
from owt.frontend.sessions import waiting
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.events import SessionOwner
from owt.frontend.sessions.failures import SHUTTING_DOWN, cancelled_in_queue, not_begun, start_failure
from owt.frontend.sessions.session import Session
from owt.wire.messages import KeptRun

FIRST_RETRY, LAST_RETRY = 0.5, 30.0
"""Seconds before a failed start of a spare is retried; they double each time, up to the last."""
RECENT = 10.0
"""Seconds for which a failed start counts as the pool's problem, if only calls start kernels."""


class Pool(SessionOwner):
    """Members, which have run calls and can run more, and spares, which have run none.

    A call goes to an idle member that has loaded its code, else to the idle member that was used last, else
    to a spare, else to a new member if there are fewer than `max_members`. Otherwise it waits.

    A stuck member gets no calls, and the calls that it has not begun go to others. It does not count as one
    of the `max_members` until it is killed, unless as many are stuck.

    A member of an earlier frontend that this one does not need, or would start in another way, ends as soon
    as it has no run.
    """

    def __init__(
        self,
        *,
        kernels: Kernels,
        limits: Limits,
        spec: str,
        min_spares: int,
        max_members: int,
        max_nested: int = 0,
    ) -> None:
        """Calls that calls make may have `max_nested` more members, because each caller holds one."""
        self.members: list[Session] = []
        self.spares: list[Session] = []
        self.waiting: deque[Run] = deque()
        self._kernels = kernels
        self._limits = limits
        self._spec = spec
        self._min_spares = min_spares
        self._max_members = max_members
        self._max_nested = max_nested
        # Members of an earlier frontend that end as soon as they are idle.
        self._leaving: set[Session] = set()
        self._closed = False
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None

    @property
    def kernel_count(self) -> int:
        """Return the number of members and spares that have a kernel."""
        return sum(session.kernel is not None for session in (*self.members, *self.spares))

    @property
    def has_kernel(self) -> bool:
        """Return True if there is a kernel that calls could be sent to, busy or not."""
        sessions = (*self.members, *self.spares)
        return any(session.kernel is not None and session.kernel.alive for session in sessions)

    @property
    def problem(self) -> str | None:
        """Return why the last start of a kernel failed, or None."""
        failure = self._kernels.failures.get(self._spec)
        if failure is None or (self._min_spares == 0 and time.monotonic() - failure.moment > RECENT):
            return None
        return failure.problem

    def refill(self) -> None:
        """Start spares until there are `min_spares`, as far as there is room."""
        while len(self.spares) < self._min_spares and not self._closed and self._has_room():
            spare = self._new_session()
            self.spares.append(spare)
            spare.start()

    async def resume(
        self, id: str, *, is_current: bool, restore: Callable[[KeptRun], Run], runs: Sequence[Run]
    ) -> None:
        """Go on with a kernel of an earlier frontend's pool; unless it `is_current`, only until its runs have
        ended. `restore` returns a run that the kernel has, and `runs` are those that it was sent."""
        session = self._new_session()
        kernel = await self._kernels.resume(id, self._spec, None, 1, session)
        if kernel is None:
            return
        session.resume_kernel(kernel, restore, runs)
        if is_current and not session.calls and len(self.spares) < self._min_spares:
            self.spares.append(session)
            return
        self.members.append(session)
        if not (is_current and session.calls):
            self._leaving.add(session)

    def submit(self, run: Run) -> None:
        """Run a call on a kernel of the pool.

        Raises `Busy` if too many calls wait, or if there is no room for a kernel to wait for.
        """
        member = self._choose(run)
        if member is not None:
            member.submit(run)
            return
        if run.caller is not None:
            self._check_nesting(run)
        if len(self.waiting) >= self._limits.queue:
            raise Busy(
                f"all {self._max_members} kernels of the pool are busy (--pool-max) and {len(self.waiting)} "
                f"calls wait (--queue {self._limits.queue}); try again later"
            )
        run.enqueue(self)
        self.waiting.append(run)

    def _check_nesting(self, run: Run) -> None:
        """Raise `Busy` for a call that waits for its own callers, which hold all kernels."""
        try:
            waiting.check(run, self.holders(), "the pool")
        except WaitsForItself:
            raise Busy(
                "all kernels of the pool are held by calls that wait for this one: nested calls may have "
                f"{self._max_nested} kernels (--pool-nested) beyond the {self._max_members} of --pool-max"
            ) from None

    def holders(self) -> list[Run]:
        """Return the runs one of which has to end before the next waiting one can begin."""
        return [run for member in self.members for run in member.holders()]

    def cancel(self, run: Run, reason: CancelReason) -> None:
        """Fail a run that waits for a kernel."""
        if run in self.waiting:
            self.waiting.remove(run)
            run.fail(cancelled_in_queue(run, reason))

    def pop_spare(self) -> Session | None:
        """Remove and return a spare whose kernel is ready, or None."""
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
            run.fail(not_begun(SHUTTING_DOWN, ExitKind.SHUTDOWN))
        await asyncio.gather(
            *(session.close(SHUTTING_DOWN, ExitKind.SHUTDOWN) for session in (*self.members, *self.spares))
        )

    def session_idle(self, session: Session) -> None:
        """Give the next waiting call to this member."""
        if self._failures and session in self.spares:
            self._failures = 0
        if session not in self.members:
            return
        if session in self._leaving:
            self._leaving.remove(session)
            self.members.remove(session)
            session.close_soon("the pool has no use for it")
            return
        # Others than this one run calls. Beyond the limit, only nested calls may.
        room = self._usable <= self._max_members or self._busy < self._max_members
        for run in self.waiting:
            if room or run.caller is not None:
                self.waiting.remove(run)
                session.submit(run)
                return
        if self._usable > self._max_members:
            # It was for a nested call, or replaces a stuck one.
            self.members.remove(session)
            session.close_soon("the pool has more kernels than it needs")

    def session_stuck(self, session: Session) -> None:
        """Give the calls that a member has not begun to others."""
        for run in session.release_queue():
            if (member := self._choose(run)) is not None:
                member.submit(run)
            else:
                run.enqueue(self)
                self.waiting.appendleft(run)

    def session_failed(self, session: Session) -> None:
        """Remove a session that cannot get a kernel. Calls that waited for it go to others, or fail."""
        if session in self.members:
            self.members.remove(session)
            self._leaving.discard(session)
        if session in self.spares:
            # Retry later: otherwise a broken environment would start kernels in a loop.
            self.spares.remove(session)
            self._refill_later()
        while self.waiting and not self.members:
            run = self.waiting.popleft()
            try:
                self.submit(run)
            except Busy as error:
                run.fail(start_failure(error))

    def _choose(self, run: Run) -> Session | None:
        best: Session | None = None
        for member in self.members:
            if member.state == "idle" and not member.queue and member not in self._leaving:
                if member.knows(run.call.code):
                    return member
                if best is None or (member.last_used or 0) > (best.last_used or 0):
                    best = member
        limit = self._max_members + (self._max_nested if run.caller is not None else 0)
        if best is not None or self._usable >= limit:
            return best
        if not self.spares:
            if not self.members:
                self._kernels.check_room()
            elif not self._has_room():
                return None
        member = self.pop_spare() or (self.spares.pop(0) if self.spares else self._new_session())
        self.members.append(member)
        self.refill()
        return member

    @property
    def stuck(self) -> int:
        """Return the number of members that cannot begin a call."""
        return sum(member.state == "stuck" for member in self.members)

    @property
    def _usable(self) -> int:
        return len(self.members) - min(self.stuck, self._max_members)

    @property
    def _busy(self) -> int:
        return sum(member.state == "busy" for member in self.members)

    def _has_room(self) -> bool:
        """Return True if one more kernel can be started."""
        try:
            self._kernels.check_room()
        except Busy:
            return False
        return True

    def _new_session(self) -> Session:
        return Session(None, owner=self, kernels=self._kernels, limits=self._limits, spec=self._spec)

    def _refill_later(self) -> None:
        if self._retry is None and not self._closed:
            delay = min(FIRST_RETRY * 2**self._failures, LAST_RETRY)
            self._failures += 1
            self._retry = asyncio.get_running_loop().call_later(delay, self._retry_refill)

    def _retry_refill(self) -> None:
        self._retry = None
        self.refill()
