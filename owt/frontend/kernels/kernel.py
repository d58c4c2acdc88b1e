"""One kernel process and the call channel to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Literal

import psutil
from jupyter_client.manager import AsyncKernelManager
from traitlets import Any as AnyTrait

from owt.errors import KernelKilled, KernelNotReady, WireError
from owt.frontend.counters import Cause
from owt.frontend.endpoints import Endpoints
from owt.frontend.kernels.connection import KernelConnection
from owt.frontend.kernels.exits import describe_exit
from owt.frontend.kernels.template import UNKNOWN_CODE, ForkedProcess
from owt.wire.call import Call
from owt.wire.messages import (
    PROTOCOL,
    Bind,
    Cancel,
    Cell,
    Credit,
    Hello,
    Invoke,
    Message,
    Output,
    Queued,
    RegisterEndpoints,
    RegisterResult,
    StartDeadlinePassed,
    Welcome,
)

log = logging.getLogger("owt.kernels")

EXIT_TIMEOUT = 2.0
"""Seconds that a process may go on after it has closed its lanes; then it is killed."""
CODE_TIMEOUT = 30.0
"""Seconds that it may take to learn the exit code of a process that is gone."""
POLL = 0.1
"""Seconds between two looks at a process where the system cannot tell that one has ended."""


class OwtKernelManager(AsyncKernelManager):
    """jupyter_client's manager, which also knows the template that `ForkProvisioner` needs."""

    template = AnyTrait()

    def _connect_control_socket(self) -> None:
        """Nothing: a control socket for each kernel costs descriptors, and interrupts and the end
        of a kernel are signals here. Jupyter clients that attach make their own."""


