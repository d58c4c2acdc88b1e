"""Running a call in this very process, without a frontend: what `%%owt --local` does.

The way is that of a call which arrives at a kernel, from its text to its chunks, but for what brings and
takes it: nothing travels, and what the adaptor raises is kept with its frames, for a debugger.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from owt.kernel.calls import context
from owt.kernel.calls.execution import Execution, Surroundings
from owt.kernel.calls.failure import as_raised
from owt.kernel.calls.interrupts import Interrupts
from owt.kernel.calls.output_sender import OutputSender, StreamName
from owt.kernel.calls.steps import Stopped
from owt.kernel.calls.user_code import InOtherThread
from owt.kernel.code import injected_names
from owt.kernel.code.source import Sources
from owt.kernel.endpoints.decorator import Decorator
from owt.summat import METHODS
from owt.summat.inputs import current_request
from owt.wire.call import Call
from owt.wire.chunk import Chunk
from owt.wire.messages import Output

Show = Callable[[Chunk], None]


@dataclass(frozen=True)
class Ended:
    """How a run ended: with an answer of this `status`, or by what the adaptor raised, whose traceback
    begins at its own frame."""

    status: int
    error: BaseException | None = None


class Here:
    """Runs calls in the main thread of this process, whose IPython shell is `shell`, one at a time.

    In a kernel of owt's that has calls too, they and these share what they have loaded.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        channel = getattr(getattr(shell, "kernel", None), "channel", None)
        if channel is not None:
            self._sources: Sources = channel.runner.sources
            return
        injected = injected_names.names(shell.user_ns, Decorator())
        context.give(injected)
        shell.user_ns_hidden.update(injected)
        self._sources = Sources(shell.user_ns, injected, METHODS, shell.transform_cell)

    def run(self, call: Call, show: Show) -> Ended:
        """Run a call, and `show` each of its chunks as soon as it is made.

        What the adaptor prints goes where this process's own code prints.
        """
        id = secrets.token_hex(4)
        interrupts = _Interrupts()
        # What is shown is this process's own work, not the run's.
        outside = copy_context()
        outlet = _Direct(id, lambda chunk: outside.run(show, chunk), interrupts)
        run = context.Run(id, call, outlet)
        token, request = context.current.set(run), current_request.set(lambda: run.request)
        # Each run has a loop of its own, where a notebook's cell is inside of one that runs.
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as loops:
                around = Surroundings(self._shell, self._sources, None, interrupts, loops.get_loop())
                prepared = self._sources.prepare(call.code, call.fn_name) if call.code is not None else None
                execution = Execution(run, prepared, around)
                # There is nothing to mark: no loop runs, and an interrupt is Python's own.
                outcome = execution.begin(InOtherThread())
                with interrupts.installed():
                    last = loops.run(interrupts.reach(execution.wait_for(outcome)))
                outlet.send(last)
            return Ended(execution.answer.status)
        except BaseException as error:
            return Ended(500, as_raised(error))
        finally:
            asyncio._set_running_loop(outer)
            context.current.reset(token)
            current_request.reset(request)


class _Interrupts(Interrupts):
    """Of one run: also what waits on the loop is interrupted, and so is the next step if nothing runs."""

    def __init__(self) -> None:
        super().__init__(lambda target: self._soon())
        self._task: asyncio.Task[Any] | None = None
        self._is_due = False
        self._cancelled = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """SIGINT is handled here, as in a server's kernel: asyncio would only cancel what waits, and a step
        that is busy would go on. Python's own handler makes way, which a cell has, and no other."""
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

    async def reach(self, chunks: Coroutine[Any, Any, list[Chunk]]) -> list[Chunk]:
        """These chunks, while an interrupt reaches what makes them. Raises `Stopped` if one did."""
        self._task = asyncio.current_task()
        try:
            return await chunks
        except asyncio.CancelledError:
            if self._cancelled:
                raise Stopped(KeyboardInterrupt()) from None
            raise

    def enter(self) -> None:
        super().enter()
        if self._is_due:
            self._is_due = False
            raise KeyboardInterrupt

    def _soon(self) -> None:
        self._is_due = True
        if self._task is not None:
            # Which wakes a loop that waits.
            self._task.get_loop().call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._is_due and self._task is not None:
            self._is_due, self._cancelled = False, True
            self._task.cancel()


class _Direct(OutputSender):
    """A run's way out that ends here: each chunk is shown when it is sent."""

    def __init__(self, run: str, show: Show, interrupts: Interrupts) -> None:
        lane: Any = _Shown(show)
        super().__init__(run, lane, sys.maxsize, interrupts, lambda seconds, function: None)

    def write(self, name: StreamName, text: str) -> bool:
        """Nothing: whoever writes keeps the text, and has it go where it goes without a run."""
        return False

    def flush(self) -> None:
        """Nothing waits here."""


class _Shown:
    """Takes the frames of one run, in place of the call channel."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def send(self, message: Output) -> None:
        for chunk in message.chunks:
            self._show(chunk)
