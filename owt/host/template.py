"""The template: a process that has imported all that a kernel needs, and forks kernels.

It never has a thread, a ZMQ context or an event loop, so that a fork of it is sound. A server has one for
its own interpreter and may have others for other environments. The first one also cleans up: when the
frontend's side of its socket closes, for whatever reason, it kills every process that belonged to the server,
removes the runtime directory, and exits. The others only kill what they have started.

With `--keep`, it does so only when no other frontend has come for that long (`owt.host.kept`).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from owt.host.kept import VISIT_TIMEOUT, Kept
from owt.host.preparation import fill_holes, lost_threads, native_threads
from owt.host.reaper import MARK, clean_up, kill_members
from owt.wire.framing import encode_frame
from owt.wire.messages import CONNECTIONS_VARIABLE
from owt.wire.template import (
    KERNEL_MARK,
    NO_KERNEL,
    Adopt,
    Adopted,
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

PREPARED = (
    # Modules that a kernel imports in its first second, some of them only on a request.
    "owt.kernel.process.app",
    "owt.lib.stream",
    "ipykernel.debugger",
    "IPython.core.debugger",
    "IPython.extensions.storemagic",
    "IPython.core.logger",
    "tornado.platform.asyncio",
    "faulthandler",
    "jedi",
    "psutil",
    "sqlite3",
    "werkzeug.local",
    "werkzeug.wrappers",
    "werkzeug.formparser",
    "httpx",
)

LATE = (
    "--preload {name}: importing it starts threads, which a fork does not have, so that later parallel work "
    "would wait for ever; each kernel imports it after its fork instead, which takes longer. Start no "
    "threads and compute nothing when the module is imported, or keep it with --preload-threads"
)
"""Problem of a module that the template must not import."""

MAX_DESCRIPTORS = 64
"""Descriptors that can be received at once."""

CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

_prctl = getattr(ctypes.CDLL(None), "prctl", None)
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36


class Template:
    """The loop of the template: it receives requests and reports exit statuses."""

    def __init__(
        self,
        channel: socket.socket,
        *,
        can_fork: bool = True,
        late: Sequence[str] = (),
        keep_threads: bool = False,
        kept: Kept | None = None,
    ) -> None:
        """`late` are modules to preload that this process must not import. With `keep_threads`, it keeps
        modules that have started threads. With `kept`, it waits for the next frontend when this one is
        gone."""
        self._channel: socket.socket | None = channel
        self._kept = kept
        self._can_fork = can_fork
        self._late = late
        self._keep_threads = keep_threads
        self._decoder = template_decoder()
        self._descriptors: deque[int] = deque()
        self._kernels: set[int] = set()
        self._spawned: dict[int, subprocess.Popen[bytes]] = {}
        self._mark = _initial_variable(KERNEL_MARK) if os.environ.get(KERNEL_MARK) == NO_KERNEL else None
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._wake.setblocking(False)

    def serve(self, preload: list[str]) -> Fork | None:
        """Import modules, then fork on request until the frontend is gone.

        Returns None then; in a forked child, returns the request for that child.
        """
        self._preload = tuple(preload)
        self._problems = tuple(self._prepare(preload))
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._send(self._ready())
        while True:
            timeout = self._kept.remaining() if self._kept else None
            if self._channel is not None and timeout is not None:
                timeout = min(timeout, VISIT_TIMEOUT)
            source: Any = self._channel or self._kept
            ready = _readable((source, self._wake), timeout)
            if self._wake.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
                self._reap()
            if source.fileno() not in ready:
                if not ready and self._disconnect():
                    return None
            elif self._channel is None:
                self._channel = source.accept()
                self._send(self._ready())
            elif (messages := self._receive()) is None:
                if self._disconnect():
                    return None
            else:
                for message in messages:
                    if isinstance(message, Fork) and self._start(message):
                        return message
                    if isinstance(message, End):
                        return None
                    self._handle(message)
                    # The frontend waits for exit statuses, also while it requests many forks.
                    self._reap()

    def _ready(self) -> Ready:
        if self._kept is None:
            return Ready(self._can_fork, self._problems)
        return Ready(
            self._can_fork,
            self._problems,
            since=self._kept.since,
            keep=self._kept.remaining() or self._kept.seconds,
            kernels=len(self._kernels),
            interpreter=sys.executable,
            preload=self._preload,
        )

    def _receive(self) -> list[TemplateMessage] | None:
        """Return the messages that have arrived; None at the end of the connection."""
        assert self._channel is not None
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._channel, 1 << 16, MAX_DESCRIPTORS, CLOSE_ON_EXEC
            )
        except ConnectionError:
            return None
        self._descriptors += descriptors
        return self._decoder.feed(data) if data else None

    def _disconnect(self) -> bool:
        """Handle that the frontend is gone, or has not come in time. Returns True if it is time to end."""
        if self._kept is None:
            return True
        if self._channel is None:
            return self._kept.remaining() == 0
        self._channel.close()
        self._channel = None
        self._decoder = template_decoder()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._kept.frontend_lost()
        return False

    def _handle(self, message: TemplateMessage) -> None:
        if isinstance(message, KillRest):
            self._kill_rest(message)
        elif self._kept is None:
            return
        elif isinstance(message, Hold):
            if len(self._descriptors) >= message.count:
                descriptors = tuple(self._descriptors.popleft() for _ in range(message.count))
                self._kept.hold(message.name, descriptors, message.pid)
        elif isinstance(message, Release):
            self._kept.release(message.name)
        elif isinstance(message, Adopt):
            self._kept.adopted(message.keep)
            for held, descriptors in self._kept.held(self._kernels):
                self._send(held, *descriptors)
            for pid, code in self._kept.codes():
                self._send(Exited(pid, code))
            self._send(Adopted())

    def _prepare(self, preload: list[str]) -> list[str]:
        if not self._can_fork:
            return []
        problems = [LATE.format(name=name) for name in self._late]
        self._prepared_for = (dict(os.environ), os.getcwd())
        # As ipykernel sets it, but before matplotlib is imported, which reads it then.
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        threads = native_threads()
        for name in (*PREPARED, *preload):
            if self._abandoned():
                break
            if name in self._late:
                continue
            try:
                importlib.import_module(name)
            except (Exception, SystemExit) as error:
                if name in preload:
                    problems.append(
                        f"--preload {name}: {type(error).__name__}: {error}; kernels start without it"
                    )
                continue
            if native_threads() > threads and (lost := lost_threads()) > threads:
                if name in preload and not self._keep_threads:
                    self._start_again(without=name)
                problems.append(
                    f"importing {name} started {lost - threads} threads, which kernels do not have: what "
                    "needs them there may wait for ever"
                )
                threads = lost
        self._prepare_kernel()
        self._environ = dict(os.environ)
        if sys.version_info < (3, 12):
            # The cache refers to names all over the memory, which the look-ups of a kernel would write to.
            sys._clear_type_cache()
        gc.collect()
        self._filling = fill_holes()
        gc.freeze()
        return problems

    def _start_again(self, *, without: str) -> NoReturn:
        """Become a new process that leaves the import of a module to the kernels: its threads end here."""
        os.chdir(self._prepared_for[1])
        command = [sys.executable, *sys.orig_argv[1:], "--late", without]
        os.execve(sys.executable, command, self._prepared_for[0])

    def _prepare_kernel(self) -> None:
        """Create the objects that each kernel would create, to save the time."""
        from owt.kernel.process.app import OwtKernelApp

        try:
            OwtKernelApp.prepare()
        except (Exception, SystemExit) as error:
            OwtKernelApp.forget()
            print(f"owt: kernels start slower: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def _abandoned(self) -> bool:
        """Return True if the frontend is gone, and no other one may come."""
        if self._kept is not None or self._channel is None:
            return False
        try:
            return not self._channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _start(self, request: Fork) -> bool:
        """Fork or spawn a kernel. Returns True in a forked child."""
        if request.connections and not self._descriptors:
            self._send(NotForked(request.id, "the kernel's connections did not arrive"))
            return False
        connections = self._descriptors.popleft() if request.connections else None
        try:
            pid = self._spawn(request, connections) if request.spawn else os.fork()
        except OSError as error:
            if connections is not None:
                os.close(connections)
            self._send(NotForked(request.id, str(error)))
            return False
        if pid == 0:
            self._become_child(request, connections)
            return True
        if connections is not None:
            os.close(connections)
        self._kernels.add(pid)
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            self._send(Forked(request.id, pid))
        else:
            self._send(Forked(request.id, pid), pidfd)
            os.close(pidfd)
        return False

    def _spawn(self, request: Fork, connections: int | None) -> int:
        # No thread of this process could make `preexec_fn` unsafe.
        process = subprocess.Popen(
            request.argv,
            env=request.env,
            cwd=request.cwd,
            stdin=connections,
            start_new_session=True,
            preexec_fn=_stop_ignoring_signals,
        )
        self._spawned[process.pid] = process
        return process.pid

    def _kill_rest(self, request: KillRest) -> None:
        """Kill what a kernel has left behind, in a child process: finding it takes a while."""
        if request.forked and not self._has_orphans():
            return
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                try:
                    kill_members(request.mark, variable=KERNEL_MARK)
                finally:
                    os._exit(0)

    def _has_orphans(self) -> bool:
        """Return True if this process may have children that are not kernels."""
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                children = file.read().split()
        except OSError:
            return True
        return not self._kernels.issuperset(map(int, children))

    def _send(self, message: TemplateMessage, *descriptors: int) -> None:
        if self._channel is None:
            return
        # The end of the frontend is noticed when the channel is read.
        with contextlib.suppress(ConnectionError):
            frame = encode_frame(message)
            sent = socket.send_fds(self._channel, [frame], descriptors)
            # A signal can end a system call early.
            self._channel.sendall(frame[sent:])

    def _become_child(self, request: Fork, connections: int | None) -> None:
        os.setsid()
        mark = request.env.get(KERNEL_MARK, "").encode()
        if self._mark is not None and len(mark) == len(NO_KERNEL):
            # /proc shows the environment of the last exec, also for the forks of this fork.
            ctypes.memmove(self._mark, mark, len(mark))
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for inherited in (self._channel, self._wake, self._waker, self._kept):
            if inherited is not None:
                inherited.close()
        # Of other kernels, whose requests have yet to be read.
        for descriptor in self._descriptors:
            os.close(descriptor)
        # Only what differs: each access to a variable writes to memory that the fork would otherwise share.
        for name in self._environ.keys() - request.env.keys():
            del os.environ[name]
        for name, value in request.env.items():
            if self._environ.get(name) != value:
                os.environ[name] = value
        if connections is not None:
            os.environ[CONNECTIONS_VARIABLE] = str(connections)
        os.chdir(request.cwd)
        if sys.path[:1] == [self._prepared_for[1]]:
            # As `python -m` has it.
            sys.path[0] = request.cwd
        if ({**request.env, KERNEL_MARK: NO_KERNEL}, request.cwd) != self._prepared_for:
            # IPython's folders, colours and much else come from the environment.
            sys.modules["owt.kernel.process.app"].OwtKernelApp.forget()
        random.seed()
        numpy = sys.modules.get("numpy.random")
        if numpy is not None:
            numpy.seed()

    def _reap(self) -> None:
        # Orphans of kernels are children of this process too.
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._kernels:
                self._kernels.remove(pid)
                code = os.waitstatus_to_exitcode(status)
                if (process := self._spawned.pop(pid, None)) is not None:
                    process.returncode = code
                if self._kept is not None:
                    self._kept.exited(pid, code)
                self._send(Exited(pid, code))


def _initial_variable(name: str) -> int | None:
    """Return the address of a variable's value, which is in the initial environment until it is changed."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    address: int | None = getenv(name.encode())
    return address


