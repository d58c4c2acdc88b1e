"""Messages between the frontend and the template process, which travel as frames (`owt.wire.framing`)."""

from __future__ import annotations

from typing import Union

import msgspec
from msgspec import Struct

from owt.wire.framing import FrameDecoder

KERNEL_MARK = "OWT_KERNEL_ID"
"""Environment variable that marks a kernel's process and all that it starts, in whatever process group."""

NO_KERNEL = "0" * 16
"""Value of `KERNEL_MARK` in the template. A fork overwrites it in place by its own, which is as long."""


class Fork(Struct, frozen=True, array_like=True, tag="fork"):
    """Request to start a kernel with these arguments of `python -m owt.kernel`, environment and directory.

    `connections` says that a descriptor accompanies the message: the socket with the kernel's connections.
    """

    id: int
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    connections: bool = False


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """Notice that the template has imported everything; `problems` has one line for each failed preload."""

    can_fork: bool
    problems: tuple[str, ...]


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


TemplateMessage = Union[Fork, Ready, Forked, NotForked, Exited, KillRest]

_decoder = msgspec.msgpack.Decoder(TemplateMessage)


def template_decoder() -> FrameDecoder[TemplateMessage]:
    """Return a decoder for one direction of the connection."""
    return FrameDecoder(_decoder.decode)
