"""The kernel's side of its two connections to the frontend.

The connection `calls` is read on the main thread's event loop, where its calls run. The connection `control`
is read in ipykernel's control thread, which is free while the main thread computes.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, NoReturn

from owt.errors import WireError
from owt.kernel import context
from owt.kernel.calls.connection import FrontendConnection
from owt.kernel.calls.iopub import IopubMirror
from owt.kernel.calls.runner import Runner
from owt.kernel.code.adaptor_files import AdaptorFolder
from owt.kernel.exit import end_fork, end_process_group, hand_over, process_id
from owt.kernel.memory_limit import MemoryLimit, keep_freed_memory
from owt.server import Server
from owt.wire.messages import (
    Bind,
    Cancel,
    Cell,
    Credit,
    Hello,
    Input,
    InputEnd,
    Invoke,
    Message,
    Ping,
    Pong,
    RegisterResult,
    Welcome,
    Withdraw,
)
from owt.wire.unsent import UnsentOutput


def show_session(session: str | None) -> None:
    """Make the session's name the title of this process in `ps`, `top` and `nvidia-smi`, if setproctitle is
    installed."""
    # Without this variable it also overwrites the environment, in which the server finds its processes.
    os.environ["SPT_NOENV"] = "1"
    try:
        from setproctitle import setproctitle

        setproctitle("owt-kernel" if session is None else f"owt: {session}")
    except ImportError:
        pass
    finally:
        del os.environ["SPT_NOENV"]


class KernelChannel:
    """Both connections of this kernel, and the runner behind them."""

    def __init__(
        self,
        calls: socket.socket,
        control: socket.socket,
        unsent: UnsentOutput | None = None,
        *,
        shell: Any,
        main: asyncio.AbstractEventLoop,
        in_control: asyncio.AbstractEventLoop,
        mirror: IopubMirror | None = None,
    ) -> None:
        """Wait for the frontend's first message. `main` is the main thread's loop, `in_control` the control
        thread's. `unsent` is the memory for output that has not been sent.

        Raises `WireError` when the message is not a `Welcome`.
        """
        keep_freed_memory()
        self._process = process_id()
        self._main = main
        self._control_loop = in_control
        self._control = FrontendConnection(control, self._lost)
        self._calls = FrontendConnection(calls, self._lost, unsent)
        self._cleanup: tuple[str, ...] = ()
        first = self._calls.receive_first()
        # Number of the newest message on the connection for calls.
        self._number = 1
        self._calls.note_handled(self._number)
        if not isinstance(first, Welcome):
            raise WireError(f"the frontend's first message is {type(first).__name__}, not Welcome")
        self.welcome = first
        self._cleanup = first.cleanup
        self._memory = MemoryLimit()
        Server.announce(first.url, first.address, first.port, context.running_id)
        # Before the runner, for which functions that are registered later are the user's, and run with calls.
        shell.events.register(
            "post_run_cell", lambda result: self.end_fork(getattr(result, "error_in_exec", None))
        )
        self.runner = Runner(
            shell=shell,
            connection=self._calls,
            loop=main,
            call_later=self._later,
            window=first.window,
            concurrency=first.concurrency,
            memory=self._memory,
            mirror=mirror,
            folder=None if first.files is None else AdaptorFolder(first.files),
        )
        self._bind(first.session, first.concurrency)

    @property
    def session(self) -> str | None:
        """Session that the kernel is bound to; None in the pool."""
        return self.runner.endpoints.session

    def _bind(self, session: str | None, concurrency: int) -> None:
        self.runner.endpoints.session = session
        self.runner.concurrency = concurrency
        show_session(session)

    def start(self) -> None:
        """Report that calls can come, and read them. In the main thread, before or while its loop runs."""
        self._memory.set(self.welcome.memory)
        self.runner.start()
        self._main.add_reader(self._calls.fileno(), self._read_calls)
        self._control_loop.call_soon_threadsafe(
            lambda: self._control_loop.add_reader(self._control.fileno(), self._read_control)
        )
        self._calls.send(Hello())

    def end_fork(self, error: BaseException | None) -> None:
        """End this process if a cell has forked it, and has left its code by `error`."""
        if process_id() != self._process:
            end_fork(error)

    def cell(self, running: bool) -> None:
        """Report that a cell of an attached notebook starts, or has ended."""
        self._calls.send(Cell(running))

    def _read_calls(self) -> None:
        for message in self._receive(self._calls):
            self._number += 1
            if isinstance(message, Invoke):
                self.runner.accept(message.run, message.call, self._number)
            elif isinstance(message, Ping):
                self._calls.note_handled(self._number)
                self._calls.send(Pong())
            elif isinstance(message, Bind):
                self._bind(message.session, message.concurrency)
            else:
                raise WireError(f"received {type(message).__name__} on the connection for calls")

    def _read_control(self) -> None:
        for message in self._receive(self._control):
            if isinstance(message, Credit):
                self.runner.grant(message.run, message.size)
            elif isinstance(message, Cancel):
                self.runner.cancel(message.run, message.reason)
            elif isinstance(message, Withdraw):
                self.runner.withdraw(message.run)
            elif isinstance(message, Input):
                self.runner.add_input(message)
            elif isinstance(message, InputEnd):
                self.runner.end_input(message.run, message.error)
            elif isinstance(message, RegisterResult):
                self.runner.endpoints.on_result(message.number, message.problem)
            else:
                raise WireError(f"received {type(message).__name__} on the connection for control")

    def _receive(self, connection: FrontendConnection) -> list[Message]:
        try:
            messages = connection.receive()
        except (WireError, OSError, MemoryError):
            # The frontend lives, but this kernel cannot understand it.
            end_process_group()
        if messages is None:
            self._lost()
        return messages

    def _lost(self) -> NoReturn:
        hand_over(self._cleanup)

    def _later(self, seconds: float, function: Any) -> None:
        self._control_loop.call_soon_threadsafe(self._control_loop.call_later, seconds, function)
