"""How a connection of the call channel begins, and the keys that come of it.

A connection begins with a nonce of `NONCE` bytes from the frontend, then the kernel's `preface`,
then frames both ways (`owt.wire.messages`).

Source: RFC 2104 (HMAC, which derives the keys).
"""

from __future__ import annotations

import hmac
from typing import Literal

from owt.errors import WireError

PROTOCOL = 1
NONCE = 16

Lane = Literal["calls", "control"]
LANES: tuple[Lane, ...] = ("calls", "control")


def preface(kernel: str, lane: Lane) -> bytes:
    """The line that a kernel sends first, unsigned, so that the frontend knows which key to use."""
    return f"owt{PROTOCOL} {kernel} {lane}\n".encode()


def read_preface(line: bytes) -> tuple[str, Lane]:
    """The kernel's id and the lane of a `preface`. Raises `WireError` for any other line."""
    words = line.removesuffix(b"\n").split(b" ")
    if len(words) == 3 and words[0] == b"owt%d" % PROTOCOL and words[1].isascii():
        for lane in LANES:
            if words[2] == lane.encode():
                return words[1].decode(), lane
    raise WireError(f"a connection to the call channel began with {line[:60]!r}")


class Signer:
    """The keys of one connection, one for each direction.

    They are derived from the kernel's connection key, the nonce that the frontend drew for this
    connection, and the lane, so that no frame of another connection, lane or direction fits.
    """

    def __init__(self, key: bytes, nonce: bytes, lane: Lane, *, frontend: bool) -> None:
        secret = hmac.digest(key, nonce + lane.encode(), "sha256")
        down = hmac.digest(secret, b"frontend to kernel", "sha256")
        up = hmac.digest(secret, b"kernel to frontend", "sha256")
        self.sending, self.receiving = (down, up) if frontend else (up, down)
