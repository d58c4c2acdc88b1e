"""Messages between the frontend and the template process, which travel as frames (`owt.wire.framing`).

With `--keep`, the template keeps descriptors by name (`Hold`, `Release`) for the next frontend, which
connects to the template's socket. The template sends `Ready` first, and on `Adopt` all that it keeps: `Held`
with the descriptors, `Exited` for the kernels among them that have ended, and `Adopted`.
"""

from __future__ import annotations

from typing import Optional, Union

import msgspec
from msgspec import Struct

from owt.wire.framing import FrameDecoder
from owt.wire.messages import PROTOCOL

HOST_PROTOCOL = 1
"""Version of these messages and of what a kept kernel expects of its next frontend."""

HOST_SOCKET = "host.sock"
"""Name of the template's socket in the runtime directory."""

LOCK = "lock"
"""Name under which the template keeps the descriptor of the locked runtime directory."""

KERNEL_MARK = "OWT_KERNEL_ID"
"""Environment variable that marks a kernel's process and all that it starts, in whatever process group."""

NO_KERNEL = "0" * 16
"""Value of `KERNEL_MARK` in the template. A fork overwrites it in place by its own, which is as long."""


class Fork(Struct, frozen=True, array_like=True, tag="fork"):
    """Request to start a kernel with these arguments of `python -m owt.kernel`, environment and directory.

    `connections` says that a descriptor accompanies the message: the socket with the kernel's connections.
    With `spawn`, `argv` is a whole command, which the template executes with the socket as standard input.
    """

    id: int
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    connections: bool = False
    spawn: bool = False


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """Notice that the template has imported everything; `problems` has one line for each failed preload.

    It is the first message on a connection, so that another version can be recognised. `since` is the time
    when a frontend was last connected, in seconds since 1970 (None: one is), and `keep` the seconds for which
    the template waits for the next one. `kernels` is the number of kernels that live, `interpreter` the path
    of the Python that runs it, `preload` has the modules to import, and `kernel_protocol` is the version of
    the messages of its kernels.
    """

    can_fork: bool
    problems: tuple[str, ...]
    protocol: int = HOST_PROTOCOL
    since: Optional[float] = None
    keep: float = 0
    kernels: int = 0
    interpreter: str = ""
    preload: tuple[str, ...] = ()
    kernel_protocol: int = PROTOCOL


class Forked(Struct, frozen=True, array_like=True, tag="forked"):
    """Reply to `Fork`: the kernel's process id. A pidfd accompanies it where the system has them."""

    id: int
    pid: int


class NotForked(Struct, frozen=True, array_like=True, tag="not-forked"):
    """Reply to `Fork`: the reason why there is no kernel."""

    id: int
    problem: str


class Exited(Struct, frozen=True, array_like=True, tag="exited"):
    """Notice that a kernel has ended, with a `code` as in `subprocess.Popen.returncode`."""

    pid: int
    code: int


class KillRest(Struct, frozen=True, array_like=True, tag="kill-rest"):
    """Request to kill what a kernel that has ended has left behind: the processes with its mark.

    `forked` says that the template is the parent of what is left, if there is something.
    """

    mark: str
    forked: bool


class Hold(Struct, frozen=True, array_like=True, tag="hold"):
    """Request to keep the `count` descriptors that accompany the message under this name, in place of earlier
    ones. `pid` is the kernel that they belong to, or 0 if there is none yet."""

    name: str
    count: int
    pid: int = 0


class Release(Struct, frozen=True, array_like=True, tag="release"):
    """Request to close the descriptors of this name."""

    name: str


class Adopt(Struct, frozen=True, array_like=True, tag="adopt"):
    """Request of a new frontend for all that the template keeps. `keep` is the time for which the template
    waits, in seconds, when this frontend is gone too."""

    keep: float


class Held(Struct, frozen=True, array_like=True, tag="held"):
    """Descriptors that the template keeps; they accompany the message. `child` says that the template is the
    parent of the kernel `pid`, and so reports its exit code."""

    name: str
    count: int
    pid: int = 0
    child: bool = False


class Adopted(Struct, frozen=True, array_like=True, tag="adopted"):
    """Notice that all has been sent that was asked for by `Adopt`."""


class End(Struct, frozen=True, array_like=True, tag="end"):
    """Request to end all processes of the server, and itself, without waiting for the next frontend."""


TemplateMessage = Union[
    Fork, Ready, Forked, NotForked, Exited, KillRest, Hold, Release, Adopt, Held, Adopted, End
]

_decoder = msgspec.msgpack.Decoder(TemplateMessage)


def template_decoder() -> FrameDecoder[TemplateMessage]:
    """Return a decoder for one direction of the connection."""
    return FrameDecoder(_decoder.decode)
