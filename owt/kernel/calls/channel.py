"""The kernel's side of its two connections to the frontend.

The connection `calls` is read on the main thread's event loop, where its calls run. The connection `control`
is read in ipykernel's control thread, which is free while the main thread computes. That thread also handles
the end of a frontend that may have a successor, and the arrival of the next one.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

from owt.errors import WireError
from owt.kernel import context
from owt.kernel.calls.connection import FrontendConnection, Receiver
from owt.kernel.calls.handover import FrontendEnd
from owt.kernel.calls.iopub import IopubMirror
from owt.kernel.calls.runner import Runner
from owt.kernel.code.adaptor_files import AdaptorFolder
from owt.kernel.exit import end_fork, end_process_group, hand_over, process_id
from owt.kernel.memory_limit import MemoryLimit, keep_freed_memory
from owt.server import Server
from owt.wire.messages import (
    PROTOCOL,
    Bind,
    Cancel,
    Cell,
    Credit,
    Forget,
    Hello,
    Input,
    InputEnd,
    Invoke,
    JournalLimit,
    Message,
    Ping,
    Pong,
    RegisterResult,
    Restored,
    Welcome,
    Withdraw,
)

WELCOME_TIMEOUT = 5.0
"""Seconds that the first message of the next frontend may take. It is there before the connection is."""


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
        end: FrontendEnd | None = None,
        *,
        shell: Any,
        main: asyncio.AbstractEventLoop,
        in_control: asyncio.AbstractEventLoop,
        mirror: IopubMirror | None = None,
    ) -> None:
        """Wait for the frontend's first message. `main` is the main thread's loop, `in_control` the control
        thread's. `end` is the frontend's end of the output.

        Raises `WireError` when the message is not a `Welcome`.
        """
        keep_freed_memory()
        self._process = process_id()
        self._main = main
        self._control_loop = in_control
        self._end = end
        self._in_cell = False
        self._control = Receiver(control)
        self._calls = FrontendConnection(calls, self._on_lost, None if end is None else end.unsent)
        # The receiving side of the connection for calls that the main thread reads, and the number of the
        # newest message there.
        self._reading = self._calls.receiver
        self.welcome = first = _welcome(self._reading)
        self._number = first.number
        self._calls.note_handled(self._number)
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
        self._main.add_reader(self._reading.fileno(), self._read_calls)
        self._control_loop.call_soon_threadsafe(self._start_in_control)
        self._calls.send(Hello())

    def _start_in_control(self) -> None:
        self._control_loop.add_reader(self._control.fileno(), self._read_control)
        if self._end is not None and self.welcome.keep:
            self._control_loop.add_reader(self._end.fileno(), self._read_handover)

    def end_fork(self, error: BaseException | None) -> None:
        """End this process if a cell has forked it, and has left its code by `error`."""
        if process_id() != self._process:
            end_fork(error)

    def cell(self, running: bool) -> None:
        """Report that a cell of an attached notebook starts, or has ended."""
        self._in_cell = running
        self._calls.send(Cell(running))

    def _read_calls(self) -> None:
        receiver = self._reading
        for message in self._receive(receiver, self._main):
            if receiver is not self._calls.receiver:
                # Its frontend is gone.
                return
            self._number += 1
            if isinstance(message, Invoke):
                self.runner.accept(message.run, message.call, self._number, message.keep)
            elif isinstance(message, Ping):
                self._calls.note_handled(self._number)
                self._calls.send(Pong())
            elif isinstance(message, Bind):
                self._bind(message.session, message.concurrency)
            else:
                raise WireError(f"received {type(message).__name__} on the connection for calls")

    def _read_control(self) -> None:
        for message in self._receive(self._control, self._control_loop):
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
            elif isinstance(message, Forget):
                self.runner.runs.forget(message.run)
            elif isinstance(message, JournalLimit):
                self._calls.pause(partial(self.runner.runs.limit, message.run, message.size))
            elif isinstance(message, RegisterResult):
                self.runner.endpoints.on_result(message.number, message.problem)
            else:
                raise WireError(f"received {type(message).__name__} on the connection for control")

    def _receive(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> list[Message]:
        try:
            messages = receiver.receive()
        except (WireError, OSError, MemoryError):
            # The frontend lives, but this kernel cannot understand it.
            end_process_group()
        if messages is None:
            loop.remove_reader(receiver.fileno())
            self._on_lost(receiver)
            return []
        return messages

    # The end of a frontend, and the next one, in the control thread ---------------------------------

    def _on_lost(self, receiver: Receiver) -> None:
        """Handle the end of a connection, which is noticed in any thread."""
        if self._end is None or not self.welcome.keep:
            hand_over(self.welcome.cleanup)
        self._control_loop.call_soon_threadsafe(self._disconnect, receiver)

    def _disconnect(self, receiver: Receiver) -> None:
        """End what the frontend of this connection needs, and wait for the next one, unless it has been
        done."""
        assert self._end is not None
        if self._end.is_attended and receiver in (self._control, self._calls.receiver):
            self._end.is_attended = False
            # What this frontend has sent last still counts.
            received = -1
            while self._control.received > received:
                received = self._control.received
                self._read_control()
            self._calls.disconnect()
            self._control_loop.remove_reader(self._control.fileno())
            self._control.socket.close()
            self.runner.disconnected()

    def _read_handover(self) -> None:
        assert self._end is not None
        self._disconnect(self._control)
        try:
            connections = self._end.receive()
        except (OSError, ValueError):
            end_process_group()
        if connections is None:
            # The host is gone too.
            hand_over(self.welcome.cleanup)
        calls, control = map(Receiver, connections)
        calls.socket.settimeout(WELCOME_TIMEOUT)
        try:
            welcome = _welcome(calls)
        except (WireError, OSError):
            # This frontend is gone, too, or of another version.
            self._end.is_attended = False
            calls.socket.close()
            control.socket.close()
            return
        calls.socket.settimeout(None)
        self.welcome = welcome
        Server.announce(welcome.url, welcome.address, welcome.port, context.running_id)
        self.runner.runs.first_number, self.runner.window = welcome.number, welcome.window
        self._bind(welcome.session, welcome.concurrency)
        self._control = control
        self._control_loop.add_reader(control.fileno(), self._read_control)
        self._calls.connect(calls, self._first_messages)
        self._main.call_soon_threadsafe(self._read_from, calls, welcome.number)

    def _first_messages(self, number: int) -> Iterator[Message]:
        """Yield the messages for a new frontend, the first of which has this number."""
        yield Hello(PROTOCOL, number, self._in_cell, self.runner.runs.inventory())
        yield self.runner.endpoints.announcement()
        yield from self.runner.runs.outputs()
        yield Restored()

    def _read_from(self, receiver: Receiver, number: int) -> None:
        """Read calls from another connection, whose first message had this number. In the main thread."""
        self._main.remove_reader(self._reading.fileno())
        self._reading.socket.close()
        self._reading, self._number = receiver, number
        self._calls.note_handled(number)
        self._main.add_reader(receiver.fileno(), self._read_calls)

    def _later(self, seconds: float, function: Any) -> None:
        self._control_loop.call_soon_threadsafe(self._control_loop.call_later, seconds, function)


def _welcome(receiver: Receiver) -> Welcome:
    """Wait for the first message. Raises `WireError` when it is not a `Welcome`."""
    first = receiver.receive_first()
    if not isinstance(first, Welcome):
        raise WireError(f"the frontend's first message is {type(first).__name__}, not Welcome")
    return first
