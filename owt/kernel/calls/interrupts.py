"""Interrupts: KeyboardInterrupt reaches user code and nothing else.

The problem. A cancel, a timeout and Ctrl-C must stop user code that computes or blocks, and the only tool for
that is an exception raised from outside: KeyboardInterrupt. Python runs the handler of SIGINT in the main
thread, between two bytecodes of whatever executes there. Raised in owt's own code, the exception would do
damage: in the middle of a write to the connection it cuts a frame short, and the connection is lost; between
two statements of the runner it leaves a run half finished; after the end of its run it hits the next one.

What does not work:

  * Blocking SIGINT with `pthread_sigmask` outside of user code. Each switch is a system call, and while the
    signal is blocked a system call that waits is not interrupted at all.
  * Catching KeyboardInterrupt around owt's code. A `try` cannot cover its own beginning and end, and an
    exception in the middle of a write cannot be undone.
  * `asyncio`'s handler of SIGINT. It cancels the task, which needs the event loop; a step that computes never
    returns to the loop. A KeyboardInterrupt that leaves a task's step ends the loop.

The solution. The main thread records on behalf of which run it works (`begin`, `end`) and whether user code
is executing (`enter_user_code`, `leave_user_code`). The handler raises only if both hold and the signal is
for this run. An interrupt that arrives in owt's code on behalf of the same run is pending, and the run's next
`enter_user_code` raises it, also in a later step. The cost is a few assignments to attributes a call.

  * `InMainThread` marks a stretch of user code, and hides the running event loop from it. An interrupt at the
    very beginning or end of the stretch skips its `__exit__`, so the caller calls `leave` after the last one.
  * `InterruptibleSteps` marks each step of a coroutine, because other runs have the main thread in between.
  * `shield` and `unshield` mark owt's code below user code, such as `print`.
  * A run in a thread of its own needs no marks: `PyThreadState_SetAsyncExc` aims at that thread alone, and
    the runner holds the connection's lock meanwhile, so that no frame is cut short.

What can still fail:

  * A signal that arrives just before the main thread starts to wait (for a lock, a socket, a timer) sets a
    flag that Python looks at after the wait. The sender therefore repeats the signal until the main thread
    has noticed it (`unnoticed`).
  * An extension module that computes without returning to the interpreter sees no interrupt. The frontend
    kills the kernel after a grace period.
  * User code may catch KeyboardInterrupt. The runner then treats the run as stopped when it returns. Python's
    own `traceback` also catches it in the methods of an exception; the runner repeats the interrupt there.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from types import FrameType, TracebackType
from typing import Any

from owt.kernel.exit import end_fork, process_id


class Interrupts:
    """Handler of SIGINT in a kernel's main thread. All methods except `interrupt` belong to that thread."""

    def __init__(self, interrupt_others: Callable[[str | None], None]) -> None:
        """Create the handler; `install` activates it.

        `interrupt_others(target)` is called in the main thread if the signal is not for the run that the main
        thread works for. `target` is the id of the run to interrupt, or None for all runs.
        """
        self.run: str | None = None
        self._in_user_code = False
        # The run that `enter_user_code` interrupts.
        self._pending: str | None = None
        self._target: str | None = None
        self._interrupt_others = interrupt_others
        self._thread = threading.main_thread().ident

    def install(self) -> None:
        """Install the handler. ipykernel replaces it while it handles a message, and restores it."""
        signal.signal(signal.SIGINT, self._handle)

    def interrupt(self, run: str) -> None:
        """Interrupt this run if the main thread works for it when the signal arrives. Thread-safe."""
        self._target = run
        assert self._thread is not None
        signal.pthread_kill(self._thread, signal.SIGINT)

    @property
    def unnoticed(self) -> str | None:
        """Run of an `interrupt` that the main thread has not noticed yet.

        A signal that arrives just before the main thread starts to wait is noticed only after the wait; send
        it again.
        """
        return self._target

    def begin(self, run: str) -> None:
        """Record that the main thread works for `run`."""
        self.run = run

    def end(self) -> None:
        """Record that the main thread works for no run. A pending interrupt waits for the same run."""
        self.run = None
        self._in_user_code = False

    def enter_user_code(self) -> None:
        """Allow interrupts. Raises KeyboardInterrupt if one is pending."""
        self._in_user_code = True
        self._raise_pending()

    def leave_user_code(self) -> None:
        """Make interrupts pending from now on."""
        self._in_user_code = False

    def shield(self) -> bool:
        """Make interrupts pending for a while. Pass the result to `unshield`."""
        allowed, self._in_user_code = self._in_user_code, False
        return allowed

    def unshield(self, allowed: bool) -> None:
        """End a `shield`. Raises KeyboardInterrupt if interrupts are allowed again and one is pending."""
        self._in_user_code = allowed
        if allowed:
            self._raise_pending()

    def _raise_pending(self) -> None:
        if self._pending is not None and self._pending == self.run:
            self._pending = None
            raise KeyboardInterrupt

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        target, self._target = self._target, None
        if self.run is None or (target is not None and target != self.run):
            self._interrupt_others(target)
        elif self._in_user_code:
            raise KeyboardInterrupt
        else:
            self._pending = self.run