class Kernel:
    """One kernel process and its lanes. Made by `Kernels.start`."""

    def __init__(
        self,
        id: str,
        spec: str,
        manager: OwtKernelManager,
        welcome: Welcome,
        on_output: Callable[[Output | Queued], None],
        on_death: Callable[[Kernel, str], None],
        on_buried: Callable[[Kernel], None],
        endpoints: Endpoints,
    ) -> None:
        """`on_death` hears what ended the process, as words that fit after "the kernel";
        `on_buried` is called when nothing is left of it. `endpoints` hears what paths it answers at."""
        self.id = id
        self.spec = spec
        self.manager = manager
        self.key: bytes = manager.session.key
        self.pid: int | None = None
        self.connection_file: str = manager.connection_file
        self.ending: str | None = None
        self.cause: Cause = "crashed"
        self.death: str | None = None
        self.in_cell = False
        self.last_cell: float | None = None
        self.on_output = on_output
        self.on_death = on_death
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_buried = on_buried
        self._welcome = welcome
        self._session = welcome.session
        self._endpoints = endpoints
        self._calls: KernelConnection | None = None
        self._control: KernelConnection | None = None
        self._dead = False
        self._signalled = False
        self._closing: asyncio.Task[None] | None = None
        self._watched: int | None = None
        self._polling: asyncio.Task[None] | None = None

    async def connect(self) -> tuple[socket.socket, socket.socket]:
        """Make the connections; return the sockets for the kernel, which are the caller's to close."""
        self._calls, theirs = await KernelConnection.open(self)
        try:
            self._control, their_control = await KernelConnection.open(self)
        except BaseException:
            theirs.close()
            raise
        self._calls.send(self._welcome)
        return theirs, their_control

    # The connections' side ---------------------------------------------------------------------

    def received(self, message: Message) -> None:
        """Handle a message of the kernel. Raises `WireError` for one that has no place here."""
        match message:
            case Output() | Queued() if self.ready.done():
                self.on_output(message)
            case Cell(running=running) if self.ready.done():
                self.in_cell = running
                self.last_cell = time.time()
            case RegisterEndpoints(number=number) if self.ready.done():
                problem = self._endpoints.offer(self.id, self._session, message)
                self.ask(RegisterResult(number, problem))
            case Hello(protocol=protocol) if not self.ready.done():
                if protocol != PROTOCOL:
                    raise WireError(
                        f"kernel {self.id} speaks version {protocol} of the protocol and this server version "
                        f"{PROTOCOL}; install the same version of owt in the kernel's environment"
                    )
                self.ready.set_result(None)
            case _:
                raise WireError(f"kernel {self.id} sent {type(message).__name__} out of order")

    def disconnected(self) -> None:
        """End the kernel, which is of no use without both of its connections."""
        self._lost()

    # The session's side ------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether calls can be sent."""
        return not self._dead and self.ready.done()

    @property
    def state(self) -> Literal["starting", "ready", "ending"]:
        """Where it is between its start and its end."""
        if self._dead:
            return "ending"
        return "ready" if self.ready.done() else "starting"

    def invoke(self, run: str, call: Call) -> None:
        """Send a call. Its output comes to `on_output`, or `on_death` is called."""
        assert self._calls is not None
        self._calls.send(Invoke(run, call))

    def bind(self, session: str | None, concurrency: int) -> None:
        """The kernel now belongs to this session."""
        self._session = session
        assert self._calls is not None
        self._calls.send(Bind(session, concurrency))

    def credit(self, run: str, size: int) -> None:
        """The run's readers have taken `size` bytes."""
        if self._control is not None:
            self._control.send(Credit(run, size))

    def cancel(self, message: Cancel) -> None:
        """End one run."""
        self.ask(message)

    def ask(self, message: Cancel | StartDeadlinePassed | RegisterResult) -> None:
        """Have the kernel end a run, or say what has become of it; or answer what it asked."""
        if self._control is not None:
            self._control.send(message)

    async def interrupt(self) -> None:
        """SIGINT to the kernel and to what it started: ends whatever runs there, also a cell."""
        with contextlib.suppress(RuntimeError, OSError):
            await self.manager.signal_kernel(signal.SIGINT)

    def memory(self) -> int | None:
        """Resident bytes of the process; None when it is gone, or no file descriptor is left to ask with."""
        if self.pid is None:
            return None
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except (psutil.Error, OSError):
            return None

    def stopped(self) -> bool:
        """Whether the process is stopped, by SIGSTOP or the like; not by a debugger."""
        try:
            return self.pid is not None and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    def kill(self, reason: str, cause: Cause = "ended") -> None:
        """End the process at once; `reason` is what `on_death` will hear, `cause` what is counted."""
        if self.ending is None:
            self.ending = reason
            self.cause = cause
        self._lost()

    async def closed(self) -> None:
        """Wait until a kill has done its work."""
        if self._closing is not None:
            await asyncio.shield(self._closing)

    def watch(self) -> None:
        """The process has been started: notice its end, also before its hello, and also when
        something that it forked keeps the lanes open."""
        provisioner = self.manager.provisioner
        self.pid = getattr(provisioner, "pid", None)
        if self._dead:
            return
        process = getattr(provisioner, "process", None)
        try:
            if isinstance(process, ForkedProcess):
                self._watched = process.handle()
            elif self.pid is not None:
                self._watched = os.pidfd_open(self.pid)
        except (OSError, AttributeError):
            self._watched = None
        loop = asyncio.get_running_loop()
        if self._watched is not None:
            loop.add_reader(self._watched, self._lost)
        else:
            self._polling = loop.create_task(self._poll())

    async def _poll(self) -> None:
        while not self._dead:
            if self.manager.provisioner is None or await self.manager.provisioner.poll() is not None:
                self._lost()
            await asyncio.sleep(POLL)

    def _lost(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None
        if not self._dead:
            self._dead = True
            self._closing = asyncio.get_running_loop().create_task(self._bury())

    async def _bury(self) -> None:
        """Learn how it ended, make sure that it has, and clean up."""
        reason = self.ending or await self._cause()
        if not self.ready.done():
            if self.ending is None:
                self.cause = "unready"
            problem = f"the kernel {reason} before it was ready; what it wrote is in the server's log"
            self.ready.set_exception((KernelKilled if self._signalled else KernelNotReady)(problem))
            self.ready.exception()
        self.death = reason
        self._endpoints.lost(self.id, reason)
        self.on_death(self, reason)
        try:
            # The whole process group: also what the kernel started and left behind.
            if pgid := getattr(self.manager.provisioner, "pgid", None):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pgid, signal.SIGKILL)
            # Only now: a kernel whose connection ends takes the frontend for gone.
            for connection in (self._calls, self._control):
                if connection is not None:
                    connection.close()
            await self._exit_code()
            self.manager.shutting_down = True
            await self.manager._async_kill_kernel()
            await self.manager.cleanup_resources()
            # The manager forgets one that it could not write to its end.
            with contextlib.suppress(OSError):
                os.unlink(self.connection_file)
        except Exception:
            log.exception("cleaning up after kernel %s", self.id)
        self._on_buried(self)

    async def _cause(self) -> str:
        try:
            code = await self._exit_code()
        except Exception:
            # Whatever a provisioner of others does, calls that wait must hear of the end.
            log.exception("asking how kernel %s ended", self.id)
            return "ended"
        self._signalled = code is not None and (code < 0 or code == UNKNOWN_CODE)
        return "closed its call channel" if code is None else describe_exit(code, self._welcome.memory)

    async def _exit_code(self) -> int | None:
        """The exit code, as soon as it is known; None when the process goes on."""
        provisioner = self.manager.provisioner
        began = time.monotonic()
        while provisioner is not None and provisioner.has_process:
            code: int | None = await provisioner.poll()
            if code is not None:
                return code
            process = getattr(provisioner, "process", None)
            gone = isinstance(process, ForkedProcess) and process.has_exited()
            if time.monotonic() - began > (CODE_TIMEOUT if gone else EXIT_TIMEOUT):
                return None
            await asyncio.sleep(0.005)
        return None
