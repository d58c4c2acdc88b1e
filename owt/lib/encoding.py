"""Encodings of bytes and audio samples for HTTP clients and players.

Source of the WAV layout: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF),
format 1, linear PCM.
"""

from __future__ import annotations

import base64 as _base64
import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any, Union

from owt.errors import shortened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Buffer = Union[bytes, bytearray, memoryview]

SAMPLE_BYTES = 2
"""Bytes of a sample, a signed 16-bit integer."""

_UNKNOWN = 0xFFFFFFFF
_RIFF_BYTES_BEFORE_SAMPLES = 36


def base64(data: Buffer | BytesIO) -> str:
    """Return `data` in the standard alphabet of RFC 4648, padded. A BytesIO is encoded from its start."""
    return _base64.b64encode(data.getbuffer() if isinstance(data, BytesIO) else data).decode("ascii")


def wav_header(rate: int, channels: int = 1, frames: int | None = None) -> bytes:
    """Return the 44 bytes before 16-bit samples. `rate` is in frames a second.

    `frames` None is for a stream of unknown length: the header then contains the largest length of the
    format, which players read as "until the end".

    Raises `ValueError` for a length that does not fit the format's 32 bits.
    """
    frame = channels * SAMPLE_BYTES
    if frames is None:
        riff = data = _UNKNOWN
    else:
        data = frames * frame
        riff = data + _RIFF_BYTES_BEFORE_SAMPLES
        if riff >= _UNKNOWN:
            raise ValueError(f"{frames} frames of {frame} bytes do not fit a WAV file (4 GiB); split it")
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", riff, b"WAVE"),
        *(b"fmt ", 16, 1, channels, rate, rate * frame, frame, 8 * SAMPLE_BYTES),
        *(b"data", data),
    )


def pcm(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Return audio as 16-bit integers, of the same shape (frames,) or (frames, channels).

    Floats are expected in -1..1 and clipped outside of it; NaN becomes silence.

    Raises `ValueError` for another shape or another type of number.
    """
    import numpy as np

    array: NDArray[Any] = np.asarray(samples)
    if array.ndim not in (1, 2):
        raise ValueError(f"audio has the shape (frames,) or (frames, channels); got {array.shape}")
    if array.dtype.newbyteorder("=") == np.int16:
        native: NDArray[np.int16] = array.astype(np.int16, copy=False)
        return native
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"audio is int16, or floats in -1..1; got {array.dtype}: {shortened(array)}")
    limited = np.clip(np.nan_to_num(array, nan=0.0), -1.0, 1.0)
    whole: NDArray[np.int16] = np.rint(limited * 32767.0).astype(np.int16)
    return whole


def pcm_bytes(samples: NDArray[Any]) -> bytes:
    """Return the samples of `pcm` as in a WAV file: frame by frame, little-endian."""
    return pcm(samples).astype("<i2", copy=False).tobytes()


def wav(samples: NDArray[Any], rate: int) -> bytes:
    """Return a complete WAV file of `samples` (see `pcm`), with `rate` frames a second."""
    integers = pcm(samples)
    channels = 1 if integers.ndim == 1 else integers.shape[1]
    return wav_header(rate, channels, len(integers)) + pcm_bytes(integers)
