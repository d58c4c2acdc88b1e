"""Runner of calls in this process, without a frontend: `%%owt --local`.

A call passes through the same steps as in a server's kernel, from its text to its chunks, except for the
connection: chunks are handed over in this process, and an exception is kept with its frames, for a debugger.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from owt.kernel import context, flask_requests
from owt.kernel.calls.event_loops import new_loop
from owt.kernel.calls.execution import Environment, Execution
from owt.kernel.calls.failure import as_raised
from owt.kernel.calls.interrupts import InOtherThread, Interrupts, RunningLoop, Stopped
from owt.kernel.calls.output_sender import OutputSender
from owt.kernel.code.cells import CellRunner
from owt.kernel.code.source import Sources
from owt.kernel.endpoints.decorator import Decorator
from owt.summat import METHODS
from owt.summat.inputs import current_request
from owt.wire.call import Call
from owt.wire.chunk import Chunk
from owt.wire.messages import Output
from owt.wire.unsent import Region, StreamName

OnChunk = Callable[[Chunk], None]


@dataclass(frozen=True)
class LocalResult:
    """End of a run: its `status`, or the adaptor's `error`, whose traceback begins at the adaptor's frame."""

    status: int
    error: BaseException | None = None


class LocalRunner:
    """Runner of calls in the main thread of this process, one at a time.

    In a kernel of an owt server, these calls and the server's share the code that they have loaded.
    """

    def __init__(self, shell: Any) -> None:
        """Create the runner of a process with this IPython shell."""
        self._shell = shell
        channel = getattr(getattr(shell, "kernel", None), "channel", None)
        if channel is not None:
            self._sources: Sources = channel.runner.sources
            return
        names = provide_without_server(shell)
        self._sources = Sources(shell.user_ns, names, METHODS, shell.transform_cell)

    def run(self, call: Call, on_chunk: OnChunk) -> LocalResult:
        """Run a call, and pass each of its chunks to `on_chunk` as soon as it exists.

        What the adaptor prints goes where this process's own code prints.
        """
        id = secrets.token_hex(4)
        interrupts = _LocalInterrupts()
        # Code that handles a chunk is this process's own, not the run's.
        outside = copy_context()
        sender = _LocalSender(id, lambda chunk: outside.run(on_chunk, chunk), interrupts)
        run = context.Run(id, call, sender)
        token, request = context.current.set(run), current_request.set(lambda: run.request)
        # Each run has an event loop of its own; a notebook's cell is already inside of one.
        outer = RunningLoop(asyncio._get_running_loop())
        outer.hide()
        try:
            with new_loop() as loop:
                cells = CellRunner(self._shell, self._sources)
                environment = Environment(
                    self._shell, self._sources, cells, None, interrupts, loop, lambda: None
                )
                code = self._sources.compile(call.code, call.fn_name) if call.code is not None else None
                execution = Execution(run, code, environment)
                # No marks are needed: no loop runs, and an interrupt is Python's own.
                progress = execution.begin(InOtherThread())
                with interrupts.installed():
                    last = loop.run_until_complete(interrupts.interruptible(execution.wait_for(progress)))
                sender.send(last)
            return LocalResult(execution.encoder.status)
        except BaseException as error:
            return LocalResult(500, as_raised(error))
        finally:
            outer.show()
            flask_requests.pop_request()
            context.current.reset(token)
            current_request.reset(request)


def provide_without_server(shell: Any) -> dict[str, Any]:
    """Return the injected names for a process without a server, and make them importable.

    `endpoint` only marks functions, and `request` raises outside of a call.
    """
    names = context.injected_names(shell.user_ns, Decorator())
    context.provide(names)
    shell.user_ns_hidden.update(names)
    return names


class _LocalInterrupts(Interrupts):
    """Interrupts of one run: they also reach what waits on the loop, and the next step if nothing runs."""

    def __init__(self) -> None:
        super().__init__(lambda target: self._interrupt_soon())
        self._task: asyncio.Task[Any] | None = None
        self._is_due = False
        self._cancelled = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGINT as a server's kernel does: asyncio's handler would only cancel what waits, and a step
        that is busy would continue. A handler other than Python's own, which cells have, stays in place."""
        before = signal.getsignal(signal.SIGINT)
        is_main = threading.current_thread() is threading.main_thread()
        if before is not signal.default_int_handler or not is_main:
            yield
            return
        self.install()
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    async def interruptible(self, chunks: Coroutine[Any, Any, list[Chunk]]) -> list[Chunk]:
        """Await `chunks` so that an interrupt reaches them. Raises `Stopped` after an interrupt."""
        self._task = asyncio.current_task()
        try:
            return await chunks
        except asyncio.CancelledError:
            if self._cancelled:
                raise Stopped(KeyboardInterrupt()) from None
            raise

    def enter_user_code(self) -> None:
        """Allow interrupts. Raises KeyboardInterrupt if one is pending."""
        super().enter_user_code()
        if self._is_due:
            self._is_due = False
            raise KeyboardInterrupt

    def _interrupt_soon(self) -> None:
        self._is_due = True
        if self._task is not None:
            # This wakes up a loop that waits.
            self._task.get_loop().call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._is_due and self._task is not None:
            self._is_due, self._cancelled = False, True
            self._task.cancel()


class _LocalSender(OutputSender):
    """Sender that hands over each chunk in this process."""

    def __init__(self, run: str, on_chunk: OnChunk, interrupts: Interrupts) -> None:
        def send(message: Output, regions: Sequence[Region] = (), kept: None = None) -> None:
            for chunk in message.chunks:
                on_chunk(chunk)

        connection: Any = SimpleNamespace(send=send, unsent=None)
        super().__init__(run, connection, sys.maxsize, interrupts, lambda seconds, function: None)

    def write(self, name: StreamName, text: str, source: Region | None = None) -> bool:
        """Return False: the stream keeps the text and sends it where it goes without a run."""
        return False

    def flush(self) -> None:
        """Do nothing: no text waits here."""
