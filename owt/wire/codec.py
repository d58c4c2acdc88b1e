"""Messages of the call channel, signed and framed for a byte stream.

A frame is, in network byte order:

    length     4 bytes   of everything after these four
    signature  32 bytes  HMAC-SHA256 with the kernel's connection key over all that follows
    sequence   8 bytes   0 for a connection's first frame in this direction, then counting up
    message    the rest  one `Message`, as msgpack

The sequence number is signed, so a frame cannot be repeated, dropped or moved unnoticed; the
connection, its lane and the direction are part of the key (`Signer`), so a frame fits nowhere else.

A connection begins with a nonce of `NONCE` bytes from the frontend, then the kernel's `preface`,
then frames both ways.

Sources: RFC 2104 (HMAC), the Jupyter message spec's connection key, msgpack.org.
"""

from __future__ import annotations

import hmac
import struct
from typing import Literal

import msgspec
from msgspec import Struct

from owt.errors import BadSignature, WireError
from owt.wire.call import Call
from owt.wire.chunk import Chunk
from owt.wire.endpoint import Endpoint

PROTOCOL = 1
MAX_FRAME = 512 * 1024 * 1024
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


class Hello(Struct, frozen=True, array_like=True, tag="hello"):
    """A kernel's first message on each of its two connections, its lanes."""

    kernel: str
    lane: Lane
    pid: int
    protocol: int = PROTOCOL


class Welcome(Struct, frozen=True, array_like=True, tag="welcome"):
    """The frontend's first message: where the server is, and how this kernel is to run calls.

    `url` is the server's base address; `session` the name that the kernel is bound to, or None;
    `concurrency` how many calls may overlap; `window` the credit, in bytes, of each run; `memory`
    how many bytes the kernel may allocate beside what it starts with, or None for no limit.
    """

    url: str
    address: str
    port: int
    session: str | None = None
    concurrency: int = 1
    window: int = 4 * 1024 * 1024
    memory: int | None = None


class Bind(Struct, frozen=True, array_like=True, tag="bind"):
    """The kernel now belongs to this session (None: the pool), with this concurrency."""

    session: str | None
    concurrency: int


class Invoke(Struct, frozen=True, array_like=True, tag="invoke"):
    """Run this call under this run id."""

    run: str
    call: Call


class Credit(Struct, frozen=True, array_like=True, tag="credit"):
    """The run's readers have taken this many more bytes."""

    run: str
    size: int


class Cancel(Struct, frozen=True, array_like=True, tag="cancel"):
    """End this run, and no other. `reason` becomes the `type` of its `Failed` chunk."""

    run: str
    reason: Literal["cancelled", "timeout", "interrupted"]


class Overdue(Struct, frozen=True, array_like=True, tag="overdue"):
    """This run should have begun: its timeout, in seconds, is over. The kernel says that it has, says
    that it is `Behind` something, or ends it."""

    run: str
    timeout: float


class Behind(Struct, frozen=True, array_like=True, tag="behind"):
    """This run has not begun, because a cell is before it, which may take its time."""

    run: str


class Output(Struct, frozen=True, array_like=True, tag="output"):
    """Chunks of a run, in order."""

    run: str
    chunks: tuple[Chunk, ...]


class Offer(Struct, frozen=True, array_like=True, tag="offer"):
    """What paths the kernel's session would have, or with `keep` has from now on: then `endpoints` are all
    of them, and `removed` the shapes of paths that are not even to be remembered. Answered by a
    `Verdict` of the same number."""

    number: int
    endpoints: tuple[Endpoint, ...]
    removed: tuple[str, ...] = ()
    keep: bool = True


class Verdict(Struct, frozen=True, array_like=True, tag="verdict"):
    """The frontend's answer to an `Offer`: why it cannot be, in words for people, or None."""

    number: int
    problem: str | None = None


Message = Hello | Welcome | Bind | Invoke | Credit | Cancel | Overdue | Behind | Output | Offer | Verdict

_HEADER = 4 + 32 + 8
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


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


class FrameWriter:
    """Messages to frames, for one direction of one connection."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._sequence = 0

    def encode(self, message: Message) -> bytearray:
        """One frame. The caller sends frames in the order in which it encoded them.

        Raises `WireError` for a message that is larger than a frame may be.
        """
        frame = bytearray(512)
        _encoder.encode_into(message, frame, _HEADER)
        if len(frame) > MAX_FRAME:
            raise WireError(f"a message of {len(frame)} bytes does not fit a frame ({MAX_FRAME})")
        struct.pack_into("!Q", frame, 36, self._sequence)
        self._sequence += 1
        with memoryview(frame) as view:
            signature = hmac.digest(self._key, view[36:], "sha256")
        struct.pack_into("!I32s", frame, 0, len(frame) - 4, signature)
        return frame


class FrameReader:
    """Frames to messages, for one direction of one connection: feed it bytes as they come."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._sequence = 0
        self._pending = bytearray()
        self._wanted = 4

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages that `data` completes.

        Raises `BadSignature` or `WireError`; the connection is then of no more use.
        """
        pending = self._pending
        pending += data
        if len(pending) < self._wanted:
            return []
        messages: list[Message] = []
        offset, end = 0, len(pending)
        self._wanted = 4
        with memoryview(pending) as view:
            while end - offset >= 4:
                length = int.from_bytes(view[offset : offset + 4])
                if length < _HEADER - 4 or length > MAX_FRAME:
                    raise WireError(f"a frame of {length} bytes is not one of ours")
                if end - offset - 4 < length:
                    # Not parsed again before all of it is here.
                    self._wanted = length + 4
                    break
                offset += 4
                messages.append(self._open(view[offset : offset + length]))
                offset += length
        del pending[:offset]
        return messages

    def _open(self, frame: memoryview) -> Message:
        signed = frame[32:]
        if not hmac.compare_digest(frame[:32], hmac.digest(self._key, signed, "sha256")):
            raise BadSignature("a frame's signature does not fit the connection key")
        if int.from_bytes(signed[:8]) != self._sequence:
            raise BadSignature("a frame came out of order")
        self._sequence += 1
        try:
            return _decoder.decode(signed[8:])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise WireError(f"a frame holds no message of ours: {error}") from error
