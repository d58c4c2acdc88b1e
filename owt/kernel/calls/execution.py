"""Execution of one run: from its call to its chunks.

`begin` does what needs no waiting, in the thread that the run has; `wait_for` does the rest on the event loop
of the main thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Union

from msgspec import Struct

from owt.kernel import flask_requests
from owt.kernel.answer.json_encoding import loaded
from owt.kernel.answer.media import is_drawing
from owt.kernel.answer.representations import text_representation
from owt.kernel.answer.values import AsyncStream, ResultKind, Stream, ValueEncoder, Whole
from owt.kernel.calls.interrupts import (
    InMainThread,
    InOtherThread,
    InStep,
    InterruptibleSteps,
    Interrupts,
)
from owt.kernel.code.arguments import call_arguments, evaluate
from owt.kernel.code.cells import CallEvents, CellRunner
from owt.kernel.code.compiled import CompiledCell, CompiledCode, CompiledExpression, is_function
from owt.kernel.code.source import Sources, library_function
from owt.kernel.context import Run
from owt.kernel.endpoints import kernel_gateway
from owt.kernel.endpoints.binding import with_parts
from owt.kernel.endpoints.contents import argument_parts
from owt.kernel.endpoints.registry import Registry
from owt.summat import MISSING, Pipe
from owt.wire.call import ChangeDirectory, NotebookCell, RemoveEndpoint
from owt.wire.chunk import Chunk, Data

SEPARATE_FRAME = 16 * 1024
"""Minimum number of bytes of an answer that is sent in a frame of its own, rather than with the run's end."""


@dataclass(frozen=True)
class Environment:
    """Objects that all executions of one kernel share.

    `collect_output()` gives the current run what its child processes have written by now.
    """

    shell: Any
    sources: Sources
    cells: CellRunner
    endpoints: Registry | None
    interrupts: Interrupts
    loop: asyncio.AbstractEventLoop
    collect_output: Callable[[], None]
    events: CallEvents | None = None


class Awaiting(Struct, frozen=True):
    """State of a run whose adaptor returned an awaitable."""

    value: Awaitable[Any]


class LastChunks(Struct, frozen=True):
    """State of a run that has sent everything except these chunks. They and the run's end are one frame."""

    chunks: list[Chunk]


Progress = Union[LastChunks, Awaiting, AsyncStream]


