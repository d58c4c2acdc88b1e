"""Length-prefixed frames of msgpack messages for a byte stream.

A frame is:

    message size     4 bytes   in network byte order
    attachment size  4 bytes   in network byte order; 0 for most frames
    message          msgpack
    attachment       the bytes of one large field of the message, as they are

An attachment lets both sides move a large field without encoding it: the sender writes the bytes from where
they lie, and the receiver collects them in the object that becomes the field.

There is no signature: both ends belong to the same user, and a process that could change bytes on the way
could also read the memory of either.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from owt.errors import WireError
from owt.wire.collector import Collector

HEADER_SIZE = 8
MAX_FRAME = 512 * 1024 * 1024
"""Maximum size of a message and its attachment together, in bytes."""
MIN_READ = 8 * 1024
"""Initial size of a decoder's buffer, in bytes."""
MAX_READ = 256 * 1024
"""Size of the buffer of a busy decoder that receives no larger frame, in bytes, unless another is passed."""

M = TypeVar("M")

_header = struct.Struct(">II")
_encoder = msgspec.msgpack.Encoder()


def encode_frame(message: msgspec.Struct, attachment_size: int = 0) -> bytearray:
    """Return the frame of a message, without the attachment of `attachment_size` bytes that must follow it.

    Raises `WireError` when the frame is larger than `MAX_FRAME`.
    """
    frame = bytearray(512)
    _encoder.encode_into(message, frame, HEADER_SIZE)
    size = len(frame) - HEADER_SIZE
    if size + attachment_size > MAX_FRAME:
        raise WireError(
            f"a message of {size + attachment_size} bytes is too large; the maximum is {MAX_FRAME} bytes"
        )
    _header.pack_into(frame, 0, size, attachment_size)
    return frame


class FrameDecoder(Generic[M]):
    """Incremental decoder of a stream of frames.

    The caller reads bytes into the memory that `get_buffer` returns and reports their number to
    `buffer_updated`; `feed` does both for bytes that it is given.

    Memory and time are bounded by the bytes that have arrived, whatever size a header announces: a buffer of
    `MAX_READ` or more at most doubles each time it is full, so that each byte is moved a constant number of
    times.
    """

    def __init__(
        self,
        decode: Callable[[memoryview], M],
        attach: Callable[[M, bytes], M] | None = None,
        max_read: int = MAX_READ,
    ) -> None:
        """`decode` decodes a message; `attach` returns a message with its attachment, if there may be any;
        `max_read` takes the place of `MAX_READ`."""
        self._decode = decode
        self._attach = attach
        self._max_read = max_read
        self._read_size = MIN_READ
        self._buffer = bytearray(MIN_READ)
        # The bytes from start to end are received and not yet decoded; at `needed` bytes they can be.
        self._start = 0
        self._end = 0
        self._needed = HEADER_SIZE
        # The message whose attachment is being received, and the size of what is missing of it.
        self._message: M | None = None
        self._attachment = Collector()
        self._missing = 0

    @property
    def incomplete(self) -> bool:
        """Return True if a part of a message has been received, and not the rest."""
        return self._end > self._start or self._message is not None

    def get_buffer(self) -> memoryview:
        """Return the memory for the next bytes. It is never empty."""
        pending = self._end - self._start
        # No part of an attachment stays in the buffer.
        min_space = min(self._missing, self._read_size) or min(self._needed - pending, self._read_size // 2)
        if len(self._buffer) - self._end < min_space:
            size = max(self._read_size, min(self._needed, max(2 * pending, self._max_read)))
            with memoryview(self._buffer) as old:
                if size > len(old):
                    self._buffer = bytearray(size)
                with memoryview(self._buffer) as new:
                    new[:pending] = old[self._start : self._end]
            self._start, self._end = 0, pending
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, size: int) -> list[M]:
        """Return the messages that are complete with `size` more bytes.

        Raises `WireError`; the stream cannot be decoded any further then.
        """
        self._end += size
        if self._end == len(self._buffer) and self._read_size < self._max_read:
            self._read_size *= 2
        messages: list[M] = []
        with memoryview(self._buffer) as view:
            while self._end - self._start >= self._needed:
                self._decode_next(view[self._start : self._end], messages)
        if self._start == self._end:
            self._start = self._end = 0
            if not self._read_size <= len(self._buffer) <= 2 * self._max_read:
                self._buffer = bytearray(self._read_size)
        return messages

    def feed(self, data: bytes | bytearray | memoryview) -> list[M]:
        """Return the messages that are complete with `data`. Raises like `buffer_updated`."""
        messages: list[M] = []
        with memoryview(data) as view:
            position = 0
            while position < len(view):
                buffer = self.get_buffer()
                part = view[position : position + len(buffer)]
                buffer[: len(part)] = part
                position += len(part)
                messages += self.buffer_updated(len(part))
        return messages

    def _decode_next(self, pending: memoryview, messages: list[M]) -> None:
        """Decode the next element of the stream: a part of an attachment, or a frame."""
        if self._message is not None:
            part = pending[: self._missing]
            self._attachment.add(part)
            self._start += len(part)
            self._missing -= len(part)
            if not self._missing:
                assert self._attach is not None
                messages.append(self._attach(self._message, self._attachment.value()))
                self._message = None
                self._attachment = Collector()
                self._needed = HEADER_SIZE
            return
        size, attachment_size = _header.unpack_from(pending)
        if size + attachment_size > MAX_FRAME:
            raise WireError(
                f"received a frame of {size + attachment_size} bytes; the maximum is {MAX_FRAME} bytes"
            )
        if len(pending) < HEADER_SIZE + size:
            # The header is not parsed again before the whole message is here.
            self._needed = HEADER_SIZE + size
            return
        try:
            message = self._decode(pending[HEADER_SIZE : HEADER_SIZE + size])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise WireError(f"received a frame without a valid message: {error}") from error
        self._start += HEADER_SIZE + size
        self._needed = HEADER_SIZE
        if not attachment_size:
            messages.append(message)
            return
        if self._attach is None:
            raise WireError(f"received an unexpected attachment of {attachment_size} bytes")
        self._message = message
        self._attachment = Collector(attachment_size)
        self._missing = attachment_size
        self._needed = 1