class InOtherThread:
    """Context manager around user code in a thread of its run.

    A child process that user code has forked ends where it leaves this code: it would answer the parent's
    calls.
    """

    def __init__(self) -> None:
        self._process = process_id()

    def __enter__(self) -> None:
        pass

    def show_loop(self, visible: bool) -> None:
        """Do nothing: a thread has no running event loop."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if process_id() != self._process:
            end_fork(error)


class RunningLoop:
    """Event loop that a thread runs, and its task, while code that may run another loop sees neither.

    asyncio has no public way to run a loop inside of a loop. From Python 3.14 on, a thread can have only one
    current task, and those of an inner loop would never go on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None

    def hide(self) -> None:
        """Hide the loop, and the task that it runs now."""
        loop = asyncio._get_running_loop()
        if loop is not None and loop is self._loop:
            self._task = asyncio.current_task(loop)
            if self._task is not None:
                asyncio._leave_task(loop, self._task)
        asyncio._set_running_loop(None)

    def show(self) -> None:
        """Show both again, whatever was interrupted."""
        asyncio._set_running_loop(self._loop)
        if self._loop is not None and self._task is not None and asyncio.current_task(self._loop) is None:
            asyncio._enter_task(self._loop, self._task)
        self._task = None


class InMainThread(InOtherThread):
    """Context manager around user code in the main thread.

    User code may be interrupted and sees no running event loop, so that `asyncio.run` works in a plain
    adaptor as it does in a script. `show_loop` is for cells, which see the loop as in a notebook.
    """

    def __init__(self, interrupts: Interrupts, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._interrupts = interrupts
        self._loop = RunningLoop(loop)

    def __enter__(self) -> None:
        self._loop.hide()
        self._interrupts.enter_user_code()

    def show_loop(self, visible: bool) -> None:
        """Show the running event loop to user code from now on, or hide it."""
        if visible:
            self._loop.show()
        else:
            self._loop.hide()

    def leave(self) -> None:
        """Make interrupts of this run ineffective, and restore the running loop, whatever was interrupted."""
        self._interrupts.end()
        self._loop.show()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupts.leave_user_code()
        self._loop.show()
        if process_id() != self._process:
            end_fork(error)


class InStep(InOtherThread):
    """Context manager around one step of a run's coroutine on the main thread's event loop."""

    def __init__(self, interrupts: Interrupts, run: str) -> None:
        super().__init__()
        self._interrupts = interrupts
        self._run = run

    def __enter__(self) -> None:
        self._interrupts.begin(self._run)
        self._interrupts.enter_user_code()

    def leave(self) -> None:
        """Make interrupts of this run ineffective."""
        self._interrupts.end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        # These two are the returns of a coroutine and of an asynchronous generator.
        returned = kind is StopIteration or kind is StopAsyncIteration
        super().__exit__(kind, None if returned else error, trace)


class InterruptibleSteps:
    """Wrapper of a user's awaitable that makes each of its steps inside of `step`.

    KeyboardInterrupt and SystemExit in a step would end the event loop, because asyncio re-raises both. They
    leave the wrapper as `Stopped` instead.
    """

    def __init__(self, awaitable: Awaitable[Any], step: InStep) -> None:
        self._awaitable = awaitable
        self._step = step

    def __await__(self) -> Generator[Any, Any, Any]:
        """Drive the awaitable as `yield from` does (PEP 380)."""
        steps = self._awaitable.__await__()
        # A plain iterator may lack these methods; PEP 380 defines what `yield from` does then.
        send: Callable[[Any], Any] = getattr(steps, "send", lambda _: next(steps))
        throw: Callable[[BaseException], Any] = getattr(steps, "throw", _throw)
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                with self._step:
                    waiting_for = send(value) if error is None else throw(error)
            except StopIteration as stop:
                return stop.value
            except (KeyboardInterrupt, SystemExit) as stopped:
                # An interrupt may have come at the step's very beginning or end.
                self._step.leave()
                raise Stopped(stopped) from stopped
            try:
                value, error = (yield waiting_for), None
            except GeneratorExit:
                getattr(steps, "close", lambda: None)()
                raise
            except BaseException as thrown:
                value, error = None, thrown


def _throw(error: BaseException) -> Any:
    raise error


class Stopped(Exception):
    """End of a coroutine's step by KeyboardInterrupt or SystemExit, which is the `cause`."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(repr(cause))
        self.cause = cause