class Execution:
    """Execution of one run. `encoder.status` is its status once it has succeeded."""

    def __init__(self, run: Run, code: CompiledCode | None, environment: Environment) -> None:
        """Create the execution. `code` is the call's code; None for a call without code."""
        self.encoder = ValueEncoder(run.call, environment.shell, run.looked_at)
        self._run = run
        self._sender = run.sender
        self._code = code
        self._environment = environment
        # The code is a cell, or an expression that is no adaptor. Without a value that can be sent, its
        # displays or its prints are the answer.
        self._shows_value = False
        self._shows_displays = run.call.cell is None

    def begin(self, user_code: InOtherThread) -> Progress:
        """Call the adaptor, and send its result as far as that needs no waiting on the loop.

        Raises whatever the adaptor raises, and `BadRequest` for arguments that do not fit.
        """
        try:
            with user_code:
                flask_requests.push_request(self._run)
                if (events := self._environment.events) is not None and events.has_functions:
                    events.begin(self._run.call, self._is_cell)
                try:
                    value = self._value(user_code)
                except _http_exceptions() as error:
                    value = self._response_to(error)
            shows_task = self._shows_value and isinstance(value, asyncio.Task)
            if hasattr(type(value), "__await__") and not shows_task:
                return Awaiting(value)
            return self._deliver(value, user_code)
        except BaseException:
            self._end_events(user_code)
            raise

    async def wait_for(self, progress: Progress) -> list[Chunk]:
        """Do what is left after `begin`, and return the last chunks."""
        try:
            if not isinstance(progress, LastChunks):
                # A run may begin outside of a task, which `asyncio` needs from here on.
                await asyncio.sleep(0)
                # Again: a run in a thread has another context.
                flask_requests.push_request(self._run)
            if isinstance(progress, Awaiting):
                try:
                    value = await self._steps(progress.value)
                except _http_exceptions() as error:
                    value = self._response_to(error)
                interrupts = self._environment.interrupts
                in_main = InMainThread(interrupts, self._environment.loop)
                interrupts.begin(self._run.id)
                try:
                    progress = self._deliver(value, in_main)
                finally:
                    in_main.leave()
            if isinstance(progress, AsyncStream):
                progress = await self._deliver_async(progress)
            assert isinstance(progress, LastChunks)
            return progress.chunks
        finally:
            self._end_events(None)

    @property
    def _is_cell(self) -> bool:
        return isinstance(self._code, CompiledCell)

    @cached_property
    def _step(self) -> InStep:
        return InStep(self._environment.interrupts, self._run.id)

    def _end_events(self, user_code: InOtherThread | None) -> None:
        if (events := self._environment.events) is not None and events.has_functions:
            with user_code or self._step:
                events.end(self._run.call, self._is_cell)

    def _value(self, user_code: InOtherThread) -> Any:
        call, code, namespace = self._run.call, self._code, self._environment.shell.user_ns
        if call.operation is not None:
            self._operate(call.operation)
            return None
        if call.endpoint is not None and self._environment.endpoints is not None:
            function, by_position, by_name, scalar = self._environment.endpoints.prepare(self._run, namespace)
            if scalar is not None:
                # None is a value of its type.
                self._shows_displays = False
                self.encoder.declare_scalar(scalar)
            return function(*by_position, **by_name)
        if call.cell is not None:
            return self._notebook_cell(code, call.cell, user_code)
        arguments = evaluate(call.kwargs, namespace)
        parts = {} if call.body_parsed or not call.request.body else argument_parts(call.request)
        if isinstance(code, CompiledCell):
            if parts:
                arguments = with_parts(arguments, parts, None)
            namespace.update(arguments.kwargs)
            if arguments.value is not MISSING:
                namespace["__last__"] = arguments.value
            self._show_value()
            return self._run_cell(code, user_code)
        if code is not None:
            if isinstance(code, CompiledExpression):
                self._show_value()
                user_code.show_loop(True)
            target = self._environment.sources.load(code, (call.request.path, call.function_name))
            user_code.show_loop(False)
            if not is_function(target):
                return target
            self._shows_value = False
            self._sender.forget_text()
        elif call.adaptor is not None:
            target = library_function(call.adaptor, call.function_name)
        else:
            target = self._environment.sources.session_function(call.function_name)
        if parts:
            arguments = with_parts(arguments, parts, target)
        if isinstance(target, Pipe):
            return target(*(() if arguments.value is MISSING else (arguments.value,)), **arguments.kwargs)
        args, kwargs = call_arguments(target, arguments)
        return target(*args, **kwargs)

    def _show_value(self) -> None:
        self._shows_value = True
        if not self._run.call.sse:
            self._sender.record_text(self._run.call.accept)

    def _operate(self, operation: ChangeDirectory | RemoveEndpoint) -> None:
        if isinstance(operation, ChangeDirectory):
            os.chdir(operation.path)
        elif self._environment.endpoints is not None:
            self._environment.endpoints.endpoint.remove(operation.path, methods=[operation.method])

    def _notebook_cell(
        self, cell: CompiledCode | None, options: NotebookCell, user_code: InOtherThread
    ) -> Any:
        endpoints, text = self._environment.endpoints, self._run.call.code or ""
        if not isinstance(cell, CompiledCell):
            if endpoints is not None:
                endpoints.register(kernel_gateway.make_endpoint(options, text, self._environment.cells))
            return None
        value = self._run_cell(cell, user_code)
        if not cell.awaits:
            return self._display(value)

        async def display() -> None:
            self._display(await value)

        return display()

    def _display(self, value: object) -> None:
        cells = self._environment.cells
        if cells.is_displayed(self._run.call.code or "", value):
            cells.display(value)

    def _run_cell(self, cell: CompiledCell, user_code: InOtherThread) -> Any:
        cells = self._environment.cells
        if cell.awaits:
            return cells.run_async(cell)
        user_code.show_loop(True)
        return cells.run(cell)

    def _deliver(self, value: Any, user_code: InOtherThread) -> LastChunks | AsyncStream:
        result: ResultKind | None = None
        if self._shows_value:
            result = self._cell_result(value, user_code)
        elif value is None and self._shows_displays:
            result = self._recorded_result()
        if result is None:
            with user_code:
                result = self.encoder.classify(value)
        if isinstance(result, Whole):
            return self._all_but_last(result.chunks)
        return self._stream(result, user_code) if isinstance(result, Stream) else result

    def _cell_result(self, value: Any, user_code: InOtherThread) -> ResultKind:
        """Return the result of a cell or an expression: its value; without one, what it has shown; for
        a value that cannot be sent, what it has displayed, else the value as text."""
        call, cells = self._run.call, self._environment.cells
        code = call.code or ""
        # Looking for the semicolon takes longer than most cells.
        has_value = value is not None and (";" not in code or cells.is_displayed(code, value))
        if call.sse and self._sender.has_shown and is_drawing(value):
            # The events have the figure.
            return self.encoder.classify(None)
        if has_value and not isinstance(value, asyncio.Task):
            try:
                with user_code:
                    return self.encoder.classify(value)
            except TypeError:
                # Nothing has been sent, and a notebook shows every value.
                pass
        if not self._is_cell:
            with user_code:
                cells.show_figures()
        if not call.sse:
            self._environment.collect_output()
        if has_value and not ((recording := self._sender.recording) and recording.has_displays):
            with user_code:
                text = cells.plain_text(value)
            return self.encoder.represented(text_representation(text))
        return self._recorded_result() or self.encoder.classify(None)

    def _recorded_result(self) -> ResultKind | None:
        """Return what the run has shown as its result; None if there is nothing that can be one."""
        recording = self._sender.recording
        if recording is None or (answer := recording.answer()) is None:
            return None
        return self.encoder.represented(answer, negotiated=recording.has_displays)

    def _stream(self, stream: Stream, user_code: InOtherThread) -> LastChunks:
        items, returned = stream.items, None
        try:
            while True:
                with user_code:
                    try:
                        item = next(items)
                    except StopIteration as stop:
                        returned = stop.value
                        break
                    except _http_exceptions() as error:
                        returned = self._response_to(error)
                        break
                    chunks = self.encoder.item(item)
                    del item
                self._sender.send(chunks)
        finally:
            if stream.close is not None:
                with user_code:
                    stream.close()
        with user_code:
            last = self.encoder.finish(returned)
        return self._all_but_last(last)

    async def _deliver_async(self, stream: AsyncStream) -> LastChunks:
        returned = None
        try:
            while True:
                await self._sender.wait_for_credit()
                try:
                    item = await self._steps(stream.items.__anext__())
                except StopAsyncIteration:
                    break
                except _http_exceptions() as error:
                    returned = self._response_to(error)
                    break
                with self._step:
                    chunks = self.encoder.item(item)
                    del item
                self._sender.send(chunks)
        finally:
            if stream.close is not None:
                await self._steps(stream.close())
        with self._step:
            last = self.encoder.finish(returned)
        return self._all_but_last(last)

    def _response_to(self, error: Any) -> Any:
        """Return the response that an HTTPException of werkzeug is, such as that of Flask's `abort(404)`.

        Raises the exception if the answer has begun, or if it has no status.
        """
        if self.encoder.begun or (error.code is None and error.response is None):
            raise error
        return error.get_response()

    def _steps(self, awaitable: Awaitable[Any]) -> InterruptibleSteps:
        return InterruptibleSteps(awaitable, self._step)

    def _all_but_last(self, chunks: Iterable[Chunk]) -> LastChunks:
        """Send a large answer; leave a short one to be sent with the run's end.

        All chunks of a large value are one `send`, so that no other output comes between them.
        """
        first: list[Chunk] = []
        amount = 0
        rest = iter(chunks)
        for chunk in rest:
            first.append(chunk)
            amount += len(chunk.body) if isinstance(chunk, Data) else 0
            if amount > SEPARATE_FRAME:
                self._sender.send(chain(first, rest))
                return LastChunks([])
        return LastChunks(first)


def _http_exceptions() -> Any:
    """Return werkzeug's base class of exceptions that are responses; no class if it is not loaded."""
    return loaded("werkzeug.exceptions", "HTTPException")
