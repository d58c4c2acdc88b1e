"""What a client sends over a WebSocket in one piece: the channel and parts of a Jupyter message, by offsets.

jupyter_server believes the numbers in it, of which a rubbish one is as large as numbers get.
"""

from __future__ import annotations

import struct

MOST_PARTS = 4096
"""Parts that a message may have: its channel, header, parent, metadata, content and buffers."""


def check_frame(frame: str | bytes, aligned: bool) -> None:
    """Raises ValueError for a frame whose offsets are none.

    `aligned` is the protocol `v1.kernel.websocket.jupyter.org`, all of whose frames are binary: the number
    of offsets and the offsets, 8 bytes each and little-endian, then the channel, header, parent, metadata,
    content and buffers. The other protocol's are text, which is not looked at, or have 4 bytes each, of big
    endian, before JSON and buffers (Jupyter Server, "WebSocket kernel wire protocols").
    """
    if isinstance(frame, str):
        if aligned:
            raise ValueError("it is text, and the protocol is binary")
        return
    size, order, letter = (8, "<", "Q") if aligned else (4, ">", "I")
    number = int.from_bytes(frame[:size], "little" if aligned else "big")
    # The last offset of the first protocol is where the frame ends.
    least, most = (6, MOST_PARTS + 1) if aligned else (1, MOST_PARTS)
    if not least <= number <= most or len(frame) < size * (number + 1):
        raise ValueError(f"it has {len(frame)} bytes and is said to have {number} offsets")
    offsets = struct.unpack_from(f"{order}{number}{letter}", frame, size)
    if list(offsets) != sorted(offsets) or offsets[0] < size * (number + 1) or offsets[-1] > len(frame):
        raise ValueError("its offsets are not in order")
