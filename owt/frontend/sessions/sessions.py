"""Table of named sessions, and the pool for calls that name none."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from owt.errors import BadRequest, Busy, NoSuchSession, OwtError, SessionDiffers
from owt.frontend.kernels.exit import Exit, ExitKind
from owt.frontend.kernels.kernel import Kernel, RunMessage
from owt.frontend.kernels.kernels import Kernels
from owt.frontend.problems import failed
from owt.frontend.runs.resuming import expect_reader
from owt.frontend.runs.runs import Run
from owt.frontend.sessions.deadlines import Limits
from owt.frontend.sessions.events import SessionOwner
from owt.frontend.sessions.failures import SHUTTING_DOWN, cancelled_in_queue, lost
from owt.frontend.sessions.pool import Pool
from owt.frontend.sessions.records import Records
from owt.frontend.sessions.session import RECONNECT, Session
from owt.wire.call import Call
from owt.wire.messages import KeptRun

MAX_CONCURRENCY = 1000


class _Nobody:
    """Owner of a kernel that is ended because it has no session."""

    def received(self, message: RunMessage) -> None:
        """Ignore a message."""

    def kernel_died(self, kernel: Kernel, exit: Exit) -> None:
        """Ignore the end."""


class Sessions(SessionOwner):
    """Named sessions. They are created when a call names them."""

    def __init__(
        self,
        *,
        kernels: Kernels,
        limits: Limits,
        pool: Pool,
        spec: str,
        max_sessions: int,
        idle_timeout: float | None,
        records: Records | None = None,
    ) -> None:
        """`spec` is the default kernelspec. Sessions that were not used for `idle_timeout` seconds (None:
        no limit) are ended, unless their names are in `kept`. `records` are those of this frontend and the
        next one, if sessions outlive it."""
        self.named: dict[str, Session] = {}
        self.kept: set[str] = set()
        self.pool = pool
        self.kernels = kernels
        self.records = records
        self._limits = limits
        self._spec = spec
        self._max_sessions = max_sessions
        self._idle_timeout = idle_timeout

    def submit(self, run: Run) -> None:
        """Give a call to the session that it names, or to the pool.

        Raises `BadRequest` for an unknown kernelspec or another one than the session's, `NoSuchSession` for a
        call without code to a session that does not exist, and `Busy` at a limit.
        """
        call = run.call
        if call.session is None:
            if call.env is not None or call.cwd is not None:
                field = "cwd" if call.env is None else "env"
                raise BadRequest(
                    field, "a call that names it needs a session to keep its kernel", hint="Add session=NAME"
                )
            if call.kernel is not None and call.kernel != self._spec:
                self.kernels.check_spec(call.kernel)
                raise BadRequest(
                    "kernel",
                    "a call that names a kernelspec needs a session to keep its kernel",
                    call.kernel,
                    hint="Add session=NAME",
                )
            self.pool.submit(run)
            return
        session = self.named.get(call.session)
        if session is None:
            if call.code is None and call.adaptor is None and call.operation is None:
                raise NoSuchSession(
                    "session", "a call without code needs a session that exists", call.session,
                    hint=f"Add the field code to make one. There are: {self._names()}",
                )
            session = self.create(call.session, call.kernel, env=call.env, cwd=call.cwd)
        elif call.kernel is not None and call.kernel != session.spec:
            raise BadRequest(
                "kernel", f"session {call.session} runs the kernelspec {session.spec!r}", call.kernel,
                hint="Leave the field out, or delete the session first",
            )
        elif call.env is not None or call.cwd is not None:
            self.check_environment(session, call.env, call.cwd)
        session.submit(run)

    def check_environment(self, session: Session, env: Mapping[str, str] | None, cwd: str | None) -> None:
        """Raise `SessionDiffers` if the session has other variables, or another directory. None is any."""
        hint = "Leave the field out, or delete the session first: owt session delete NAME"
        if env is not None and env != session.env:
            names = ", ".join(sorted(session.env)) or "no variables"
            problem = f"session {session.name} has another environment ({names})"
            raise SessionDiffers("env", problem, hint=hint)
        if cwd is not None and cwd != session.cwd:
            place = session.cwd or "the directory of its kernelspec"
            raise SessionDiffers("cwd", f"session {session.name} runs in {place}", cwd, hint=hint)

    def create(
        self,
        name: str,
        spec: str | None = None,
        concurrency: int = 1,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Session:
        """Return a new session. Its kernel is starting, or comes out of the pool. `env` has further variables
        for the environment of its kernels, and `cwd` is their working directory.

        Raises `BadRequest` for an unknown kernelspec or directory, and `Busy` if there are too many sessions
        or too few file descriptors.
        """
        # Before the kernelspec, since finding one takes a descriptor too.
        self.kernels.check_room()
        spec = spec or self._spec
        self.kernels.check_spec(spec)
        if not 1 <= concurrency <= MAX_CONCURRENCY:
            raise BadRequest("concurrency", f"give a whole number from 1 to {MAX_CONCURRENCY}", concurrency)
        if cwd is not None and not os.path.isdir(cwd):
            raise BadRequest("cwd", "there is no such directory on the server's machine", cwd)
        if len(self.named) >= self._max_sessions:
            raise Busy(
                f"there are {len(self.named)} sessions already (the limit is --max-sessions "
                f"{self._max_sessions}); delete one first: owt session delete NAME",
                retry_after=5,
            )
        session = Session(
            name,
            owner=self,
            kernels=self.kernels,
            limits=self._limits,
            spec=spec,
            concurrency=concurrency,
            env=env,
            cwd=cwd,
        )
        self.named[name] = session
        spare = self.pool.pop_spare() if spec == self._spec and not env and cwd is None else None
        if spare is not None:
            session.adopt(spare, concurrency)
            # Later: the call that needs this session comes first.
            asyncio.get_running_loop().call_later(0.05, self.pool.refill)
        else:
            session.start()
        if self.records is not None:
            self.records.follow(session)
        return session

    async def recover(self, restore: Callable[[KeptRun], Run], runs: Sequence[Run] = ()) -> None:
        """Go on with the sessions and the pool of an earlier frontend, and end its other kernels.

        `restore` returns a run that a kernel has, and `runs` are those that were recorded, in order.
        """
        if self.records is None:
            return
        records = self.records.read()
        of_session: defaultdict[str | None, list[Run]] = defaultdict(list)
        for run in runs:
            of_session[run.session].append(run)
        self.kernels.number_from(record.kernel for record in records if record.kernel is not None)
        for record in records:
            session = Session(
                record.name,
                owner=self,
                kernels=self.kernels,
                limits=self._limits,
                spec=record.spec,
                concurrency=record.concurrency,
                env=record.env,
                cwd=record.cwd,
            )
            kernel = None
            if record.kernel is not None:
                arguments = record.spec, record.name, record.concurrency, session
                kernel = await self.kernels.resume(record.kernel, *arguments)
            self.named[record.name] = session
            session.resume(record, kernel, restore, of_session[record.name], self.records.ending)
            self.records.follow(session)
        edition = self.kernels.edition(self._spec)
        recorded = {record.name for record in records}
        others = [run for run in runs if run.session not in recorded]
        sent: set[Run] = set()
        for id, kept in list(self.kernels.kept.items()):
            is_alive = kept.is_alive
            own = [run for run in others if run.sent_to == id]
            if any(kept.edition) and (is_alive or own):
                sent.update(own)
                await self.pool.resume(
                    id, is_current=kept.edition == edition, restore=restore, runs=own
                )
            elif (unneeded := await self.kernels.resume(id, self._spec, None, 1, _Nobody())) and is_alive:
                unneeded.kill("was not needed any more")
        for run in others:
            if run not in sent:
                self._submit_again(run, self.records.ending)

    def _submit_again(self, run: Run, ending: str) -> None:
        """Run a call of an earlier frontend for which no session was recorded, unless it was sent to a
        kernel, which has ended for the reason `ending`."""
        if (reason := run.cancel_reason) is not None:
            run.fail(cancelled_in_queue(run, reason))
        elif run.sent_to is not None or run.is_outline:
            run.fail(lost(ending))
        else:
            try:
                self.submit(run)
            except OwtError as error:
                run.fail(failed(error))
            asyncio.get_running_loop().call_later(RECONNECT, expect_reader, run)

    def spec_of(self, call: Call) -> str:
        """Return the kernelspec that a call names, or else that of its session."""
        session = None if call.session is None else self.named.get(call.session)
        return call.kernel or (self._spec if session is None else session.spec)

    def find(self, name: str) -> Session:
        """Return the session of this name. Raises `NoSuchSession`."""
        try:
            return self.named[name]
        except KeyError:
            raise NoSuchSession(
                "session", "no session has this name", name, hint=f"There are: {self._names()}"
            ) from None

    async def delete(self, name: str) -> None:
        """End a session and its kernel. Raises `NoSuchSession`."""
        session = self.find(name)
        del self.named[name]
        await session.close("its session was deleted")

    def cull(self) -> None:
        """End the sessions that were idle for too long."""
        if self._idle_timeout is None:
            return
        now = time.time()
        for name, session in list(self.named.items()):
            used = session.used or session.created
            idle = session.state in ("idle", "stuck") and not session.queue
            if idle and now - used > self._idle_timeout and name not in self.kept:
                del self.named[name]
                session.close_soon("its session was idle for too long")

    def check(self) -> None:
        """Find kernels that cannot begin calls, and kill those that have been unable to for too long."""
        for session in (*self.named.values(), *self.pool.members):
            session.check()

    async def close(self) -> None:
        """End every session and the pool."""
        sessions = list(self.named.values())
        await asyncio.gather(
            self.pool.close(), *(session.close(SHUTTING_DOWN, ExitKind.SHUTDOWN) for session in sessions)
        )

    def session_failed(self, session: Session) -> None:
        """Remove a session whose very first kernel could not be started."""
        if not session.ever_started and session.name is not None:
            self.named.pop(session.name, None)
            if self.records is not None:
                self.records.remove(session.name)

    def _names(self) -> str:
        return ", ".join(sorted(self.named)) or "none"
