"""The kernel's end of the call channel: two lanes, each read where it must never wait.

`calls` is read on the main thread's event loop: what it brings runs there. `control` is read in
ipykernel's control thread, which is free while the main thread computes: credit and cancels.
"""

from __future__ import annotations

import asyncio
from typing import Any

from owt.errors import WireError
from owt.host.reaper import leave
from owt.kernel.calls.connection import LaneEnd
from owt.kernel.calls.iopub import IopubMirror
from owt.kernel.calls.runner import Runner
from owt.kernel.process.memory_limit import Memory
from owt.server import Server
from owt.wire.messages import (
    Bind,
    Cancel,
    Cell,
    Credit,
    Invoke,
    Message,
    RegisterResult,
    StartDeadlinePassed,
    Welcome,
)


class KernelChannel:
    """Both lanes of this kernel, and the runner that they serve."""

    def __init__(
        self,
        *,
        door: str,
        kernel_id: str,
        key: bytes,
        shell: Any,
        main: asyncio.AbstractEventLoop,
        in_control: asyncio.AbstractEventLoop,
        mirror: IopubMirror | None = None,
    ) -> None:
        """Connect. `main` is the main thread's loop, `in_control` the control thread's.

        Raises OSError when the door is gone and `WireError` when the frontend is not one.
        """
        self._main = main
        self._control_loop = in_control
        self._control = LaneEnd(door, kernel_id, key, "control")
        self._calls = LaneEnd(door, kernel_id, key, "calls")
        first, *self._early = self._calls.receive_first()
        if not isinstance(first, Welcome):
            raise WireError(f"the frontend began with {type(first).__name__}, not with Welcome")
        self.welcome = first
        self.session = first.session
        self._memory = Memory()
        Server.announce(first.url, first.address, first.port)
        self.runner = Runner(
            shell=shell,
            lane=self._calls,
            loop=main,
            later=self._later,
            window=first.window,
            concurrency=first.concurrency,
            memory=self._memory,
            mirror=mirror,
        )
        self.runner.endpoints.session = first.session

    def start(self) -> None:
        """Begin to read. In the main thread, before or while its loop runs."""
        self._memory.limit(self.welcome.memory)
        self.runner.start()
        self._main.add_reader(self._calls.fileno(), self._read_calls)
        for message in self._early:
            self._handle_call(message)
        self._control_loop.call_soon_threadsafe(
            lambda: self._control_loop.add_reader(self._control.fileno(), self._read_control)
        )

    def cell(self, running: bool) -> None:
        """A cell of an attached notebook begins, or has ended."""
        self._calls.send(Cell(running))

    def _read_calls(self) -> None:
        messages = self._calls.receive()
        if messages is None:
            leave(self._control.door)
        for message in messages:
            self._handle_call(message)

    def _handle_call(self, message: Message) -> None:
        match message:
            case Invoke(run=run, call=call):
                self.runner.accept(run, call)
            case Bind(session=session, concurrency=concurrency):
                self.session = self.runner.endpoints.session = session
                self.runner.concurrency = concurrency
            case _:
                raise WireError(f"{type(message).__name__} has no place on the calls lane")

    def _read_control(self) -> None:
        messages = self._control.receive()
        if messages is None:
            leave(self._control.door)
        for message in messages:
            match message:
                case Credit(run=run, size=size):
                    self.runner.grant(run, size)
                case Cancel(run=run, reason=reason):
                    self.runner.cancel(run, reason)
                case StartDeadlinePassed(run=run, timeout=timeout):
                    self.runner.overdue(run, timeout)
                case RegisterResult(number=number, problem=problem):
                    self.runner.endpoints.heard(number, problem)
                case Welcome():
                    pass
                case _:
                    raise WireError(f"{type(message).__name__} has no place on the control lane")

    def _later(self, seconds: float, function: Any) -> None:
        self._control_loop.call_soon_threadsafe(self._control_loop.call_later, seconds, function)
