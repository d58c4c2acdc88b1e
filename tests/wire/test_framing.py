"""owt.wire.framing: frames in a byte stream, within bounds of memory and time."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owt.errors import WireError
from owt.wire import framing
from owt.wire.framing import HEADER_SIZE, MAX_FRAME, MAX_READ, FrameDecoder, encode_frame


class Text(msgspec.Struct, frozen=True, array_like=True, tag="text"):
    """Message of the tests."""

    text: str
    attachment: bytes = b""


text_decoder = msgspec.msgpack.Decoder(Text)


def new_decoder() -> FrameDecoder[Text]:
    return FrameDecoder(text_decoder.decode, lambda message, attachment: Text(message.text, attachment))


def frame(text: str, attachment: bytes = b"") -> bytes:
    return bytes(encode_frame(Text(text), len(attachment))) + attachment


def header(size: int, attachment_size: int = 0) -> bytes:
    return struct.pack("!II", size, attachment_size)


def test_a_frame_is_two_sizes_the_message_and_the_attachment() -> None:
    payload = msgspec.msgpack.encode(Text("x"))
    assert frame("x", b"attached") == header(len(payload), 8) + payload + b"attached"


def test_a_message_is_decoded_with_its_last_byte_and_not_before() -> None:
    frames = [frame("a"), frame("b" * 300), frame("c", b"attached"), frame("")]
    stream = b"".join(frames)
    decoder = new_decoder()
    counts = [len(decoder.feed(stream[i : i + 1])) for i in range(len(stream))]
    assert [i + 1 for i, count in enumerate(counts) if count] == list(itertools.accumulate(map(len, frames)))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_decoder_keeps_no_reference_to_the_bytes_it_is_given(kind: Any) -> None:
    stream = bytearray(frame("x" * 1000, b"y" * 1000))
    decoder = new_decoder()
    assert decoder.feed(kind(stream[:100])) == []
    rest = kind(stream[100:])
    [message] = decoder.feed(rest)
    if kind is bytearray:
        rest[:] = bytes(len(rest))
    assert message == Text("x" * 1000, b"y" * 1000)


def feed_large(decoder: FrameDecoder[Text], total: int, step: int = 64 * 1024) -> tuple[int, int]:
    """Feed `total` zero bytes in reads of `step`, and return the number of buffers and their total size."""
    zeros = bytes(step)
    buffers, size, last = 0, 0, None
    sent = 0
    while sent < total:
        buffer = decoder.get_buffer()
        if buffer.obj is not last:
            last = buffer.obj
            buffers += 1
            size += len(last)  # type: ignore[arg-type]
        count = min(step, len(buffer), total - sent)
        buffer[:count] = zeros[:count]
        sent += count
        # Twice what has arrived, whatever the header announces.
        assert len(last) <= max(2 * sent, MAX_READ) + MAX_READ  # type: ignore[arg-type]
        decoder.buffer_updated(count)
    return buffers, size


def test_a_frame_of_100_mb_is_collected_in_linear_time() -> None:
    total = 100_000_000
    decoder = FrameDecoder(len)
    decoder.feed(header(total))
    buffers, allocated = feed_large(decoder, total - 1)
    # Each buffer is filled from the one before, so what was allocated bounds what was copied.
    assert buffers <= 20
    assert allocated <= 3 * total
    assert decoder.feed(b"x") == [total]


def test_an_attachment_of_100_mb_is_collected_in_the_buffer_of_small_frames() -> None:
    total = 100_000_000
    decoder = FrameDecoder(len, lambda message, attachment: message + len(attachment))
    decoder.feed(header(3, total) + b"abc")
    buffers, allocated = feed_large(decoder, total - 1)
    assert buffers <= 8
    assert allocated <= 4 * MAX_READ
    assert decoder.feed(b"x") == [total + 3]


@pytest.mark.parametrize("max_read", [MAX_READ, 4 * MAX_READ])
def test_the_reads_of_an_attachment_become_large(max_read: int) -> None:
    decoder = FrameDecoder(len, lambda message, attachment: message + len(attachment), max_read)
    decoder.feed(header(3, 100 * MAX_READ) + b"abc")
    for _ in range(20):
        decoder.buffer_updated(len(decoder.get_buffer()))
    assert len(decoder.get_buffer()) == max_read


def test_the_reads_of_frames_that_fit_the_buffer_become_large() -> None:
    decoder = FrameDecoder(len)
    frame = header(65_581) + bytes(65_581)
    decoder.feed(frame)
    stream = frame * 100
    sent = 0
    while sent < len(stream):
        # The other side has always written more than is read.
        buffer = decoder.get_buffer()
        part = stream[sent : sent + len(buffer)]
        buffer[: len(part)] = part
        decoder.buffer_updated(len(part))
        sent += len(part)
    assert len(decoder.get_buffer()) == MAX_READ


def test_the_size_in_a_header_takes_no_memory() -> None:
    decoder = FrameDecoder(len)
    assert decoder.feed(header(MAX_FRAME)) == []
    assert len(decoder.get_buffer().obj) <= MAX_READ  # type: ignore[arg-type]


def test_the_buffer_of_a_large_frame_is_released_after_it() -> None:
    decoder = FrameDecoder(len)
    size = 10 * MAX_READ
    assert decoder.feed(header(size) + bytes(size)) == [size]
    assert len(decoder.get_buffer().obj) <= MAX_READ  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(MAX_FRAME + 1, 0), (1, MAX_FRAME), (2**32 - 1, 2**32 - 1)])
def test_a_frame_above_the_maximum_is_refused_with_its_header(sizes: tuple[int, int]) -> None:
    with pytest.raises(WireError, match=f"a frame of {sum(sizes)} bytes; the maximum is {MAX_FRAME}"):
        new_decoder().feed(header(*sizes))


def test_a_message_above_the_maximum_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME", 1000)
    with pytest.raises(WireError, match="is too large; the maximum is 1000 bytes"):
        encode_frame(Text("x" * 1000))
    with pytest.raises(WireError, match="is too large; the maximum is 1000 bytes"):
        encode_frame(Text("x"), 1000)


def test_an_attachment_is_refused_where_there_is_none() -> None:
    with pytest.raises(WireError, match="received an unexpected attachment of 8 bytes"):
        FrameDecoder(text_decoder.decode).feed(frame("x", b"attached"))


@given(st.binary())
def test_arbitrary_bytes_are_no_message(rubbish: bytes) -> None:
    try:
        assert new_decoder().feed(rubbish) == []
    except WireError as error:
        assert str(error)  # noqa: PT017 - either way is right


texts = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=300)
@given(
    st.lists(st.builds(Text, texts, st.binary(max_size=30)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0), st.integers(0, 4), st.binary(max_size=4))),
    st.lists(st.integers(0, 10**6), max_size=3),
)
def test_a_damaged_stream_gives_messages_or_an_error(
    sent: list[Text], patches: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    stream = bytearray(b"".join(frame(message.text, message.attachment) for message in sent))
    for place, old, new in patches:
        at = place % (len(stream) + 1)
        stream[at : at + old] = new
    ends = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    decoder = new_decoder()
    received: list[Text] = []
    try:
        for a, b in itertools.pairwise(ends):
            received += decoder.feed(bytes(stream[a:b]))
    except WireError as error:
        assert str(error)  # noqa: PT017 - either way is right
    if not patches:
        assert received == sent


def test_no_byte_is_read_beyond_a_frame_that_fills_its_buffer() -> None:
    """The last read of a large frame ends with it, so the next frame starts in an empty buffer."""
    decoder = FrameDecoder(len)
    decoder.feed(header(3 * MAX_READ) + bytes(3 * MAX_READ - 5))
    assert len(decoder.get_buffer()) == 5
    assert len(decoder.get_buffer()) >= HEADER_SIZE - 3
