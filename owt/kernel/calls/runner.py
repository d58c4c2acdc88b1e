"""Running calls: one after another on the main thread, or several at once.

With a concurrency of 1 (the default) a call has the main thread and the session to itself, as a
notebook cell has. With more, plain adaptors run in a thread each and `async def` ones share the
main thread's event loop; cells still take turns.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from owt.kernel.calls import context
from owt.kernel.calls.active_runs import ActiveRun, RunTable
from owt.kernel.calls.connection import FrontendConnection
from owt.kernel.calls.execution import Execution, Outcome, Surroundings
from owt.kernel.calls.failure import describe, not_begun
from owt.kernel.calls.interrupts import Interrupts
from owt.kernel.calls.iopub import IopubMirror, RunMirror
from owt.kernel.calls.output_sender import OutputSender
from owt.kernel.calls.stdio import Streams
from owt.kernel.calls.user_code import InMainThread, InOtherThread
from owt.kernel.code import injected_names
from owt.kernel.code.prepared import Cell, Prepared
from owt.kernel.code.source import Sources
from owt.kernel.endpoints.registry import Registry
from owt.kernel.exit import end_process_group
from owt.kernel.process.memory_limit import Memory
from owt.summat import METHODS
from owt.summat.inputs import current_request
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Done, Failed
from owt.wire.messages import Output, Queued

INSIST_AFTER = 0.02
"""Seconds after which is seen to it that a run has noticed its cancel: a step that begins just before
may keep the event loop busy, and a signal that comes just before the main thread waits does not wake it."""


class Runner:
    """Runs the calls that arrive at this kernel."""

    def __init__(
        self,
        *,
        shell: Any,
        lane: FrontendConnection,
        loop: asyncio.AbstractEventLoop,
        later: Callable[[float, Callable[[], None]], None],
        window: int,
        concurrency: int,
        memory: Memory,
        mirror: IopubMirror | None = None,
    ) -> None:
        """`later(seconds, function)` calls a function in the control thread; `window` is each run's
        credit in bytes; the `mirror` shows runs to who is attached."""
        self.concurrency = concurrency
        self.turn = asyncio.Lock()
        self._lane = lane
        self._loop = loop
        self._later = later
        self._window = window
        self._memory = memory
        self._mirror = mirror
        self._runs = RunTable()
        self._streams = Streams()
        self._interrupts = Interrupts(self._interrupt_others)
        self._main = InMainThread(self._interrupts, loop)
        self.endpoints = Registry(shell, lane.send, lambda id: self._runs.get(id) is not None)
        injected = injected_names.names(shell.user_ns, self.endpoints.endpoint)
        context.give(injected)
        self.sources = Sources(shell.user_ns, injected, METHODS, shell.transform_cell)
        self._around = Surroundings(shell, self.sources, self.endpoints, self._interrupts, loop)
        shell.user_ns_hidden.update(injected)

    def start(self) -> None:
        """Take over SIGINT. In the main thread."""
        self._interrupts.install()

    # From the frontend ---------------------------------------------------------------------------

    def accept(self, id: str, call: Call) -> None:
        """Run this call when its turn comes. In the main thread."""
        seen = RunMirror(self._mirror, id, call) if self._mirror is not None else None
        sender = OutputSender(id, self._lane, self._window, self._interrupts, self._later, seen)
        run = ActiveRun(id, call, sender)
        if self._runs.add(run):
            run.task = self._loop.create_task(self._serve(run))

    def grant(self, id: str, amount: int) -> None:
        """The run's readers have taken some of its output. In the control thread."""
        run = self._runs.get(id)
        if run is not None:
            run.outlet.grant(amount)

    def cancel(self, id: str, reason: str) -> None:
        """End this run and no other, wherever it is. In the control thread.

        One that has not begun is answered from here: the main thread may be busy with a cell, or
        with something that must not be disturbed, and the call may still lie in the other lane.
        """
        taken, run = self._runs.take_back(id)
        if taken:
            self._end_early(id, run, describe(KeyboardInterrupt(), reason, None))
        elif run is not None:
            self._stop(run, reason)

    def overdue(self, id: str, timeout: float) -> None:
        """End this run if it has not begun in `timeout` seconds, unless it waits for its turn behind a
        cell; say so in any case. In the control thread."""
        run = self._runs.get(id)
        if run is not None and run.begun:
            return
        if self.turn.locked():
            self._lane.send(Queued(id))
            return
        taken, run = self._runs.take_back(id)
        if taken:
            self._end_early(id, run, not_begun(timeout))

    def _end_early(self, id: str, run: ActiveRun | None, failed: Failed) -> None:
        self._lane.send(Output(id, (failed, Done(failed.status, 0.0))))
        if run is not None and (task := run.task) is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def _stop(self, run: ActiveRun, reason: str) -> None:
        run.outlet.stop(reason)
        with self._runs.lock:
            if run.thread is not None:
                # Not while that thread writes a frame: it would be cut short.
                with self._lane.hold():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(run.thread), ctypes.py_object(KeyboardInterrupt)
                    )
                return
        if self._interrupts.run == run.id:
            self._aim(run)
        else:
            self._cancel_soon(run)

    def _interrupt_others(self, target: str | None) -> None:
        # In the main thread's signal handler, when no user code of the main thread was interrupted.
        for run in self._runs.all():
            if target == run.id:
                self._cancel_soon(run)
            elif target is None:
                self._later(0, lambda run=run: self._stop(run, "interrupted"))  # type: ignore[misc]

    def _aim(self, run: ActiveRun) -> None:
        """Interrupt a run that has the main thread, until that has noticed."""
        self._interrupts.aim(run.id)
        self._later(INSIST_AFTER, partial(self._aim_again, run))

    def _aim_again(self, run: ActiveRun) -> None:
        if self._interrupts.aimed == run.id:
            self._aim(run)

    def _cancel_soon(self, run: ActiveRun) -> None:
        """Cancel a run that awaits something, or interrupt it if it goes on before that happens."""
        self._loop.call_soon_threadsafe(self._cancel_task, run)
        self._later(INSIST_AFTER, partial(self._insist, run))

    def _insist(self, run: ActiveRun) -> None:
        if run in self._runs and (task := run.task) is not None and not task.cancelling():
            if self._interrupts.run == run.id:
                self._aim(run)
            else:
                self._later(INSIST_AFTER, partial(self._insist, run))

    def _cancel_task(self, run: ActiveRun) -> None:
        if run in self._runs and run.task is not None and run.thread is None:
            run.task.cancel()

    # One run ---------------------------------------------------------------------------------------

    async def _serve(self, run: ActiveRun) -> None:
        began = time.perf_counter()
        status = 200
        tail: tuple[Chunk, ...]
        context.current.set(run)
        current_request.set(lambda: run.request)
        try:
            prepared = self._prepare(run.call)
            execution = Execution(run, prepared, self._around)
            if self.concurrency > 1 and not (isinstance(prepared, Cell) or self.endpoints.is_cell(run.call)):
                self._begin(run)
                try:
                    outcome = await self._in_thread(run, execution)
                    tail = tuple(await execution.wait_for(outcome))
                finally:
                    self._streams.mend()
            else:
                async with self.turn:
                    began = time.perf_counter()
                    self._begin(run)
                    if self.concurrency == 1:
                        context.set_alone(run)
                    try:
                        tail = tuple(await execution.wait_for(self._in_main(run, execution)))
                    finally:
                        # What its child processes wrote is on its way through a pipe.
                        self._streams.take()
                        context.set_alone(None)
            status = execution.answer.status
            if run.outlet.stopped is not None:
                # The adaptor caught the interrupt and went on to an answer nobody waits for.
                raise KeyboardInterrupt
            self.endpoints.settle(run.id)
        except BaseException as error:
            if self.endpoints.give_up(run.id) and run.call.code is not None:
                # The next call of this code has to define them again.
                self.sources.forget(run.call.code)
            self._memory.relieve(error)
            failed = describe(error, run.outlet.stopped, run.call.timeout)
            status, tail = failed.status, (failed,)
            error.__traceback__ = None
            del error
        if not self._runs.end(run):
            # It was ended before it began, and has been answered.
            return
        try:
            run.outlet.finish((*tail, Done(status, time.perf_counter() - began)))
        except MemoryError:
            # The kernel cannot even say how the call ended.
            end_process_group()
        self._memory.keep_reserve()

    def _prepare(self, call: Call) -> Prepared | None:
        if call.code is None:
            return None
        if call.cell is not None:
            return self.sources.cell(call.code)
        if call.reload:
            self.sources.forget(call.code)
        return self.sources.prepare(call.code, call.fn_name)

    def _begin(self, run: ActiveRun) -> None:
        if not self._runs.begin(run):
            raise KeyboardInterrupt
        if run.outlet.reflection is not None:
            run.outlet.reflection.begin()
        if run.call.timeout is not None:
            # Its time runs from now, and the frontend's clock is the one that counts.
            self._lane.send(Output(run.id, ()))

    def _in_main(self, run: ActiveRun, execution: Execution) -> Outcome:
        self._interrupts.begin(run.id)
        try:
            if run.outlet.stopped is not None:
                raise KeyboardInterrupt
            return execution.begin(self._main)
        finally:
            self._interrupts.end()

    async def _in_thread(self, run: ActiveRun, execution: Execution) -> Outcome:
        """Run in a thread of its own, so that an interrupt that comes late hits nothing else."""
        # An error is given as a result: a future cannot hold StopIteration, and asyncio takes
        # interrupts for its own.
        done: asyncio.Future[Outcome | BaseException] = self._loop.create_future()
        surroundings = copy_context()

        def work() -> None:
            outcome: Outcome | BaseException
            try:
                try:
                    with self._runs.lock:
                        run.thread = threading.get_ident()
                    if run.outlet.stopped is not None:
                        raise KeyboardInterrupt
                    outcome = surroundings.run(execution.begin, InOtherThread())
                except BaseException as error:
                    outcome = error
                with self._runs.lock:
                    run.thread = None
            except BaseException as late:
                # The interrupt, of which there is only one, came between the two.
                run.thread = None
                outcome = late
            self._loop.call_soon_threadsafe(settle, outcome)

        def settle(outcome: Outcome | BaseException) -> None:
            if not done.done():
                done.set_result(outcome)

        threading.Thread(target=work, name=f"run {run.id}", daemon=True).start()
        outcome = await done
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome
