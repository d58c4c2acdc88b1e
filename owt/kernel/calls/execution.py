"""One run's way from its call to its chunks.

What does not wait, `begin`, runs in whichever thread has the run; what waits, `wait_for`, on the
main thread's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from owt.kernel.answer.outcome import AsyncStream, Stream, Whole
from owt.kernel.answer.values import Answer
from owt.kernel.calls.context import Run
from owt.kernel.calls.interrupts import Interrupts
from owt.kernel.calls.stdio import is_shown, show
from owt.kernel.calls.steps import Steps
from owt.kernel.calls.user_code import InMainThread, UserCode
from owt.kernel.code import adaptors
from owt.kernel.code.arguments import MISSING, call_arguments, evaluate
from owt.kernel.code.prepared import Cell, Prepared
from owt.kernel.code.source import Sources
from owt.kernel.endpoints import kernel_gateway
from owt.kernel.endpoints.registry import Registry
from owt.summat import Pipe
from owt.wire.call import NotebookCell
from owt.wire.chunk import Chunk, size

ALONE = 16 * 1024
"""Bytes of a chunk that is worth a frame of its own, rather than one with the run's end."""


@dataclass(frozen=True)
class Surroundings:
    """What the executions of one kernel share."""

    shell: Any
    sources: Sources
    endpoints: Registry | None
    interrupts: Interrupts
    loop: asyncio.AbstractEventLoop

    def run_cell(self, cell: Cell) -> Any:
        """The value of a cell that does not await."""
        self.shell.events.trigger("pre_execute")
        try:
            return self.sources.run_cell(cell)
        finally:
            # Where the inline backend shows the figures that the cell has drawn.
            self.shell.events.trigger("post_execute")

    async def run_cell_async(self, cell: Cell) -> Any:
        """The value of any cell."""
        self.shell.events.trigger("pre_execute")
        try:
            return await self.sources.run_cell_async(cell)
        finally:
            self.shell.events.trigger("post_execute")


@dataclass(frozen=True)
class Awaiting:
    """An `async def` adaptor was called: its value is still to come."""

    value: Awaitable[Any]


@dataclass(frozen=True)
class Ending:
    """All has been sent but these last chunks, so that a short answer and its end are one frame."""

    chunks: list[Chunk]


Outcome = Ending | Awaiting | AsyncStream