def _readable(sources: Sequence[Any], timeout: float | None) -> set[int]:
    """Return the descriptors of those sources that are readable, within `timeout` seconds."""
    # Not `select`, which has no descriptors above 1023.
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(None if timeout is None else timeout * 1000)}


def _stop_ignoring_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _ignore(signum: int, frame: FrameType | None) -> None:
    """Do nothing; a signal with a handler is written to the wake-up descriptor."""


def _control_process(option: int, value: bytes | int) -> None:
    """prctl(2), where the system has it."""
    if _prctl is not None:
        _prctl(option, value, 0, 0, 0)


def _find_title() -> None:
    """Let setproctitle find the memory of the command line. In a fork, whose environment is a new one, it
    could not; so kernels would keep the title of this process."""
    os.environ["SPT_NOENV"] = "1"
    with contextlib.suppress(ImportError):
        from setproctitle import getproctitle

        getproctitle()
    del os.environ["SPT_NOENV"]


def main(argv: list[str] | None = None) -> None:
    """Run the template, and in a forked child a kernel."""
    parser = argparse.ArgumentParser(prog="owt.host.template")
    parser.add_argument("--channel", type=int, required=True, help="descriptor of the socket")
    parser.add_argument("--runtime-dir", help="directory of the server to clean up after")
    parser.add_argument("--preload", action="append", default=[], help="module to import")
    parser.add_argument("--late", action="append", default=[], help="module to import after each fork")
    parser.add_argument("--keep-threads", action="store_true", help="keep modules that start threads")
    parser.add_argument("--no-fork", action="store_true", help="only clean up at the end")
    parser.add_argument("--keep", type=float, help="seconds to wait for the next frontend")
    parser.add_argument("--socket", help="path at which the next frontend connects")
    parser.add_argument("--lock", type=int, help="descriptor of the locked runtime directory")
    options = parser.parse_args(argv)
    # The terminal's Ctrl-C is for the frontend, which then ends this process by closing the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _find_title()
    # The names that `ps` and `top` show.
    _control_process(PR_SET_NAME, b"owt-template")
    # Orphans of kernels become children of this process, which kills them at the end.
    _control_process(PR_SET_CHILD_SUBREAPER, 1)
    kept = None if options.socket is None else Kept(options.keep, options.socket, options.lock)
    template = Template(
        socket.socket(fileno=options.channel),
        can_fork=not options.no_fork,
        late=options.late,
        keep_threads=options.keep_threads,
        kept=kept,
    )
    request = template.serve(options.preload)
    if request is None:
        if kept is not None:
            kept.remove()
        if options.runtime_dir is None:
            kill_members(None)
        else:
            clean_up(os.environ.get(MARK, ""), options.runtime_dir, lock=None if kept is None else kept.lock)
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _control_process(PR_SET_NAME, b"owt-kernel")
    from owt.kernel.process.app import main as run_kernel
    from owt.kernel.process.attach import preload

    preload(options.late)
    run_kernel(list(request.argv))


if __name__ == "__main__":
    main()
