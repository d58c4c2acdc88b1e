"""One kernel: its process, its connections, and its states from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Protocol

import msgspec
import psutil

from owt.errors import KernelKilled, KernelNotReady, WireError
from owt.frontend.endpoints import Endpoints
from owt.frontend.kernels.connection import KernelConnection
from owt.frontend.kernels.exit import Exit, ExitKind
from owt.frontend.kernels.fork import OwtKernelManager
from owt.frontend.kernels.host import HeldDescriptors
from owt.frontend.kernels.last_output import LastOutput
from owt.frontend.kernels.process import (
    POLL_INTERVAL,
    ForkedProcess,
    descendants,
    exit_code,
    group_members,
    is_resource_tracker,
    wait_until_gone,
)
from owt.frontend.kernels.template import TemplateProcess
from owt.wire.call import Call
from owt.wire.messages import (
    PROTOCOL,
    Accepted,
    Bind,
    Cell,
    ControlMessage,
    Credit,
    Hello,
    Invoke,
    Keep,
    KeptRun,
    Message,
    Output,
    Ping,
    Pong,
    Queued,
    RegisterEndpoints,
    RegisterResult,
    Restored,
    Welcome,
    Withdrawn,
)

RunMessage = Output | Queued | Withdrawn | Credit | Pong | Accepted
"""Message of a kernel for its session."""

log = logging.getLogger("owt.kernels")

EXIT_TIMEOUT = 5.0
"""Seconds that a process may go on after it has closed a connection; then it is killed. An interpreter's end
can take more than two on a busy machine."""
CODE_TIMEOUT = 30.0
"""Seconds from the end of a process to its exit code."""
REST_TIMEOUT = 0.2
"""Seconds that the connection for calls may stay open after the end of the process."""
KILL_TIMEOUT = 5.0
"""Seconds from SIGKILL to the end of a process."""
TRACKER_TIMEOUT = 1.0
"""Seconds in which resource trackers may clean up after the processes of a kernel."""


class KernelState(Enum):
    """State of a kernel. Each is followed by a later one only."""

    STARTING = "starting"
    READY = "ready"
    """Calls can be sent."""
    ENDING = "ending"
    """The process is gone or being killed."""
    ENDED = "ended"
    """Nothing is left of it."""


class KernelOwner(Protocol):
    """The session that a kernel works for."""

    def received(self, message: RunMessage) -> None:
        """Handle a message about a run, or about the kernel's main thread."""

    def kernel_died(self, kernel: Kernel, exit: Exit) -> None:
        """Handle the end of the kernel. No message follows."""


