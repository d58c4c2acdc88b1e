"""Runner of calls: one after another on the main thread, or several at once.

With a concurrency of 1 (the default) a call has the main thread and the session to itself, as a notebook's
cell has. With more, plain adaptors run in a thread each and `async def` ones share the main thread's event
loop; cells still run one after another.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from owt.kernel import context, flask_requests
from owt.kernel.calls.active_runs import ActiveRun, RunTable
from owt.kernel.calls.advice import with_advice
from owt.kernel.calls.connection import FrontendConnection
from owt.kernel.calls.event_loops import PlainLoop
from owt.kernel.calls.execution import Environment, Execution, Progress
from owt.kernel.calls.failure import describe, last_resort
from owt.kernel.calls.figures import Figures
from owt.kernel.calls.interrupts import InMainThread, InOtherThread, InStep, Interrupts, Stopped
from owt.kernel.calls.iopub import IopubMirror, RunMirror
from owt.kernel.calls.kept_runs import KeptRun
from owt.kernel.calls.output_sender import OutputSender
from owt.kernel.calls.process_state import ProcessState
from owt.kernel.calls.stdio import Streams
from owt.kernel.code.adaptor_files import AdaptorFolder
from owt.kernel.code.cells import CallEvents, CellRunner
from owt.kernel.code.compiled import CompiledCell, CompiledCode, ExplicitCode
from owt.kernel.code.source import Sources
from owt.kernel.endpoints.registry import Registry
from owt.kernel.exit import end_process_group
from owt.kernel.memory_limit import MemoryLimit
from owt.summat import METHODS
from owt.summat.inputs import current_request
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Done, Failed
from owt.wire.messages import INPUT_LOST, Accepted, Input, Keep, Output, Queued, Withdrawn

UNLIMITED = 1 << 60
"""Credit, in bytes, that no run uses up."""

RETRY_INTERRUPT = 0.02
"""Seconds after which the runner checks that a run has noticed its cancel. A step that begins just before may
keep the event loop busy, and a signal that arrives just before the main thread waits does not end the
wait."""


class Runner:
    """Runner of the calls that arrive at this kernel."""

    def __init__(
        self,
        *,
        shell: Any,
        connection: FrontendConnection,
        loop: asyncio.AbstractEventLoop,
        call_later: Callable[[float, Callable[[], None]], None],
        window: int,
        concurrency: int,
        memory: MemoryLimit,
        mirror: IopubMirror | None = None,
        folder: AdaptorFolder | None = None,
    ) -> None:
        """Create the runner of a kernel with this shell.

        `call_later(seconds, function)` calls a function in the control thread; `window` is each run's credit
        in bytes; the `mirror` shows runs in attached notebooks; the `folder` has files of adaptors.
        """
        self.concurrency = concurrency
        self.turn = asyncio.Lock()
        self.runs = RunTable()
        # Number of Jupyter's messages that ipykernel handles now.
        self.handlers = 0
        self._received = 0
        self._connection = connection
        self._loop = loop
        self._call_later = call_later
        self.window = window
        self._memory = memory
        self._mirror = mirror
        self._streams = Streams()
        self._new_folder = tempfile.mkdtemp if folder is None else folder.new_folder
        self._state = ProcessState()
        self._interrupts = Interrupts(self._interrupt_others)
        self._in_main = InMainThread(self._interrupts, loop)
        self._plain_loop = PlainLoop()
        self.endpoints = Registry(shell, connection.send, lambda id: self.runs.get(id) is not None)
        names = context.injected_names(shell.user_ns, self.endpoints.endpoint)
        context.provide(names)
        self.sources = Sources(
            shell.user_ns, names, METHODS, shell.transform_cell,
            is_active=lambda text: any(run.call.code == text for run in self.runs.all()),
            folder=folder,
        )
        self._environment = Environment(
            shell, self.sources, CellRunner(shell, self.sources), self.endpoints, self._interrupts, loop,
            self._collect_output, CallEvents(shell)
        )
        shell.user_ns_hidden.update(names)

    def start(self) -> None:
        """Install the handler of SIGINT. Call it in the main thread."""
        self._interrupts.install()

    # Messages of the frontend ----------------------------------------------------------------------

    def accept(self, id: str, call: Call, number: int = 0, keep: Keep | None = None) -> None:
        """Start a run of this call, which is the frontend's message of this number. Call it on the loop. With
        `keep`, the run outlives the frontend.

        A run that is alone and does not wait has ended when this returns.
        """
        mirror = RunMirror(self._mirror, id, call) if self._mirror is not None else None
        sender = OutputSender(
            id, self._connection, self.window, self._interrupts, self._call_later, mirror
        )
        run = ActiveRun(id, call, sender, self._new_folder)
        run.number = number
        if keep is not None:
            run.kept = sender.kept = KeptRun(id, call, keep, sender)
        if not self.runs.add(run):
            return
        if keep is not None:
            if call.detach:
                # It waits for no reader.
                sender.grant(UNLIMITED)
            self._connection.send(Accepted(id))
        serving = self._serve(run)
        if sys.version_info < (3, 11):
            # Tasks cannot be given a context there, so a run begins in that of its task.
            run.task = self._loop.create_task(serving)
            return
        run_context = copy_context()
        if self._is_alone(run):
            # A task would begin in the next pass of the event loop.
            try:
                run_context.run(serving.send, None)
            except StopIteration:
                return
        run.task = self._loop.create_task(serving, context=run_context)

    def _is_alone(self, run: ActiveRun) -> bool:
        """Return True if nothing has the main thread's turn, or waits for it, before this run."""
        waits = self.concurrency > 1 or self.handlers > 0 or self.turn.locked()
        return not waits and self.runs.all() == [run]

    def grant(self, id: str, amount: int) -> None:
        """Add credit for the run's output. Call it in the control thread."""
        run = self.runs.get(id)
        if run is not None:
            run.sender.grant(amount)

    def add_input(self, item: Input) -> None:
        """Add an item to the input of its run. Call it in the control thread."""
        if (run := self.runs.get(item.run)) is not None:
            run.input.add(item)

    def end_input(self, id: str, error: str | None) -> None:
        """End the run's input. Call it in the control thread."""
        if (run := self.runs.get(id)) is not None:
            run.input.end(error)

    def cancel(self, id: str, reason: str) -> None:
        """Stop this run and no other. Call it in the control thread.

        A run that has not begun is answered from here: the main thread may be busy with a cell or with
        something that must not be interrupted, and the call may not have been received yet.
        """
        withdrawn, run = self.runs.withdraw(id)
        if withdrawn:
            failed = describe(KeyboardInterrupt(), reason, None)
            if reason != "timeout":
                failed = msgspec.structs.replace(failed, detail=f"{failed.detail} before it began")
            self._answer_unstarted(id, run, failed)
        elif run is not None:
            self._stop(run, reason)

    def withdraw(self, id: str) -> None:
        """Keep this run, or the `Ping` that it stands for, from beginning, and report it. Call it in the
        control thread.

        A run stays if the main thread works for calls or notebooks: then it is not blocked, but busy.
        """
        run = self.runs.get(id)
        if (run is None or not run.begun) and self._is_working(run):
            self._connection.send(Queued(id))
            return
        withdrawn, run = self.runs.withdraw(id)
        if withdrawn:
            self._end_unstarted(run)
            # The frontend has it again.
            self.runs.forget(id)
            self._connection.send(Withdrawn(id))
        else:
            self._connection.send(Output(id, ()))

    def _is_working(self, run: ActiveRun | None) -> bool:
        """Return True if the main thread works, or may work, on something of owt's or Jupyter's."""
        receiver = self._connection.receiver
        before, self._received = self._received, receiver.received
        receiving = receiver.incomplete and self._received > before
        return (
            receiving
            or self.turn.locked()
            or self.handlers > 0
            or (run is not None and run.compiling)
            or any(other.begun for other in self.runs.all())
        )

    def disconnected(self) -> None:
        """Handle the end of the frontend: cancel its runs, except those that are kept. Call it in the control
        thread."""
        for run in self.runs.forget_frontend():
            if run.kept is None:
                self.cancel(run.id, "cancelled")
                # A run that goes on, as it ignores its cancel, must not wait for ever.
                run.sender.abandon()
            elif run.call.request.input_size:
                run.input.break_off(INPUT_LOST)
        self.endpoints.disconnected()

    def _answer_unstarted(self, id: str, run: ActiveRun | None, failed: Failed) -> None:
        kept = None if run is None else run.kept
        self._connection.send(Output(id, (failed, Done(failed.status, 0.0))), (), kept)
        self._end_unstarted(run)

    def _end_unstarted(self, run: ActiveRun | None) -> None:
        if run is not None and (task := run.task) is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def exited(self, run: context.Run, error: BaseException) -> None:
        """End a run one of whose tasks or callbacks has raised this SystemExit or KeyboardInterrupt. Call it
        in the main thread."""
        active = self.runs.get(run.id)
        if active is run and active.task is not None and active.thread is None:
            active.exit = active.exit or error
            active.cancelled = True
            active.task.cancel()

    # Stopping a run --------------------------------------------------------------------------------

    def _stop(self, run: ActiveRun, reason: str) -> None:
        run.sender.stop(reason)
        with self.runs.lock:
            if run.thread is not None:
                # Not while that thread writes a frame: it would be cut short.
                with self._connection.hold():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(run.thread), ctypes.py_object(KeyboardInterrupt)
                    )
                return
        if self._interrupts.run == run.id:
            self._interrupt(run)
        else:
            self._cancel_soon(run)

    def _interrupt_others(self, target: str | None) -> None:
        # In the main thread's signal handler: the signal was not for the run that has the main thread.
        for run in self.runs.all():
            if target == run.id:
                self._cancel_soon(run)
            elif target is None and run.begun:
                self._call_later(0, partial(self._stop, run, "interrupted"))

    def _interrupt(self, run: ActiveRun) -> None:
        """Interrupt a run that has the main thread, until the main thread has noticed."""
        self._interrupts.interrupt(run.id)
        self._call_later(RETRY_INTERRUPT, partial(self._interrupt_again, run))

    def _interrupt_again(self, run: ActiveRun) -> None:
        # `traceback` catches interrupts in the methods of an exception, and calls those of the next.
        if self._interrupts.unnoticed == run.id or (run.failing and self._interrupts.run == run.id):
            self._interrupt(run)

    def _cancel_soon(self, run: ActiveRun) -> None:
        """Cancel a run that awaits something, or interrupt it if it continues before that happens."""
        self._loop.call_soon_threadsafe(self._cancel_task, run)
        self._call_later(RETRY_INTERRUPT, partial(self._check_cancelled, run))

    def _check_cancelled(self, run: ActiveRun) -> None:
        if run in self.runs and not run.cancelled:
            if self._interrupts.run == run.id:
                self._interrupt(run)
            else:
                self._call_later(RETRY_INTERRUPT, partial(self._check_cancelled, run))

    def _cancel_task(self, run: ActiveRun) -> None:
        if run in self.runs and run.task is not None and run.thread is None:
            run.cancelled = True
            run.task.cancel()

    # One run ---------------------------------------------------------------------------------------

    async def _serve(self, run: ActiveRun) -> None:
        began = time.perf_counter()
        last: tuple[Chunk, ...]
        if self.concurrency > 1 or not self.turn.locked():
            self._connection.note_handled(run.number)
        context.current.set(run)
        current_request.set(lambda: run.request)
        try:
            run.compiling = True
            code = self._compile(run.call)
            run.compiling = False
            if run.task is None and code is not None and not isinstance(code, ExplicitCode):
                # The code may use the loop, for which `asyncio` needs a task.
                await asyncio.sleep(0)
            execution = Execution(run, code, self._environment)
            is_cell = isinstance(code, CompiledCell) or self.endpoints.is_cell(run.call)
            if self.concurrency > 1 and not is_cell:
                chunks = await self._overlapping(run, execution)
            else:
                async with self.turn:
                    self._connection.note_handled(run.number)
                    began = time.perf_counter()
                    chunks = await self._alone(run, execution)
            if run.sender.stop_reason is not None:
                # The adaptor caught the interrupt and returned a result that is no longer wanted.
                raise KeyboardInterrupt
            if run.exit is not None:
                raise Stopped(run.exit)
            self.endpoints.commit(run.id)
            status, last = execution.encoder.status, tuple(chunks)
        except BaseException as error:
            if self.endpoints.discard(run.id) and run.call.code is not None:
                # The next call of this code has to define its endpoints again.
                self.sources.forget(run.call.code)
            failed = self._failure(run, error)
            status, last = failed.status, (failed,)
            BaseException.with_traceback(error, None)
            del error
        if not run.begun and not self.runs.begin(run):
            # It was withdrawn before it began.
            run.task = None
            return
        seconds = time.perf_counter() - began
        if run.folders is not None:
            run.remove_folders()
        if run.opened_input is not None:
            run.opened_input.close()
        flask_requests.pop_request()
        try:
            run.sender.finish((*last, Done(status, seconds, run.personal)))
        except MemoryError:
            # There is no memory even to report the end of the call.
            end_process_group()
        except BaseException as error:
            run.sender.finish((last_resort(error), Done(500, seconds)))
        # Not before: of a run that is unknown, the control thread says that it has not begun.
        self.runs.remove(run)
        self._memory.keep_reserve()

    def _failure(self, run: ActiveRun, error: BaseException) -> Failed:
        """Return the failure of a run that has raised `error`, whose methods are user code."""
        stop_reason = run.sender.stop_reason
        if stop_reason is None and run.exit is not None:
            error = run.exit
        step = InStep(self._interrupts, run.id)
        run.failing = True
        try:
            try:
                with step:
                    self._memory.relieve(error)
                    failed = describe(error, stop_reason, run.call.timeout)
                    failed = with_advice(failed, error, run.call, self._environment.shell.user_ns)
                    # This raises for a field of the wrong type, which the frontend could not decode.
                    failed = msgspec.convert(msgspec.to_builtins(failed), Failed)
            finally:
                # An interrupt may have come at the step's very beginning or end.
                step.leave()
        except BaseException as problem:
            failed = last_resort(problem)
        if (stop_reason := run.sender.stop_reason) is not None:
            # It came while the error was described.
            return describe(error, stop_reason, run.call.timeout)
        return failed

    async def _alone(self, run: ActiveRun, execution: Execution) -> list[Chunk]:
        """Execute a run on the main thread, while no other run of this turn exists."""
        self._begin(run)
        if self.concurrency == 1:
            context.set_only_run(run)
        if in_pool := self.endpoints.session is None:
            self._state.begin()
        try:
            with Figures(run.id, self.runs.count_begun, self._interrupts):
                return await execution.wait_for(self._begin_in_main(run, execution))
        finally:
            # Output of its child processes may still be in a pipe.
            self._streams.collect()
            context.set_only_run(None)
            if in_pool:
                self._state.restore()

    def _collect_output(self) -> None:
        if self.concurrency == 1:
            self._streams.collect()

    async def _overlapping(self, run: ActiveRun, execution: Execution) -> list[Chunk]:
        """Execute a run beside others: in a thread, and on the main thread's loop if it is asynchronous."""
        self._begin(run)
        try:
            with Figures(run.id, self.runs.count_begun, self._interrupts):
                return await execution.wait_for(await self._begin_in_thread(run, execution))
        finally:
            self._streams.restore()

    def _compile(self, call: Call) -> CompiledCode | None:
        if call.code is None:
            return None
        if call.cell is not None:
            # A cell with a path only becomes an endpoint, even if it does not parse.
            return None if call.cell.path else self.sources.compile_cell(call.code)
        if call.reload:
            self.sources.forget(call.code)
        return self.sources.compile(call.code, call.fn_name)

    def _begin(self, run: ActiveRun) -> None:
        if not self.runs.begin(run):
            raise KeyboardInterrupt
        if run.kept is not None:
            run.kept.begin()
        if run.sender.mirror is not None:
            run.sender.mirror.begin()
        if run.call.timeout is not None:
            # The frontend measures the run's time from this message on.
            self._connection.send(Output(run.id, ()))

    def _begin_in_main(self, run: ActiveRun, execution: Execution) -> Progress:
        if self._plain_loop.is_open and self._plain_loop.is_closed():
            self._plain_loop = PlainLoop()
        # An earlier call of `asyncio.run` has left None.
        asyncio.set_event_loop(self._plain_loop)
        self._interrupts.begin(run.id)
        try:
            if run.sender.stop_reason is not None:
                raise KeyboardInterrupt
            return execution.begin(self._in_main)
        finally:
            self._in_main.leave()

    async def _begin_in_thread(self, run: ActiveRun, execution: Execution) -> Progress:
        """Begin a run in a thread of its own, so that a late interrupt affects nothing else."""
        # An error is passed as a result: a future cannot hold StopIteration, and asyncio treats interrupts as
        # its own.
        done: asyncio.Future[Progress | BaseException] = self._loop.create_future()
        run_context = copy_context()

        def begin() -> Progress:
            try:
                return execution.begin(InOtherThread())
            finally:
                flask_requests.pop_request()

        def work() -> None:
            result: Progress | BaseException
            loop = PlainLoop()
            asyncio.set_event_loop(loop)
            try:
                try:
                    with self.runs.lock:
                        run.thread = threading.get_ident()
                    if run.sender.stop_reason is not None:
                        raise KeyboardInterrupt
                    result = run_context.run(begin)
                except BaseException as error:
                    result = error
                with self.runs.lock:
                    run.thread = None
            except BaseException as late:
                # The interrupt, of which there is only one, came between the two blocks.
                run.thread = None
                result = late
            if loop.is_open:
                loop.close()
            self._loop.call_soon_threadsafe(set_result, result)

        def set_result(result: Progress | BaseException) -> None:
            if not done.done():
                done.set_result(result)

        threading.Thread(target=work, name=f"run {run.id}", daemon=True).start()
        result = await done
        if isinstance(result, BaseException):
            raise result
        return result
