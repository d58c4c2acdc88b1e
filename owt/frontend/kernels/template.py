"""Client of the template process: starts it, requests forks, and receives the exit codes of kernels."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from owt.errors import KernelNotReady, WireError
from owt.frontend.kernels.environments import module_command
from owt.frontend.kernels.process import ForkedProcess
from owt.wire.framing import encode_frame
from owt.wire.template import (
    KERNEL_MARK,
    NO_KERNEL,
    Exited,
    Fork,
    Forked,
    KillRest,
    NotForked,
    Ready,
    template_decoder,
)

log = logging.getLogger("owt.template")

CLOSE_TIMEOUT = 10.0
"""Seconds that the template has to end what is left, and itself."""
MAX_FAILURES = 3
"""Templates in a row that may be killed before they are ready; then kernels start without one."""

START_VARIABLES = ("PYTHON", "LD_", "DYLD_", "MALLOC_", "OMP_")
"""Prefixes of variables that a process reads when its program starts, which a fork does not."""

UNREAD_VARIABLES = ("OWT_", "KERNEL_")
"""Prefixes of variables that no preloaded module reads: owt's own, and those of Jupyter's kernel gateway."""

REAPER = str(Path(__file__).parents[2] / "host" / "reaper.py")
"""Program that a kernel's process becomes when the frontend is gone."""


