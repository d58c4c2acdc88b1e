"""Messages of the call channel, signed and framed for a byte stream.

A frame is:

    length     4 bytes   of everything after these four, in network byte order
    signature  16 bytes  GMAC, with a key of this connection, over all that follows
    message    the rest  one `Message`, as msgpack

The frames of a connection in one direction are counted from 0, and each one's number is the nonce of its
signature, so a frame cannot be repeated, dropped or moved unnoticed. The connection, its lane and the
direction are part of the key (`handshake`), so a frame fits nowhere else, and no nonce is used twice.

GMAC is AES-GCM without anything to encrypt. Whoever lacks the key has to guess 128 bits; and at 1 MiB it is
five times as fast as Jupyter's HMAC-SHA256.

Sources: NIST SP 800-38D (GMAC, and its rule for nonces), the Jupyter message spec's connection key,
msgpack.org.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from owt.errors import BadSignature, WireError
from owt.wire.call import Call
from owt.wire.chunk import Chunk
from owt.wire.endpoint import Endpoint
from owt.wire.handshake import PROTOCOL, Lane

MAX_FRAME = 512 * 1024 * 1024
ROOM = 8 * 1024
"""Bytes that are received at once, at first."""
MOST_ROOM = 256 * 1024
"""Bytes that are received at once where there are always as many as there is room for."""


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


class StartDeadlinePassed(Struct, frozen=True, array_like=True, tag="overdue"):
    """This run should have begun: its timeout, in seconds, is over. The kernel says that it has, says
    that it is `Behind` something, or ends it."""

    run: str
    timeout: float


class Queued(Struct, frozen=True, array_like=True, tag="behind"):
    """This run has not begun, because a cell is before it, which may take its time."""

    run: str


class Cell(Struct, frozen=True, array_like=True, tag="cell"):
    """A cell of an attached notebook begins to run in this kernel, or has ended."""

    running: bool


class Output(Struct, frozen=True, array_like=True, gc=False, tag="output"):
    """Chunks of a run, in order."""

    run: str
    chunks: tuple[Chunk, ...]


class RegisterEndpoints(Struct, frozen=True, array_like=True, tag="offer"):
    """What paths the kernel's session would have, or with `keep` has from now on: then `endpoints` are all
    of them, and `removed` the shapes of paths that are not even to be remembered. Answered by a
    `Verdict` of the same number."""

    number: int
    endpoints: tuple[Endpoint, ...]
    removed: tuple[str, ...] = ()
    keep: bool = True


class RegisterResult(Struct, frozen=True, array_like=True, tag="verdict"):
    """The frontend's answer to an `Offer`: why it cannot be, in words for people, or None."""

    number: int
    problem: str | None = None


Message = (
    Hello | Welcome | Bind | Invoke | Credit | Cancel | StartDeadlinePassed | Queued | Cell | Output
    | RegisterEndpoints | RegisterResult
)

_SIGNATURE = 16
_HEADER = 4 + _SIGNATURE
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class FrameWriter:
    """Messages to frames, for one direction of one connection."""

    def __init__(self, key: bytes) -> None:
        """`key` has 32 bytes and signs nothing else."""
        self._cipher = AESGCM(key)
        self._sequence = 0

    def encode(self, message: Message) -> bytearray:
        """One frame. The caller sends frames in the order in which it encoded them.

        Raises `WireError` for a message that is larger than a frame may be.
        """
        frame = bytearray(512)
        _encoder.encode_into(message, frame, _HEADER)
        if len(frame) > MAX_FRAME:
            raise WireError(f"a message of {len(frame)} bytes does not fit a frame ({MAX_FRAME})")
        nonce = self._sequence.to_bytes(12)
        self._sequence += 1
        with memoryview(frame) as view:
            signature = self._cipher.encrypt(nonce, b"", view[_HEADER:])
        frame[:4] = (len(frame) - 4).to_bytes(4)
        frame[4:_HEADER] = signature
        return frame


class FrameReader:
    """Frames to messages, for one direction of one connection.

    Bytes are put where `room` says, by the system itself, and then `received` is told how many; or all is
    done by `feed`.
    """

    def __init__(self, key: bytes) -> None:
        """`key` is the writer's."""
        self._cipher = AESGCM(key)
        self._sequence = 0
        self._size = ROOM
        self._buffer = bytearray(ROOM)
        # What has come and is not yet a message lies from `start` to `end`.
        self._start = 0
        self._end = 0
        self._wanted = 4

    def room(self) -> memoryview:
        """Where the next bytes belong."""
        pending = self._end - self._start
        # A frame's length is not signed, so a large one gets as much memory as has come of it by then.
        least = max(self._size // 2, min(self._wanted - pending, max(MOST_ROOM, pending)))
        if len(self._buffer) - self._end < least:
            with memoryview(self._buffer) as old:
                if len(old) < pending + least:
                    self._buffer = bytearray(max(self._size, pending + least))
                with memoryview(self._buffer) as new:
                    new[:pending] = old[self._start : self._end]
            self._start, self._end = 0, pending
        return memoryview(self._buffer)[self._end :]

    def received(self, size: int) -> list[Message]:
        """The messages that `size` more bytes complete.

        Raises `BadSignature` or `WireError`; the connection is then of no more use.
        """
        self._end += size
        if self._end == len(self._buffer) and self._size < MOST_ROOM:
            self._size *= 2
        if self._end - self._start < self._wanted:
            return []
        messages: list[Message] = []
        start, end = self._start, self._end
        self._wanted = 4
        with memoryview(self._buffer) as view:
            while end - start >= 4:
                length = int.from_bytes(view[start : start + 4])
                if length < _HEADER - 4 or length > MAX_FRAME:
                    raise WireError(f"a frame of {length} bytes is not one of ours")
                if end - start - 4 < length:
                    # Not parsed again before all of it is here.
                    self._wanted = length + 4
                    break
                start += 4
                messages.append(self._open(view[start : start + length]))
                start += length
        self._start = start
        if start == end:
            self._start = self._end = 0
            if len(self._buffer) > 2 * MOST_ROOM:
                # It was for one large frame.
                self._buffer = bytearray(self._size)
        return messages

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages that `data` completes. Raises as `received` does."""
        messages: list[Message] = []
        with memoryview(data) as given:
            at = 0
            while at < len(given):
                room = self.room()
                part = given[at : at + len(room)]
                room[: len(part)] = part
                at += len(part)
                messages += self.received(len(part))
        return messages

    def _open(self, frame: memoryview) -> Message:
        signed = frame[_SIGNATURE:]
        try:
            self._cipher.decrypt(self._sequence.to_bytes(12), frame[:_SIGNATURE], signed)
        except InvalidTag:
            raise BadSignature(
                "a frame's signature does not fit: it was changed or came out of order, or the key is another"
            ) from None
        self._sequence += 1
        try:
            return _decoder.decode(signed)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise WireError(f"a frame holds no message of ours: {error}") from error