class Execution:
    """Executes one run. `answer.status` is its status once it has ended well."""

    def __init__(self, run: Run, prepared: Prepared | None, around: Surroundings) -> None:
        """`prepared` is what the call's code is; None for a call without code."""
        self.answer = Answer(run.call, around.shell)
        self._run = run
        self._outlet = run.outlet
        self._prepared = prepared
        self._around = around

    def begin(self, user: UserCode) -> Outcome:
        """Call the adaptor, and send what it gives as far as that needs no waiting on the loop.

        Raises whatever the adaptor raises, and `BadRequest` for arguments that do not fit.
        """
        with user:
            value = self._value()
        if hasattr(type(value), "__await__"):
            return Awaiting(value)
        return self._deliver(value, user)

    async def wait_for(self, outcome: Outcome) -> list[Chunk]:
        """What is left to do after `begin`; gives the last chunks."""
        if isinstance(outcome, Awaiting):
            value = await self._steps(outcome.value)
            self._enter_run()
            try:
                outcome = self._deliver(value, InMainThread(self._around.interrupts, self._around.loop))
            finally:
                self._around.interrupts.end()
        if isinstance(outcome, AsyncStream):
            outcome = await self._deliver_async(outcome)
        assert isinstance(outcome, Ending)
        return outcome.chunks

    def _value(self) -> Any:
        call, prepared, namespace = self._run.call, self._prepared, self._around.shell.user_ns
        if call.endpoint is not None and self._around.endpoints is not None:
            function, by_position, by_name = self._around.endpoints.prepare(self._run, namespace)
            return function(*by_position, **by_name)
        if call.cell is not None and isinstance(prepared, Cell):
            return self._notebook_cell(prepared, call.cell)
        arguments = evaluate(call.kwargs, namespace)
        if isinstance(prepared, Cell):
            namespace.update(arguments.kwargs)
            if arguments.value is not MISSING:
                namespace["__last__"] = arguments.value
            return self._cell(prepared)
        if prepared is not None:
            target = self._around.sources.load(prepared)
            if not callable(target):
                return target
        elif call.adaptor is not None:
            target = adaptors.find(call.adaptor, call.fn_name)
        else:
            target = self._around.sources.named(call.fn_name)
        if isinstance(target, Pipe):
            return target(*(() if arguments.value is MISSING else (arguments.value,)), **arguments.kwargs)
        args, kwargs = call_arguments(target, arguments)
        return target(*args, **kwargs)

    def _notebook_cell(self, cell: Cell, told: NotebookCell) -> Any:
        endpoints = self._around.endpoints
        if told.path and endpoints is not None:
            code = self._run.call.code or ""
            endpoints.register(kernel_gateway.registered(told, cell, code, self._around))
            return None
        value = self._cell(cell)
        if not cell.awaits:
            return self._show(value)

        async def awaited() -> None:
            self._show(await value)

        return awaited()

    def _show(self, value: object) -> None:
        if is_shown(self._around.shell, self._run.call.code or "", value):
            show(value)

    def _cell(self, cell: Cell) -> Any:
        return self._around.run_cell_async(cell) if cell.awaits else self._around.run_cell(cell)

    def _deliver(self, value: Any, user: UserCode) -> Ending | AsyncStream:
        with user:
            course = self.answer.classify(value)
        match course:
            case Whole(chunks=chunks):
                return self._all_but_last(chunks)
            case Stream():
                return self._stream(course, user)
            case AsyncStream():
                return course

    def _stream(self, stream: Stream, user: UserCode) -> Ending:
        items, returned = stream.items, None
        try:
            while True:
                with user:
                    try:
                        item = next(items)
                    except StopIteration as stop:
                        returned = stop.value
                        break
                    chunks = self.answer.item(item)
                    del item
                self._outlet.send(chunks)
        finally:
            if stream.close is not None:
                with user:
                    stream.close()
        with user:
            last = self.answer.finish(returned)
        return self._all_but_last(last)

    async def _deliver_async(self, stream: AsyncStream) -> Ending:
        try:
            while True:
                await self._credit()
                try:
                    item = await self._steps(stream.items.__anext__())
                except StopAsyncIteration:
                    break
                self._outlet.send(self.answer.item(item))
                del item
        finally:
            if stream.close is not None:
                await self._steps(stream.close())
        return self._all_but_last(self.answer.finish())

    def _steps(self, awaitable: Awaitable[Any]) -> Steps:
        interrupts = self._around.interrupts

        def enter() -> None:
            self._enter_run()
            interrupts.enter()

        def leave() -> None:
            interrupts.leave()
            interrupts.end()

        return Steps(awaitable, enter, leave)

    def _enter_run(self) -> None:
        self._around.interrupts.begin(self._run.id)

    async def _credit(self) -> None:
        """Wait until the run may send, without holding up the loop."""
        loop, outlet = self._around.loop, self._outlet
        while outlet.credit <= 0:
            more: asyncio.Future[None] = loop.create_future()
            outlet.on_credit(partial(_settle_soon, loop, more))
            try:
                if outlet.credit <= 0:
                    await more
            finally:
                outlet.on_credit(None)

    def _all_but_last(self, chunks: Iterable[Chunk]) -> Ending:
        """Send an answer that is large; a short one is sent with the run's end.

        All pieces of a large value go in one `send`, so that nothing comes between them.
        """
        early: list[Chunk] = []
        amount = 0
        rest = iter(chunks)
        for chunk in rest:
            early.append(chunk)
            amount += size(chunk)
            if amount > ALONE:
                self._outlet.send(chain(early, rest))
                return Ending([])
        return Ending(early)


def _settle_soon(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    loop.call_soon_threadsafe(_settle, future)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
