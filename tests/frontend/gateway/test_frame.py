"""owt.frontend.gateway.frame: frames of a WebSocket, whose offsets may be rubbish."""

import json
import struct

import pytest
from jupyter_server.services.kernels.connection.base import serialize_binary_message, serialize_msg_to_ws_v1

from owt.frontend.gateway.frame import MOST_PARTS, check_frame

MESSAGE = {"header": {"msg_id": "a"}, "parent_header": {}, "metadata": {}, "content": {"code": "1"}}
PARTS = [json.dumps(part).encode() for part in MESSAGE.values()]


def binary(number: int, *offsets: int, rest: bytes = b"") -> bytes:
    return struct.pack(f"!{1 + len(offsets)}I", number, *offsets) + rest


def aligned(number: int, *offsets: int, rest: bytes = b"") -> bytes:
    return struct.pack(f"<{1 + len(offsets)}Q", number, *offsets) + rest


@pytest.mark.parametrize("buffers", [[], [b""], [b"one", b"", b"three"]])
def test_what_jupyter_writes_is_a_frame(buffers):
    check_frame(serialize_msg_to_ws_v1([*PARTS, *buffers], "shell"), True)
    check_frame(serialize_binary_message({**MESSAGE, "buffers": buffers}), False)
    check_frame(json.dumps(MESSAGE), False)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"1",
        b"rubbish! that is longer than its number",
        binary(0),
        binary(2**31 - 1),
        binary(MOST_PARTS + 1, *[4 * (MOST_PARTS + 2)] * (MOST_PARTS + 1)),
        # A part that begins among the offsets, that ends after the frame, and one that is the whole twice.
        binary(1, 4, rest=b"{}"),
        binary(1, 99, rest=b"{}"),
        binary(3, 16, 18, 16, rest=b"{}"),
    ],
)
def test_rubbish_is_no_binary_frame(frame):
    with pytest.raises(ValueError, match="offsets"):
        check_frame(frame, False)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"rubbish! that is longer than its number",
        aligned(2**64 - 1),
        aligned(5, *[48] * 5),
        aligned(MOST_PARTS + 2, *[8 * (MOST_PARTS + 3)] * (MOST_PARTS + 2)),
        aligned(6, 8, *[56] * 5),
        aligned(6, *[56] * 5, 57),
        aligned(6, 56, 58, 56, 58, 58, 58, rest=b"{}"),
        "text",
    ],
)
def test_rubbish_is_no_aligned_frame(frame):
    with pytest.raises(ValueError, match=r"offsets|text"):
        check_frame(frame, True)