class Kernel:
    """One kernel process. Made by `Kernels.start`.

    When its process or a connection ends, or `kill` is called, the kernel is ENDING: it determines the exit,
    notifies the endpoints and the owner, kills what is left of the process group, and removes its files.
    """

    def __init__(
        self,
        id: str,
        spec: str,
        manager: OwtKernelManager,
        welcome: Welcome,
        owner: KernelOwner,
        endpoints: Endpoints,
    ) -> None:
        """`endpoints` is the table in which the kernel's endpoints are registered."""
        loop = asyncio.get_running_loop()
        self.id = id
        self.spec = spec
        self.manager = manager
        self.key: bytes = manager.session.key
        self.connection_file: str = manager.connection_file
        self.mark = secrets.token_hex(8)
        self.pid: int | None = None
        self.state = KernelState.STARTING
        self.exit: Exit | None = None
        self.in_cell = False
        self.last_cell: float | None = None
        self.edition = b""  # of the pool for which the kernel starts, with --keep
        # Called with the runs that the kernel has from an earlier frontend, before their output comes.
        self.on_runs: Callable[[tuple[KeptRun, ...]], None] = lambda runs: None
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._owner = owner
        self._welcome = welcome
        self.session = welcome.session
        self._endpoints = endpoints
        self._calls: KernelConnection | None = None
        self._control: KernelConnection | None = None
        self._last_output: LastOutput | None = None
        self._was_kept = False
        self._trackers: set[int] = set()
        self._watching: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    # Start -------------------------------------------------------------------------------------

    async def connect(self) -> socket.socket:
        """Make the connections; return the socket from which the kernel receives its ends of them."""
        calls, control = await self._open_connections()
        with calls, control:
            self._last_output = LastOutput()
            if self.edition:
                self._last_output.note_edition(self.edition)
            return self._last_output.hand_over(calls, control)

    async def reconnect(self, template: TemplateProcess, held: HeldDescriptors) -> None:
        """Connect to the kernel that an earlier frontend has started, with what the template has kept of
        it. If the kernel has died meanwhile, it ends now."""
        self._was_kept = True
        self.manager.adopt(template, template.resume(self._held_name, held))
        channel, memory = held.descriptors[:2]
        self._last_output = LastOutput(socket.socket(fileno=channel), memory)
        # Larger than the numbers of all messages of the earlier frontend.
        number = self._last_output.newest_handled() + (1 << 32)
        self._welcome = msgspec.structs.replace(self._welcome, number=number)
        calls, control = await self._open_connections()
        with calls, control:
            self._last_output.hand_over_again(calls, control)
        self.watch()

    async def _open_connections(self) -> tuple[socket.socket, socket.socket]:
        """Make the connections, send the first message, and return the kernel's ends."""
        self._calls, calls = await KernelConnection.open(self)
        try:
            self._control, control = await KernelConnection.open(self)
        except BaseException:
            calls.close()
            raise
        self._calls.sent = self._welcome.number - 1
        self._calls.send(self._welcome)
        return calls, control

    @property
    def _held_name(self) -> str:
        return f"{self.id}-{self.mark}"

    def hold(self, template: TemplateProcess, process: ForkedProcess | None) -> None:
        """Have a template keep what the next frontend needs to go on with this kernel."""
        assert self._last_output is not None
        if process is None or process.pidfd is None:
            template.hold(self._held_name, self._last_output.descriptors)
        else:
            template.hold(self._held_name, (*self._last_output.descriptors, process.pidfd), process.pid)

    def watch(self) -> None:
        """Watch the process, which has been started: it may end before it is ready, or leave a child that
        keeps the connections open."""
        self.pid = getattr(self.manager.provisioner, "pid", None)
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        try:
            await wait_until_gone(self.manager.provisioner)
        finally:
            self._end()

    # Messages ----------------------------------------------------------------------------------

    def received(self, message: Message) -> None:
        """Handle a message of the kernel. Raises `WireError` for one that is out of order."""
        match message:
            case Hello(protocol=protocol) if self.state is KernelState.STARTING:
                if protocol != PROTOCOL:
                    raise WireError(
                        f"kernel {self.id} uses version {protocol} of the protocol and this server version "
                        f"{PROTOCOL}; install the same version of owt in the kernel's environment"
                    )
                assert self._calls is not None
                self._calls.received += message.number - 1
                self.in_cell = message.in_cell
                self.state = KernelState.READY
                self.on_runs(message.runs)
                if not self._was_kept:
                    self.ready.set_result(None)
            case Restored() if self._was_kept and not self.ready.done():
                self.ready.set_result(None)
            case _ if self.state is KernelState.ENDING:
                # The process has ended; its last output still arrives.
                if isinstance(message, Output | Queued | Withdrawn):
                    self._owner.received(message)
            case Output() | Queued() | Withdrawn() | Credit() | Pong() | Accepted() if self.alive:
                self._owner.received(message)
            case Cell(running=running) if self.state is KernelState.READY:
                self.in_cell = running
                self.last_cell = time.time()
            case RegisterEndpoints(number=number) if self.state is KernelState.READY:
                problem = self._endpoints.register(self.id, self.session, message)
                self.ask(RegisterResult(number, problem))
            case _:
                raise WireError(f"kernel {self.id} sent {type(message).__name__} out of order")

    def disconnected(self, error: WireError | None) -> None:
        """End the kernel, which is of no use without both of its connections. A kernel that is starting
        reports why it has none, by its exit status or to `Kernels.start`, which limits the time, too."""
        if error is None:
            if self.state is not KernelState.STARTING:
                self._end()
        else:
            self.kill(f"was killed because of an invalid message ({error})", ExitKind.CRASHED)

    @property
    def alive(self) -> bool:
        """True while calls can be sent."""
        return self.state is KernelState.READY

    def invoke(self, run: str, call: Call, keep: Keep | None = None, *, later: bool = False) -> None:
        """Send a call, with `later` in the next step of the loop. With `keep`, it outlives the frontend."""
        assert self._calls is not None
        if self._welcome.keep and self._last_output is not None:
            self._last_output.note_call()
        self._calls.send(Invoke(run, call, keep), later=later)

    def bind(self, session: str | None, concurrency: int, owner: KernelOwner) -> None:
        """Give the kernel to another session."""
        assert self._calls is not None
        self.session = session
        self._owner = owner
        if self._last_output is not None and self._welcome.keep:
            self._last_output.note_edition(b"")
        self._calls.send(Bind(session, concurrency))

    def credit(self, run: str, size: int) -> None:
        """Permit the kernel to send `size` more bytes of a run's output."""
        if self._control is not None:
            self._control.send(Credit(run, size))

    def ping(self) -> None:
        """Ask the main thread for a `Pong`, after the calls that were sent."""
        if self._calls is not None:
            self._calls.send(Ping())

    @property
    def newest_sent(self) -> int:
        """Number of the newest message for the main thread: a call or a ping."""
        return 0 if self._calls is None else self._calls.sent

    def newest_handled(self) -> int:
        """Return the number of the newest message that the main thread has begun to handle."""
        number = 0 if self._last_output is None else self._last_output.newest_handled()
        # A kernel that serves calls has handled its first message.
        return number or self.newest_sent

    def usage(self) -> tuple[int, float]:
        """Return the number of calls that all frontends have sent, and the time of the last (--keep)."""
        return (0, 0.0) if self._last_output is None else self._last_output.usage()

    def ask(self, message: ControlMessage) -> None:
        """Send a message that the kernel handles while a call runs."""
        if self._control is not None:
            self._control.send(message)

    # Process -----------------------------------------------------------------------------------

    async def interrupt(self) -> None:
        """Send SIGINT to the kernel and what it started, which ends a call or cell that runs there."""
        with contextlib.suppress(RuntimeError, OSError):
            await self.manager.signal_kernel(signal.SIGINT)

    def memory(self) -> int | None:
        """Return the resident bytes of the process; None if they cannot be read."""
        if self.pid is None:
            return None
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except (psutil.Error, OSError):
            return None

    @property
    def kept_seconds(self) -> float:
        """Return the time for which the kernel outlives the frontend (--keep)."""
        main: TemplateProcess | None = self.manager.main_template
        return main.keeping.seconds if main is not None and main.keeping is not None else 0

    def stopped(self) -> bool:
        """Return True when a signal (SIGSTOP) has stopped the process; a debugger does not count."""
        try:
            return self.pid is not None and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    # End ---------------------------------------------------------------------------------------

    def kill(self, reason: str, kind: ExitKind = ExitKind.REQUESTED) -> None:
        """Kill the process, unless it is ending, for this reason, in words that follow "the kernel"."""
        if self.state in (KernelState.STARTING, KernelState.READY):
            self.exit = Exit(kind, reason=reason)
            self._kill_descendants()
            self._end()

    async def closed(self) -> None:
        """Wait until nothing is left of a kernel that is ending."""
        if self._ending is not None:
            await asyncio.shield(self.ended)

    def _end(self) -> None:
        """Begin to end, unless that has begun."""
        if self.state in (KernelState.STARTING, KernelState.READY):
            self.state = KernelState.ENDING
            self._ending = asyncio.get_running_loop().create_task(self._clean_up())

    async def _clean_up(self) -> None:
        exit = self.exit or await self._find_exit()
        exit = self.exit = self._with_last_output(exit)
        if not self.ready.done():
            self.ready.set_exception(self._not_ready(exit))
            # The start may have been abandoned.
            self.ready.exception()
        self._endpoints.kernel_died(self.id, str(exit))
        self._owner.kernel_died(self, exit)
        try:
            await self._end_process()
            self._kill_rest()
            for template in (self.manager.template, self.manager.main_template):
                if template is not None:
                    template.release(self._held_name)
            await self.manager.cleanup_resources()
            # The manager does not know of a file that it could not write to its end.
            with contextlib.suppress(OSError):
                os.unlink(self.connection_file)
            if self._welcome.files is not None:
                await asyncio.to_thread(shutil.rmtree, self._welcome.files, ignore_errors=True)
        except Exception:
            log.exception("cleaning up after kernel %s", self.id)
        self.state = KernelState.ENDED
        self.ended.set_result(None)

    async def _find_exit(self) -> Exit:
        """Wait for the exit code of a process that has ended or closed a connection."""
        try:
            code = await self._exit_code()
            await self._receive_rest()
        except Exception:
            # A provisioner of another package may fail, and calls must not wait for ever.
            log.exception("finding out how kernel %s ended", self.id)
            code = None
        kind = ExitKind.CRASHED if self.ready.done() or self._was_kept else ExitKind.NOT_READY
        return Exit(kind, code, memory_limit=self._welcome.memory)

    async def _receive_rest(self) -> None:
        """Receive what the process sent before it ended. A child of it may keep the connection open."""
        if self._calls is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST_TIMEOUT):
                    await self._calls.ended.wait()

    def _with_last_output(self, exit: Exit) -> Exit:
        """Give the owner the last output of its runs; return the exit with what remains."""
        if self._last_output is None or self._calls is None:
            return exit
        try:
            outputs, rest = self._last_output.read(self._calls.received)
        finally:
            self._last_output.close()
        for output in outputs:
            self._owner.received(output)
        for chunk in rest:
            log.warning("the last output of kernel %s: %s", self.id, chunk.text.rstrip())
        return replace(exit, output=tuple(rest))

    def _not_ready(self, exit: Exit) -> KernelNotReady:
        reason = f"{exit} before it was ready; what it wrote is in the server's log"
        if exit.by_signal:
            return KernelKilled.because(reason)
        return KernelNotReady.because(f"{reason}; check its environment by: owt kernel check {self.spec}")

    async def _end_process(self) -> None:
        """Kill what is left of the process and its group, and wait for its end."""
        if not self._trackers and (pgid := getattr(self.manager.provisioner, "pgid", None)):
            # It ended without `kill`, such as by a signal of the system when memory ran out.
            self._kill_all(group_members(pgid))
        if self._trackers:
            await self._wait_for_trackers()
        self._kill_group()
        # Only now: a kernel whose connection ends takes the frontend for gone.
        for connection in (self._calls, self._control):
            if connection is not None:
                connection.close()
        provisioner = self.manager.provisioner
        if provisioner is not None and provisioner.has_process:
            await provisioner.kill()
            await self._exit_code()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_TIMEOUT):
                    await provisioner.wait()
        if self._watching is not None:
            self._watching.cancel()

    def _kill_rest(self) -> None:
        """Have the processes killed that the kernel has started in groups of their own."""
        forked = isinstance(getattr(self.manager.provisioner, "process", None), ForkedProcess)
        template: TemplateProcess | None = (
            self.manager.template if forked else self.manager.main_template
        )
        if template is not None and self.pid is not None:
            template.kill_rest(self.mark, forked)

    def _kill_descendants(self) -> None:
        """Kill the process and what it has started, also in sessions of their own, except resource trackers:
        these remove the shared memory of the others."""
        if self.pid is not None:
            self._kill_all([self.pid, *descendants(self.pid)])
        else:
            self._kill_group()

    def _kill_all(self, pids: list[int]) -> None:
        self._trackers = set(filter(is_resource_tracker, pids))
        if not self._trackers:
            self._kill_group()
        for pid in pids:
            if pid not in self._trackers:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    async def _wait_for_trackers(self) -> None:
        """Wait until the resource trackers have ended, which they do after the processes that use them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TRACKER_TIMEOUT):
                # They are no children of this process, and no event tells their end on every system.
                while any(map(is_resource_tracker, self._trackers)):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_INTERVAL / 10)

    def _kill_group(self) -> None:
        # The whole process group: also what the kernel started and left behind.
        if pgid := getattr(self.manager.provisioner, "pgid", None):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pgid, signal.SIGKILL)

    async def _exit_code(self) -> int | None:
        """Return the exit code as soon as it is known; None when the process goes on."""
        provisioner = self.manager.provisioner
        if provisioner is None or not provisioner.has_process:
            return None
        if self._watching is None:
            self.watch()
            assert self._watching is not None
        try:
            async with asyncio.timeout(EXIT_TIMEOUT):
                await asyncio.shield(self._watching)
            async with asyncio.timeout(CODE_TIMEOUT):
                return await exit_code(provisioner)
        except TimeoutError:
            return None
