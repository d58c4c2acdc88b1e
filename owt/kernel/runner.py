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
from collections.abc import Awaitable, Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from owt.kernel import adaptors, context
from owt.kernel.arguments import MISSING, call_arguments, evaluate
from owt.kernel.failure import describe
from owt.kernel.interrupts import Interrupts
from owt.kernel.lane import LaneEnd
from owt.kernel.outlet import Outlet
from owt.kernel.source import Cell, Prepared, Sources
from owt.kernel.steps import Steps
from owt.kernel.usercode import InMainThread, InOtherThread, UserCode
from owt.kernel.values import Answer, AsyncStream, Stream, Whole
from owt.server import Server
from owt.summat import METHODS, Pipe, pipe
from owt.summat.inputs import current_request
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Done, size
from owt.wire.codec import Output

ALONE = 16 * 1024
"""Bytes of a chunk that is worth a frame of its own, rather than one with the run's end."""
EARLY = 1000


@dataclass(frozen=True)
class Awaiting:
    """What an `async def` adaptor gave: its value is still to come."""

    value: Awaitable[Any]


class Live(context.Run):
    """A run that has not ended, and how to reach it."""

    begun = False
    prepared: Prepared | None = None
    task: asyncio.Task[None] | None = None
    thread: int | None = None


class Runner:
    """Runs the calls that arrive at this kernel."""

    def __init__(
        self,
        *,
        shell: Any,
        lane: LaneEnd,
        loop: asyncio.AbstractEventLoop,
        later: Callable[[float, Callable[[], None]], None],
        window: int,
        concurrency: int,
    ) -> None:
        """`later(seconds, function)` calls a function in the control thread; `window` is each run's
        credit in bytes."""
        self.concurrency = concurrency
        self.turn = asyncio.Lock()
        self._shell = shell
        self._lane = lane
        self._loop = loop
        self._later = later
        self._window = window
        self._runs: dict[str, Live] = {}
        self._ended_early: dict[str, None] = {}
        self._lock = threading.Lock()
        self._interrupts = Interrupts(self._interrupt_others)
        self._main = InMainThread(self._interrupts, loop)
        injected = {
            "pipe": pipe,
            "request": context.request_proxy(),
            "state": context.State(shell.user_ns),
            "Server": Server,
        }
        context.give(injected)
        self._sources = Sources(shell.user_ns, injected, METHODS, shell.transform_cell)
        shell.user_ns_hidden.update(injected)

    def start(self) -> None:
        """Take over SIGINT. In the main thread."""
        self._interrupts.install()

    # From the frontend ---------------------------------------------------------------------------

    def accept(self, id: str, call: Call) -> None:
        """Run this call when its turn comes. In the main thread."""
        run = Live(id, call, Outlet(id, self._lane, self._window, self._interrupts, self._later))
        with self._lock:
            if self._ended_early.pop(id, None) is not None:
                return
            self._runs[id] = run
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
        with self._lock:
            run = self._runs.get(id)
            begun = run is not None and run.begun
            if run is None:
                self._ended_early[id] = None
                if len(self._ended_early) > EARLY:
                    self._ended_early.pop(next(iter(self._ended_early)))
            elif not begun:
                del self._runs[id]
        if run is not None and begun:
            self._stop(run, reason)
            return
        failed = describe(KeyboardInterrupt(), reason, None)
        self._lane.send(Output(id, (failed, Done(failed.status, 0.0))))
        if run is not None and run.task is not None:
            self._loop.call_soon_threadsafe(run.task.cancel)

    def _stop(self, run: Live, reason: str) -> None:
        run.outlet.stop(reason)
        with self._lock:
            if run.thread is not None:
                # Not while that thread writes a frame: it would be cut short.
                with self._lane.hold():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(run.thread), ctypes.py_object(KeyboardInterrupt)
                    )
                return
        if self._interrupts.run == run.id:
            self._interrupts.aim(run.id)
        else:
            self._loop.call_soon_threadsafe(self._cancel_task, run)

    def _interrupt_others(self, target: str | None) -> None:
        # In the main thread's signal handler, when no user code of the main thread was interrupted.
        for run in list(self._runs.values()):
            if target == run.id:
                self._loop.call_soon_threadsafe(self._cancel_task, run)
            elif target is None:
                self._later(0, lambda run=run: self._stop(run, "interrupted"))  # type: ignore[misc]

    def _cancel_task(self, run: Live) -> None:
        if run.id in self._runs and run.task is not None and run.thread is None:
            run.task.cancel()

    # One run ---------------------------------------------------------------------------------------

    async def _serve(self, run: Live) -> None:
        began = time.perf_counter()
        status, tail = 200, ()
        answer = Answer(run.call, self._shell)
        context.current.set(run)
        current_request.set(lambda: run.request)
        try:
            if run.call.reload and run.call.code is not None:
                self._sources.forget(run.call.code)
            if run.call.code is not None:
                run.prepared = self._sources.prepare(run.call.code, run.call.fn_name)
            if self.concurrency > 1 and not isinstance(run.prepared, Cell):
                self._begin(run)
                tail = await self._work(run, answer, self._in_thread)
            else:
                async with self.turn:
                    began = time.perf_counter()
                    self._begin(run)
                    if self.concurrency == 1:
                        context.set_alone(run)
                    try:
                        tail = await self._work(run, answer, self._in_main)
                    finally:
                        context.set_alone(None)
            status = answer.status
            if run.outlet.stopped is not None:
                # The adaptor caught the interrupt and went on to an answer nobody waits for.
                raise KeyboardInterrupt
        except BaseException as error:
            failed = describe(error, run.outlet.stopped, run.call.timeout)
            status, tail = failed.status, (failed,)
            error.__traceback__ = None
            del error
        with self._lock:
            if self._runs.pop(run.id, None) is None:
                # It was ended before it began, and has been answered.
                return
        run.outlet.finish((*tail, Done(status, time.perf_counter() - began)))

    def _begin(self, run: Live) -> None:
        with self._lock:
            if run.id not in self._runs:
                raise KeyboardInterrupt
            run.begun = True

    async def _work(
        self, run: Live, answer: Answer, begin: Callable[[Live, Answer], Awaitable[Any]]
    ) -> tuple[Chunk, ...]:
        """Run the call; gives its last chunks, the others have been sent."""
        outcome = await begin(run, answer)
        if isinstance(outcome, Awaiting):
            value = await self._steps(run, outcome.value)
            self._interrupts.begin(run.id)
            try:
                outcome = self._deliver(run, answer, value, self._main)
            finally:
                self._interrupts.end()
        if isinstance(outcome, AsyncStream):
            outcome = await self._deliver_async(run, answer, outcome)
        return tuple(outcome)

    async def _in_main(self, run: Live, answer: Answer) -> Any:
        self._interrupts.begin(run.id)
        try:
            if run.outlet.stopped is not None:
                raise KeyboardInterrupt
            return self._drive(run, answer, self._main)
        finally:
            self._interrupts.end()

    async def _in_thread(self, run: Live, answer: Answer) -> Any:
        """Run in a thread of its own, so that an interrupt that comes late hits nothing else."""
        done: asyncio.Future[Any] = self._loop.create_future()
        surroundings = copy_context()

        def work() -> None:
            outcome: tuple[Any, BaseException | None]
            try:
                try:
                    with self._lock:
                        run.thread = threading.get_ident()
                    if run.outlet.stopped is not None:
                        raise KeyboardInterrupt
                    outcome = surroundings.run(self._drive, run, answer, InOtherThread()), None
                except BaseException as error:
                    outcome = None, error
                with self._lock:
                    run.thread = None
            except BaseException as late:
                # The interrupt, of which there is only one, came between the two.
                run.thread = None
                outcome = None, late
            self._loop.call_soon_threadsafe(settle, *outcome)

        def settle(value: Any, error: BaseException | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(value)
            else:
                # A future cannot hold StopIteration, and asyncio treats interrupts as its own.
                done.set_result(error)

        threading.Thread(target=work, name=f"run {run.id}", daemon=True).start()
        outcome = await done
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _drive(self, run: Live, answer: Answer, user: UserCode) -> Any:
        """The part that does not wait: up to the last chunks, or to something to await."""
        with user:
            value = self._value(run)
        if hasattr(type(value), "__await__"):
            return Awaiting(value)
        return self._deliver(run, answer, value, user)

    def _value(self, run: Live) -> Any:
        call, prepared = run.call, run.prepared
        arguments = evaluate(call.kwargs, self._shell.user_ns)
        if isinstance(prepared, Cell):
            self._shell.user_ns.update(arguments.kwargs)
            if arguments.value is not MISSING:
                self._shell.user_ns["__last__"] = arguments.value
            return self._cell(prepared)
        if prepared is not None:
            target = self._sources.load(prepared)
            if not callable(target):
                return target
        elif call.adaptor is not None:
            target = adaptors.find(call.adaptor, call.fn_name)
        else:
            target = self._sources.named(call.fn_name)
        if isinstance(target, Pipe):
            return target(*(() if arguments.value is MISSING else (arguments.value,)), **arguments.kwargs)
        args, kwargs = call_arguments(target, arguments)
        return target(*args, **kwargs)

    def _cell(self, cell: Cell) -> Any:
        events = self._shell.events
        if cell.awaits:

            async def awaited() -> Any:
                events.trigger("pre_execute")
                try:
                    return await self._sources.run_cell_async(cell)
                finally:
                    events.trigger("post_execute")

            return awaited()
        events.trigger("pre_execute")
        try:
            return self._sources.run_cell(cell)
        finally:
            # Where the inline backend shows the figures that the cell has drawn.
            events.trigger("post_execute")

    def _deliver(self, run: Live, answer: Answer, value: Any, user: UserCode) -> Any:
        with user:
            course = answer.classify(value)
        match course:
            case Whole(chunks=chunks):
                return _all_but_last(run.outlet, chunks)
            case Stream():
                return self._stream(run, answer, course, user)
            case AsyncStream():
                return course

    def _stream(self, run: Live, answer: Answer, stream: Stream, user: UserCode) -> Iterable[Chunk]:
        outlet, items = run.outlet, stream.items
        returned = None
        try:
            while True:
                with user:
                    try:
                        item = next(items)
                    except StopIteration as stop:
                        returned = stop.value
                        break
                    chunks = answer.item(item)
                    del item
                outlet.send(chunks)
        finally:
            if stream.close is not None:
                with user:
                    stream.close()
        with user:
            last = answer.finish(returned)
        return _all_but_last(outlet, last)

    async def _deliver_async(self, run: Live, answer: Answer, stream: AsyncStream) -> Iterable[Chunk]:
        try:
            while True:
                await self._credit(run.outlet)
                try:
                    item = await self._steps(run, stream.items.__anext__())
                except StopAsyncIteration:
                    break
                run.outlet.send(answer.item(item))
                del item
        finally:
            if stream.close is not None:
                await self._steps(run, stream.close())
        return _all_but_last(run.outlet, answer.finish())

    def _steps(self, run: Live, awaitable: Awaitable[Any]) -> Steps:
        def enter() -> None:
            self._interrupts.begin(run.id)
            self._interrupts.enter()

        def leave() -> None:
            self._interrupts.leave()
            self._interrupts.end()

        return Steps(awaitable, enter, leave)

    async def _credit(self, outlet: Outlet) -> None:
        """Wait until the run may send, without holding up the loop."""
        while outlet.credit <= 0:
            more: asyncio.Future[None] = self._loop.create_future()
            outlet.on_credit(lambda more=more: self._loop.call_soon_threadsafe(_settle, more))  # type: ignore[misc]
            try:
                if outlet.credit <= 0:
                    await more
            finally:
                outlet.on_credit(None)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _all_but_last(outlet: Outlet, chunks: Iterable[Chunk]) -> list[Chunk]:
    """Send chunks, but keep the last ones, so that a short answer and its end are one frame."""
    tail: list[Chunk] = []
    for chunk in chunks:
        if tail and size(chunk) + sum(map(size, tail)) > ALONE:
            outlet.send(tail)
            tail = []
        tail.append(chunk)
    return tail
