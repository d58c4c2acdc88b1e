"""Connection to a template that waits for the next frontend (`owt serve --keep`), and what it has kept."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from owt.errors import ConfigError, WireError
from owt.wire.framing import encode_frame
from owt.wire.messages import PROTOCOL
from owt.wire.template import (
    HOST_PROTOCOL,
    Adopt,
    Adopted,
    End,
    Exited,
    Held,
    Ready,
    TemplateMessage,
    template_decoder,
)

ANSWER_TIMEOUT = 15.0
"""Seconds that a template may take to answer; it may still be importing modules."""

MAX_DESCRIPTORS = 253
"""Maximum number of descriptors of one message (unix(7), SCM_MAX_FD)."""

_CREDENTIALS = struct.Struct("3i")


@dataclass
class HeldDescriptors:
    """Descriptors that a template has kept under a name. `code` is the exit code of the process `pid`, if it
    is known; `child` says that the template will report it, or has."""

    descriptors: list[int]
    pid: int = 0
    child: bool = False
    code: int | None = None


class AdoptedProcess:
    """A template that another process has started: the part of `subprocess.Popen` that its client needs.

    Several threads may wait at once.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return a number if the process is gone, or None."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Returns 0: the exit code is not known. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("owt-template", timeout or 0)
            with self._lock:
                if self.returncode is None:
                    self.returncode = 0
                    os.close(self._pidfd)
                    with contextlib.suppress(ChildProcessError):
                        # This process has started it before it executed its present program.
                        os.waitpid(self.pid, os.WNOHANG)
        return 0

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@dataclass
class Host:
    """A template that was found at its socket. Call `adopt`, `end` or `close`.

    `ready` is its first message, `held` what it has kept, by name, once it is adopted.
    """

    path: str
    channel: socket.socket
    pid: int
    ready: Ready
    held: dict[str, HeldDescriptors] = field(default_factory=dict)

    @classmethod
    def find(cls, path: str) -> Host | None:
        """Return the template that listens at this path; None if there is none.

        Raises `ConfigError` if it belongs to another user, does not answer, or has another version.
        """
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(ANSWER_TIMEOUT)
        try:
            try:
                channel.connect(path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                    channel.close()
                    return None
                raise
            pid, user = peer(channel)
            if user != os.geteuid():
                raise ConfigError(f"--runtime-dir: {path} belongs to another user")
            # A signal may have stopped it.
            os.kill(pid, signal.SIGCONT)
            decoder = template_decoder()
            while not (messages := decoder.feed(_receive(channel)[0])):
                pass
        except ConnectionError:
            # It ends, or starts again without a module.
            channel.close()
            return None
        except WireError:
            # Only the framing is that of every version.
            messages = [Ready(False, (), protocol=0)]
        except OSError as error:
            channel.close()
            problem = f"the process that keeps the sessions does not answer at {path}: {error}"
            raise ConfigError(problem) from None
        except BaseException:
            channel.close()
            raise
        ready = messages[0]
        if not isinstance(ready, Ready):
            channel.close()
            raise ConfigError(f"the process at {path} is not a template of owt")
        return cls(path, channel, pid, ready)

    def check(self) -> None:
        """Raise `ConfigError` if this version of owt cannot go on with what the template keeps."""
        own, kept = [HOST_PROTOCOL, PROTOCOL], [self.ready.protocol, self.ready.kernel_protocol]
        if kept != own:
            raise ConfigError(
                f"another version of owt keeps {self.ready.kernels} kernels at {self.path} (versions {kept} "
                f"of the protocols, and this one has {own}): start that version again, or end them by: "
                "owt restart --discard"
            )

    def adopt(self, keep: float) -> None:
        """Become its frontend, and receive all that it keeps. It outlives this frontend by `keep` seconds.

        Raises `ConfigError` if it ends meanwhile.
        """
        decoder = template_decoder()
        descriptors: list[int] = []
        try:
            self.channel.sendall(encode_frame(Adopt(keep)))
            while True:
                data, received = _receive(self.channel)
                descriptors += received
                for message in decoder.feed(data):
                    if isinstance(message, Adopted):
                        return
                    self._add(message, descriptors)
        except (OSError, WireError) as error:
            self.close()
            raise ConfigError(f"the process that keeps the sessions ended ({error}); start again") from None

    def _add(self, message: TemplateMessage, descriptors: list[int]) -> None:
        if isinstance(message, Held):
            own, descriptors[: message.count] = descriptors[: message.count], []
            self.held[message.name] = HeldDescriptors(own, message.pid, message.child)
        elif isinstance(message, Exited):
            for held in self.held.values():
                if held.pid == message.pid:
                    held.code = message.code

    def end(self, timeout: float) -> bool:
        """Have it end all that it keeps, and itself. Returns True when it has."""
        process = AdoptedProcess(self.pid)
        with contextlib.suppress(OSError):
            self.channel.sendall(encode_frame(End()))
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Leave it, with all that it keeps."""
        self.channel.close()

    def environment(self) -> dict[str, str]:
        """Return the environment with which it was started. Raises `ConfigError` if that is forbidden."""
        try:
            text = Path(f"/proc/{self.pid}/environ").read_bytes().decode(errors="surrogateescape")
        except OSError as error:
            raise ConfigError(
                f"--keep: cannot read the environment of the process that keeps the sessions ({error}); with "
                "systemd, PrivateUsers= forbids it"
            ) from None
        return dict(item.split("=", 1) for item in text.split("\0") if "=" in item)


def peer(channel: socket.socket) -> tuple[int, int]:
    """Return the ids of the process and the user at the other end of a Unix socket. Needs Linux."""
    # Not every system has the option, so the type checker may not know it.
    option: int = getattr(socket, "SO_PEERCRED")  # noqa: B009
    pid, user, _ = _CREDENTIALS.unpack(channel.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return pid, user


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, MAX_DESCRIPTORS)
    if not data:
        raise ConnectionResetError("the connection was closed")
    return data, descriptors
