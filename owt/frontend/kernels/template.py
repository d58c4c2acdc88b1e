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
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from owt.errors import KernelNotReady, WireError
from owt.frontend.kernels.environments import module_command
from owt.frontend.kernels.host import AdoptedProcess, HeldDescriptors, Host
from owt.frontend.kernels.process import ForkedProcess
from owt.wire.framing import encode_frame
from owt.wire.template import (
    KERNEL_MARK,
    NO_KERNEL,
    End,
    Exited,
    Fork,
    Forked,
    Hold,
    KillRest,
    NotForked,
    Ready,
    Release,
    TemplateMessage,
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
"""Program that a kernel's process becomes when the frontend and the template are gone."""


@dataclass(frozen=True)
class Keeping:
    """Time in `seconds` for which a template outlives its frontend, and `path`, where the next one connects.

    `lock` is the descriptor of the locked runtime directory, for the template that cleans up.
    """

    seconds: float
    path: str
    lock: int | None = None


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
        keeping: Keeping | None = None,
    ) -> None:
        """`command` runs modules of owt in the interpreter of the kernels. `env` is the template's
        environment, and `preload` are modules that it imports besides those that every kernel needs, in the
        directory `cwd`. With `keep_threads`, it also keeps those that start threads. With a `runtime_dir` it
        cleans up after the server, and without `fork` it only does that. With `keeping`, it outlives the
        frontend."""
        self.prefix = module_command([*command, "owt.kernel"])
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
        self.keeping = keeping
        if keeping is not None:
            self._command += ["--keep", str(keeping.seconds), "--socket", keeping.path]
            if keeping.lock is not None:
                self._command += ["--lock", str(keeping.lock)]
        self.problems: tuple[str, ...] = ()
        # Number of processes that have taken the place of one that died.
        self.restarts = 0
        self.env = {**env, KERNEL_MARK: NO_KERNEL}
        self._ids = itertools.count(1)
        self._failures = 0
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        self._waiting: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._children: dict[int, ForkedProcess] = {}
        self._held: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._pidfds: list[int] = []
        self._process: subprocess.Popen[bytes] | AdoptedProcess | None = None
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
        self._ready = loop.create_future()
        self._connect(own_side)
        for name in self._held:
            self._send_held(name)

    def adopt(self, host: Host) -> None:
        """Go on with a process that an earlier frontend has started, and with its modules and environment."""
        self._process = AdoptedProcess(host.pid)
        self.env, self.preload = host.environment(), host.ready.preload
        self.interpreter = os.path.abspath(host.ready.interpreter)
        self.prefix = [self.interpreter, *(self.prefix or ())[1:]]
        self.problems = host.ready.problems
        self._ready = asyncio.get_running_loop().create_future()
        self._ready.set_result(host.ready.can_fork)
        self._connect(host.channel)

    def _connect(self, channel: socket.socket) -> None:
        self._socket = channel
        self._socket.setblocking(False)
        self._used = time.monotonic()
        self._decoder = template_decoder()
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _spawn(self, channel: socket.socket) -> subprocess.Popen[bytes]:
        lock = [] if self.keeping is None or self.keeping.lock is None else [self.keeping.lock]
        return subprocess.Popen(
            [*self._command, "--channel", str(channel.fileno())],
            env=self.env,
            cwd=self._cwd,
            pass_fds=[channel.fileno(), *lock],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    async def ready(self) -> bool:
        """Wait until it has imported everything. Return False if it does not fork or cannot start."""
        if self._ready is None:
            return False
        return await asyncio.shield(self._ready)

    @property
    def pid(self) -> int | None:
        """Process id, or None if there is no process."""
        return None if self._process is None or self.is_gone else self._process.pid

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
        if module_command(command) != self.prefix:
            return None
        for name in {*env, *self.env}:
            if env.get(name) != self.env.get(name) and (
                name.startswith(START_VARIABLES)
                or (self.preload and not name.startswith(UNREAD_VARIABLES))
            ):
                return None
        return list(command[3:])

    async def fork(
        self,
        argv: Sequence[str],
        env: dict[str, str],
        cwd: str,
        connections: socket.socket | None = None,
        *,
        spawn: bool = False,
    ) -> ForkedProcess:
        """Fork a kernel that receives its connections from this socket, or with `spawn` execute the command
        `argv`.

        Raises `KernelNotReady` when the template cannot or is gone.
        """
        if not (spawn or self.can_fork) or self._socket is None:
            raise KernelNotReady("there is no template process")
        self.wake()
        self._used = time.monotonic()
        id = next(self._ids)
        future: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        message = Fork(id, tuple(argv), env, cwd, connections is not None, spawn)
        self._send(message, [] if connections is None else [connections.fileno()])
        return await future

    def kill_rest(self, mark: str, forked: bool) -> None:
        """Have the processes killed that a kernel with this mark has left behind; not without a template."""
        self._send(KillRest(mark, forked))

    def hold(self, name: str, descriptors: Sequence[int], pid: int = 0) -> None:
        """Have the process keep descriptors for the next frontend under a name, with the pid of their
        kernel. They stay open here until `release`."""
        if self.keeping is not None:
            self._held[name] = pid, tuple(descriptors)
            self._send_held(name)

    def resume(self, name: str, held: HeldDescriptors) -> ForkedProcess:
        """Return the kernel that an earlier frontend has started, and keep its descriptors as `hold` does.

        The last of them is its pidfd.
        """
        process = ForkedProcess(held.pid, held.descriptors[-1], self.wake)
        self._held[name] = held.pid, tuple(held.descriptors)
        if held.code is not None:
            process.set_code(held.code)
        elif held.child:
            self._children[held.pid] = process
        else:
            process.lose_template()
        return process

    def discard(self, name: str, held: HeldDescriptors) -> None:
        """Close what an earlier frontend has had kept under a name."""
        _close_all(held.descriptors)
        self._send(Release(name))

    def release(self, name: str) -> None:
        """Have the process close what it keeps under a name."""
        if self._held.pop(name, None) is not None:
            self._send(Release(name))

    def _send_held(self, name: str) -> None:
        pid, descriptors = self._held[name]
        self._send(Hold(name, len(descriptors), pid), descriptors)

    def _send(self, message: TemplateMessage, descriptors: Sequence[int] = ()) -> None:
        """Send a message after those that were sent before, now or as soon as the process reads them."""
        if self._socket is not None:
            # Of their own: the caller may close its descriptors before it is their turn.
            copies = [os.dup(descriptor) for descriptor in descriptors]
            self._unsent.append((memoryview(encode_frame(message)), copies))
            self._send_unsent()

    def _send_unsent(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            while self._unsent:
                frame, descriptors = self._unsent[0]
                sent = socket.send_fds(self._socket, [frame], descriptors)
                _close_all(descriptors)
                self._unsent[0] = frame[sent:], []
                if sent == len(frame):
                    self._unsent.popleft()
        except BlockingIOError:
            loop.add_writer(self._socket, self._send_unsent)
            return
        except OSError:
            # The end of the process is noticed when the channel is read.
            self._drop_unsent()
        loop.remove_writer(self._socket)

    def _drop_unsent(self) -> None:
        while self._unsent:
            _close_all(self._unsent.popleft()[1])

    def wake(self) -> None:
        """Continue the process if a signal has stopped it: kernels' starts and ends depend on it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Have it end what is left and exit, by the end of its socket; kill it when that takes too long."""
        self._closing = True
        self.wake()
        if self.keeping is not None:
            self._send(End())
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
            self._drop_unsent()
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
        how = "how is not known" if isinstance(self._process, AdoptedProcess) else f"exit code {code}"
        self._failures += 1
        # A template that ended by itself while it imported would do so again.
        if self._failures < MAX_FAILURES and (was_ready or code is None or code < 0):
            self.restarts += 1
            sessions = "" if self.keeping is None else ", and keeps the sessions, whose kernels live on"
            log.warning("the template process ended (%s); another one starts%s", how, sessions)
            self.start()
        else:
            ending = "kernels start without it and its modules"
            if self.keeping is not None:
                ending += ", and no session outlives this server any more"
            log.warning("the template process ended (%s); %s", how, ending)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
