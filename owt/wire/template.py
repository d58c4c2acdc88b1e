"""What the frontend and the template process say to each other, over an inherited socket.

A message is four bytes of length, in network byte order, and msgpack.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from owt.errors import WireError

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes; a kernel's arguments and environment are a few thousand."""


class Fork(Struct, frozen=True, array_like=True, tag="fork"):
    """Start a kernel with these arguments (of `python -m owt.kernel`), environment and folder."""

    id: int
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str


class Ready(Struct, frozen=True, array_like=True, tag="ready"):
    """The template has imported everything; `problems` are preloads that failed, one line each."""

    can_fork: bool
    problems: tuple[str, ...]


class Forked(Struct, frozen=True, array_like=True, tag="forked"):
    """A kernel was forked. With this message travels a pidfd, where the system has them."""

    id: int
    pid: int


class NotForked(Struct, frozen=True, array_like=True, tag="not-forked"):
    """A kernel could not be forked."""

    id: int
    problem: str


class Exited(Struct, frozen=True, array_like=True, tag="exited"):
    """A kernel has ended: `code` as in `subprocess.Popen.returncode`."""

    pid: int
    code: int


TemplateMessage = Fork | Ready | Forked | NotForked | Exited

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TemplateMessage)


def pack(message: TemplateMessage) -> bytes:
    """`message` as it travels."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4) + body


class Unpacker:
    """Bytes to messages: feed it bytes as they come."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[TemplateMessage]:
        """The messages that `data` completes. Raises `WireError`; the connection is then of no more use."""
        pending = self._pending
        pending += data
        messages = []
        while len(pending) >= 4:
            length = int.from_bytes(pending[:4])
            if length > MAX_MESSAGE:
                raise WireError(f"a message of {length} bytes is not one of ours")
            if len(pending) < (end := 4 + length):
                break
            try:
                messages.append(_decoder.decode(bytes(pending[4:end])))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise WireError(f"what came is no message of ours: {error}") from error
            del pending[:end]
        return messages
