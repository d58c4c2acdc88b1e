"""Event loops that user code sees: the main thread's, which it cannot end, and that of plain code.

asyncio re-raises SystemExit and KeyboardInterrupt of a task, or of a callback, out of the loop that runs it.
A script ends then. In a kernel the loop continues, and the run that the task belongs to ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Any

from owt.kernel import context
from owt.kernel.calls.interrupts import RunningLoop
from owt.kernel.exit import end_fork, process_id


def protect(
    loop: asyncio.AbstractEventLoop,
    on_exit: Callable[[context.Run, BaseException], None],
    may_stop: Callable[[], bool],
) -> None:
    """Keep the main thread's loop running, whatever callbacks and tasks raise.

    `on_exit(run, error)` is called for SystemExit and KeyboardInterrupt of a callback or a task that `run`
    has started. `loop.stop()` raises RuntimeError unless `may_stop()`.
    """
    run_once: Callable[[], None] | None = getattr(loop, "_run_once", None)
    if run_once is None:
        # A loop that is not asyncio's own, such as uvloop's.
        return
    process, stop = process_id(), loop.stop

    def run_once_protected() -> None:
        try:
            run_once()
        except BaseException as error:
            if process_id() != process:
                end_fork(error)
            trace = sys.exc_info()[2]
            if not isinstance(error, (SystemExit, KeyboardInterrupt)):
                # A handler of a signal has raised it.
                loop.call_exception_handler({"message": "a signal handler has raised", "exception": error})
            elif (run := _run_of(trace)) is not None:
                on_exit(run, error)
        if process_id() != process:
            end_fork(None)

    def stop_unless_in_use() -> None:
        if not may_stop():
            raise RuntimeError("this event loop is the kernel's: calls and cells cannot stop it")
        stop()

    # `run_forever` calls this method for each iteration, also of a loop that runs already, as that of another
    # kernelspec does. There is no public way to keep such a loop from ending.
    # tests/kernel/calls/test_event_loops.py fails when it changes.
    loop._run_once = run_once_protected  # type: ignore[attr-defined]
    loop.stop = stop_unless_in_use  # type: ignore[method-assign]


def allow_own_loops(loop: asyncio.AbstractEventLoop) -> None:
    """Let code in a callback or a task of `loop` run another event loop meanwhile, as a script does.

    Cells see the kernel's loop, in which their tasks live on, and so asyncio would refuse `asyncio.run`.
    """

    def outside(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if asyncio._get_running_loop() is not loop:
                return function(*args, **kwargs)
            running = RunningLoop(loop)
            running.hide()
            try:
                return function(*args, **kwargs)
            finally:
                running.show()

        return run

    asyncio.run = asyncio.runners.run = outside(asyncio.run)
    if sys.version_info >= (3, 11):
        setattr(asyncio.Runner, "run", outside(asyncio.Runner.run))  # noqa: B010
    for kind, name in (
        (asyncio.BaseEventLoop, "run_forever"),
        (asyncio.BaseEventLoop, "run_until_complete"),
    ):
        setattr(kind, name, outside(getattr(kind, name)))


@contextmanager
def new_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Make an event loop, and at the end cancel its tasks and close it.

    `asyncio.Runner` does this from Python 3.11 on.
    """
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True) if tasks else asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def _run_of(trace: TracebackType | None) -> context.Run | None:
    """Return the run that has started the callback or task with this traceback: the one in its context."""
    while trace is not None:
        handle = trace.tb_frame.f_locals.get("self")
        if isinstance(handle, asyncio.Handle):
            # Public from Python 3.12 on, as `get_context()`.
            run: context.Run | None = handle._context.get(context.current)  # type: ignore[attr-defined]
            return run
        trace = trace.tb_next
    return None


class PlainLoop(asyncio.SelectorEventLoop):
    """Event loop that plain code gets from `asyncio.get_event_loop()`, created at its first use."""

    def __init__(self) -> None:
        self.is_open = False

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the loop, which exists from now on."""
        if self.is_open or name.startswith("__"):
            raise AttributeError(name)
        self.is_open = True
        super().__init__()
        return getattr(self, name)

    def __del__(self) -> None:
        if self.is_open:
            super().__del__()
