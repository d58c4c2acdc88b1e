"""Process of owt's kernel, with frontends that a test scripts, one after another."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from frontend_side import FrontendSide
from jupyter_client.connect import write_connection_file
from jupyter_kernel import environment

from owt.wire.messages import CONNECTIONS_VARIABLE, Hello, Message, RegisterEndpoints, Restored, Welcome
from owt.wire.unsent import SIZE

WELCOME = Welcome("http://127.0.0.1:9000", "127.0.0.1", 9000, session="mine", keep=True)


class Frontend:
    """A frontend's side of both connections, after the kernel's `hello`.

    `endpoints` is the announcement of the kernel's endpoints to a frontend that is not the first.
    """

    def __init__(self, calls: FrontendSide, control: FrontendSide) -> None:
        self.calls = calls
        self.control = control
        hello = calls.receive()
        assert isinstance(hello, Hello)
        self.hello = hello
        self.endpoints: RegisterEndpoints | None = None

    def die(self) -> None:
        """Close both connections, as the end of the process does."""
        self.calls.close()
        self.control.close()


class KernelProcess:
    """A kernel, and the other end of its handover socket, which the host and the frontend hold.

    `frontend` is the current one, `number` that of its first message.
    """

    def __init__(self, folder: Path, welcome: Welcome = WELCOME) -> None:
        self.channel, inherited = socket.socketpair()
        self.channel.setblocking(False)
        self.connection_file, _ = write_connection_file(
            str(folder / "k.json"), ip=str(folder / "k"), transport="ipc"
        )
        self._welcome = welcome
        self.number = 1
        with tempfile.TemporaryFile(dir=folder) as memory:
            memory.truncate(SIZE)
            self.unsent = mmap.mmap(memory.fileno(), SIZE)
            sides = self.hand_over(welcome, memory.fileno())
        with inherited:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "owt.kernel", "-f", self.connection_file],
                stdin=inherited,
                env={**environment(), CONNECTIONS_VARIABLE: "0"},
                start_new_session=True,
            )
        self.frontend = Frontend(*sides)

    def next_frontend(self, **welcome: object) -> Frontend:
        """End the current frontend, and return the next one; `welcome` are fields of its `Welcome`."""
        self.frontend.die()
        self.number += 1 << 32
        sides = self.hand_over(msgspec.structs.replace(self._welcome, number=self.number, **welcome))
        self.frontend = Frontend(*sides)
        calls = self.frontend.calls
        restored: list[Message] = []
        while not isinstance(message := calls.receive(), Restored):
            restored.append(message)
        announcement, *calls.pending[:0] = restored
        assert isinstance(announcement, RegisterEndpoints)
        self.frontend.endpoints = announcement
        return self.frontend

    def hand_over(self, welcome: Message, *more: int) -> tuple[FrontendSide, FrontendSide]:
        """Hand over new connections, and `more` descriptors; return the other sides."""
        pairs = [socket.socketpair() for _ in range(2)]
        sides = [FrontendSide(near) for near, _ in pairs]
        sides[0].send(welcome)
        socket.send_fds(self.channel, [b"\0"], [*(far.fileno() for _, far in pairs), *more])
        for _, far in pairs:
            far.close()
        return sides[0], sides[1]

    def close(self) -> None:
        """Kill the process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        self.frontend.die()
        self.channel.close()
        self.unsent.close()


@contextlib.contextmanager
def kernel_process(welcome: Welcome = WELCOME) -> Iterator[KernelProcess]:
    """Start a kernel, and kill it after the block."""
    # The path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="owt-"))
    try:
        with contextlib.closing(KernelProcess(folder, welcome)) as kernel:
            yield kernel
    finally:
        shutil.rmtree(folder)