class TemplateProcess:
    """The template process. When it dies, another one starts, and meanwhile kernels start without it.

    Kernels that it forked live on.
    """

    def __init__(
        self,
        *,
        env: dict[str, str],
        preload: Sequence[str],
        command: Sequence[str] = (sys.executable, "-m"),
        runtime_dir: str | None = None,
        cwd: str | None = None,
        fork: bool = True,
        keep_threads: bool = False,
    ) -> None:
        """`command` runs modules of owt in the interpreter of the kernels. `env` is the template's
        environment, and `preload` are modules that it imports besides those that every kernel needs, in the
        directory `cwd`. With `keep_threads`, it also keeps those that start threads. With a `runtime_dir` it
        cleans up after the server, and without `fork` it only does that."""
        self._prefix = module_command([*command, "owt.kernel"])
        self.interpreter = os.path.abspath(command[0])
        self.preload = preload
        self._cwd = cwd
        self._command = [*command, "owt.host.template"]
        if runtime_dir is not None:
            self._command += ["--runtime-dir", runtime_dir]
        for name in preload:
            self._command += ["--preload", name]
        if keep_threads:
            self._command.append("--keep-threads")
        if not fork:
            self._command.append("--no-fork")
        self.problems: tuple[str, ...] = ()
        self.env = {**env, KERNEL_MARK: NO_KERNEL}
        self._ids = itertools.count(1)
        self._failures = 0
        self._sending = asyncio.Lock()
        self._may_send = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._children: dict[int, ForkedProcess] = {}
        self._pidfds: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ready: asyncio.Future[bool] | None = None
        self._closing = False
        self._used = 0.0

    def start(self) -> None:
        """Start the process, without waiting until it is ready. Needs a running event loop."""
        loop = asyncio.get_running_loop()
        own_side, template_side = socket.socketpair()
        with template_side:
            try:
                self._process = self._spawn(template_side)
            except OSError:
                own_side.close()
                raise
        self._socket = own_side
        self._socket.setblocking(False)
        self._used = time.monotonic()
        self._decoder = template_decoder()
        self._ready = loop.create_future()
        loop.add_reader(self._socket, self._read)

    def _spawn(self, channel: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._command, "--channel", str(channel.fileno())],
            env=self.env,
            cwd=self._cwd,
            pass_fds=[channel.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    async def ready(self) -> bool:
        """Wait until it has imported everything. Return False if it does not fork or cannot start."""
        if self._ready is None:
            return False
        return await asyncio.shield(self._ready)

    @property
    def preparing(self) -> bool:
        """True while it imports."""
        return self._ready is not None and not self._ready.done()

    @property
    def can_fork(self) -> bool:
        """True if it can fork a kernel now."""
        ready = self._ready
        return ready is not None and ready.done() and ready.result()

    @property
    def is_gone(self) -> bool:
        """True if it ended, and no other one starts."""
        return self._ready is None

    @property
    def idle_since(self) -> float | None:
        """Monotonic time since which it has had no kernel and imports nothing, or None."""
        return None if self.preparing or self._children or self._waiting else self._used

    def arguments(self, command: Sequence[str], env: Mapping[str, str]) -> list[str] | None:
        """Return the arguments of `owt.kernel` in this command, or None if a fork cannot stand in for it.

        It cannot where the interpreter is another one, or where this process has other values of variables
        that its program, or one of its preloaded modules, has read.
        """
        if module_command(command) != self._prefix:
            return None
        for name in {*env, *self.env}:
            if env.get(name) != self.env.get(name) and (
                name.startswith(START_VARIABLES)
                or (self.preload and not name.startswith(UNREAD_VARIABLES))
            ):
                return None
        return list(command[3:])

    async def fork(
        self, argv: Sequence[str], env: dict[str, str], cwd: str, connections: socket.socket | None = None
    ) -> ForkedProcess:
        """Fork a kernel that receives its connections from this socket.

        Raises `KernelNotReady` when the template cannot or is gone.
        """
        if not self.can_fork or self._socket is None:
            raise KernelNotReady("there is no template process")
        self.wake()
        self._used = time.monotonic()
        id = next(self._ids)
        future: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        frame = encode_frame(Fork(id, tuple(argv), env, cwd, connections is not None))
        try:
            # One at a time, or parts of two messages could mix when the socket's buffer is full.
            async with self._sending:
                await self._send(frame, [] if connections is None else [connections.fileno()])
        except OSError as error:
            self._waiting.pop(id, None)
            raise KernelNotReady(f"the template process is gone: {error}") from error
        return await future

    async def kill_rest(self, mark: str, forked: bool) -> None:
        """Have the processes killed that a kernel with this mark has left behind; not without a template."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                async with self._sending:
                    await self._send(encode_frame(KillRest(mark, forked)), [])

    async def _send(self, frame: bytearray, descriptors: Sequence[int]) -> None:
        sent = 0
        while self._socket is not None and sent < len(frame):
            try:
                sent += socket.send_fds(self._socket, [frame[sent:]], () if sent else descriptors)
            except BlockingIOError:
                await self._writable(self._socket)

    async def _writable(self, channel: socket.socket) -> None:
        """Wait until the channel takes more bytes or is closed."""
        loop = asyncio.get_running_loop()
        self._may_send.clear()
        loop.add_writer(channel, self._may_send.set)
        try:
            await self._may_send.wait()
        finally:
            if channel is self._socket:
                loop.remove_writer(channel)

    def wake(self) -> None:
        """Continue the process if a signal has stopped it: kernels' starts and ends depend on it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Close its socket, so that it ends what is left and exits; kill it when that takes too long."""
        self._closing = True
        self.wake()
        self._disconnect()
        process = self._process
        if process is None:
            return
        try:
            await asyncio.wait_for(asyncio.to_thread(process.wait), CLOSE_TIMEOUT)
        except TimeoutError:
            process.kill()
            process.wait()

    def _read(self) -> None:
        assert self._socket is not None
        assert self._process is not None
        assert self._ready is not None
        try:
            data, pidfds, _, _ = socket.recv_fds(self._socket, 1 << 16, 64)
        except BlockingIOError:
            return
        except OSError:
            data, pidfds = b"", []
        self._pidfds += pidfds
        if not data:
            self._lost()
            return
        try:
            messages = self._decoder.feed(data)
        except WireError as error:
            log.error("the template process is killed: %s", error)
            self._process.kill()
            self._lost()
            return
        for message in messages:
            match message:
                case Ready(can_fork=can_fork, problems=problems):
                    self._failures = 0
                    self._used = time.monotonic()
                    self.problems = problems
                    for problem in problems:
                        log.warning("%s", problem)
                    if not self._ready.done():
                        self._ready.set_result(can_fork)
                case Forked(id=id, pid=pid):
                    child = ForkedProcess(pid, self._pidfd_of(pid), self.wake)
                    self._children[pid] = child
                    if (waiting := self._waiting.pop(id, None)) and not waiting.done():
                        waiting.set_result(child)
                    else:
                        child.kill()
                case NotForked(id=id, problem=problem):
                    if (waiting := self._waiting.pop(id, None)) and not waiting.done():
                        waiting.set_exception(KernelNotReady(f"fork failed: {problem}"))
                case Exited(pid=pid, code=code):
                    self._used = time.monotonic()
                    if exited := self._children.pop(pid, None):
                        exited.set_code(code)

    def _pidfd_of(self, pid: int) -> int | None:
        """Return the pidfd of this process among those that arrived.

        The system says whose each is, because descriptors are lost when a process has too many.
        """
        while self._pidfds:
            pidfd = self._pidfds.pop(0)
            with contextlib.suppress(OSError):
                words = Path(f"/proc/self/fdinfo/{pidfd}").read_text().split()
                if words[words.index("Pid:") + 1] == str(pid):
                    return pidfd
            os.close(pidfd)
        return None

    def _disconnect(self) -> None:
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._may_send.set()
            self._socket.close()
            self._socket = None

    def _lost(self) -> None:
        assert self._process is not None
        assert self._ready is not None
        self._disconnect()
        was_ready = self._ready.done()
        if not was_ready:
            self._ready.set_result(False)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(KernelNotReady("the template process died"))
        self._waiting.clear()
        for child in self._children.values():
            child.lose_template()
        self._children.clear()
        for pidfd in self._pidfds:
            os.close(pidfd)
        self._pidfds.clear()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._ready = None
        if self._closing:
            return
        code = self._process.returncode
        self._failures += 1
        # A template that ended by itself while it imported would do so again.
        if self._failures < MAX_FAILURES and (was_ready or code is None or code < 0):
            log.warning("the template process ended (exit code %s); another one starts", code)
            self.start()
        else:
            ending = "kernels start without it and its modules"
            log.warning("the template process ended (exit code %s); %s", code, ending)
