"""The template: a process that has imported all that a kernel needs, and forks kernels.

It never has a thread, a ZMQ context or an event loop, so that a fork of it is sound. A server has one for
its own interpreter and may have others for other environments. The first one also cleans up: when the
frontend's side of its socket closes, for whatever reason, it kills every process that belonged to the server,
removes the runtime directory, and exits. The others only kill what they have started.
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
import sys
import threading
from collections import deque
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from owt.host.reaper import MARK, clean_up, kill_members
from owt.wire.framing import encode_frame
from owt.wire.messages import CONNECTIONS_VARIABLE
from owt.wire.template import (
    KERNEL_MARK,
    NO_KERNEL,
    Exited,
    Fork,
    Forked,
    KillRest,
    NotForked,
    Ready,
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

PYTHON_SIZES = range(512, 16, -16)
"""Sizes of blocks that fill the holes in the memory of Python's allocator: all except the smallest."""

C_SIZES = (*(1 << power for power in range(16, 10, -1)), *range(1032, 16, -16))
"""Sizes of blocks that fill the holes in the memory of the C library's allocator."""

ROW = 8192
PYTHON_ROW = ROW if sys.version_info >= (3, 10) else 3072
"""Bytes in blocks of one size in a row after which no holes of this size are expected. Python 3.9 has its
blocks in pools of 4096 bytes, later versions in larger ones."""

MAX_FILLING = 2 << 20
"""Maximum number of bytes in blocks of one size, for allocators that never put one beside another."""

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
    ) -> None:
        """`late` are modules to preload that this process must not import. With `keep_threads`, it keeps
        modules that have started threads."""
        self._channel = channel
        self._can_fork = can_fork
        self._late = late
        self._keep_threads = keep_threads
        self._decoder = template_decoder()
        self._descriptors: deque[int] = deque()
        self._kernels: set[int] = set()
        self._mark = _initial_variable(KERNEL_MARK) if os.environ.get(KERNEL_MARK) == NO_KERNEL else None
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._wake.setblocking(False)

    def serve(self, preload: list[str]) -> Fork | None:
        """Import modules, then fork on request until the frontend is gone.

        Returns None then; in a forked child, returns the request for that child.
        """
        problems = self._prepare(preload)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._send(Ready(self._can_fork, tuple(problems)))
        while True:
            ready, _, _ = select.select([self._channel, self._wake], [], [])
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
                self._reap()
            if self._channel in ready:
                try:
                    data, descriptors, _, _ = socket.recv_fds(
                        self._channel, 1 << 16, MAX_DESCRIPTORS, CLOSE_ON_EXEC
                    )
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._descriptors += descriptors
                for message in self._decoder.feed(data):
                    if isinstance(message, Fork) and self._fork(message):
                        return message
                    if isinstance(message, KillRest):
                        self._kill_rest(message)
                    # The frontend waits for exit statuses, also while it requests many forks.
                    self._reap()

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
        """Return True if the frontend is gone."""
        try:
            return not self._channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _fork(self, request: Fork) -> bool:
        """Fork a kernel. Returns True in the child."""
        if request.connections and not self._descriptors:
            self._send(NotForked(request.id, "the kernel's connections did not arrive"))
            return False
        connections = self._descriptors.popleft() if request.connections else None
        try:
            pid = os.fork()
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
        for inherited in (self._channel, self._wake, self._waker):
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
                self._send(Exited(pid, os.waitstatus_to_exitcode(status)))


def native_threads() -> int:
    """Return the number of threads of this process, also those that Python does not know."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def lost_threads() -> int:
    """Return the number of threads that this process has at a fork, which the fork does not have.

    Libraries such as OpenBLAS end their threads before a fork, and start them again at their next use.
    """
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return native_threads()


def fill_holes() -> list[object]:
    """Allocate the free blocks that lie between other blocks, for the rest of this process's life.

    New objects of a fork then lie together in new pages. In the holes, each would take a page of its own away
    from what the fork shares with this process. Returns the blocks that are objects of Python, which must be
    kept.
    """
    filling: list[object] = []
    overhead = sys.getsizeof(b"")

    def new_object(size: int) -> int:
        # Sizes of the smallest blocks are those of numbers.
        filling.append(bytes(size - overhead) if size > overhead else len(filling) + (1 << 32))
        return id(filling[-1])

    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    for allocate, sizes, row in ((new_object, PYTHON_SIZES, PYTHON_ROW), (malloc, C_SIZES, ROW)):
        for size in sizes:
            last = neighbours = 0
            for _ in range(MAX_FILLING // size):
                block = allocate(size) or 0
                neighbours = neighbours + 1 if 0 < block - last <= size + 16 else 0
                last = block
                # Blocks in a row come from memory without holes.
                if neighbours >= max(row // 1024, row // size):
                    break
    return filling


def _initial_variable(name: str) -> int | None:
    """Return the address of a variable's value, which is in the initial environment until it is changed."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    address: int | None = getenv(name.encode())
    return address


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
    options = parser.parse_args(argv)
    # The terminal's Ctrl-C is for the frontend, which then ends this process by closing the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _find_title()
    # The names that `ps` and `top` show.
    _control_process(PR_SET_NAME, b"owt-template")
    # Orphans of kernels become children of this process, which kills them at the end.
    _control_process(PR_SET_CHILD_SUBREAPER, 1)
    template = Template(
        socket.socket(fileno=options.channel),
        can_fork=not options.no_fork,
        late=options.late,
        keep_threads=options.keep_threads,
    )
    request = template.serve(options.preload)
    if request is None:
        if options.runtime_dir is None:
            kill_members(None)
        else:
            clean_up(os.environ.get(MARK, ""), options.runtime_dir)
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _control_process(PR_SET_NAME, b"owt-kernel")
    from owt.kernel.process.app import main as run_kernel
    from owt.kernel.process.attach import preload

    preload(options.late)
    run_kernel(list(request.argv))


if __name__ == "__main__":
    main()
