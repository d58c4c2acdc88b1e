"""Media types of arrays, tables and unknown bytes, and files of NumPy's format.

Sources: NumPy's documentation (`numpy.lib.format`).
"""

from __future__ import annotations

import io
import mimetypes
import os
from typing import Any

OCTETS = "application/octet-stream"
"""Media type of bytes whose first ones are not known."""
ZIP = "application/zip"
NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
TSV = "text/tab-separated-values"

SIGNATURES: tuple[tuple[bytes, str, bytes | None], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png", b"IEND\xaeB`\x82"),
    (b"\xff\xd8\xff", "image/jpeg", b"\xff\xd9"),
    (b"GIF87a", "image/gif", b"\x3b"),
    (b"GIF89a", "image/gif", b"\x3b"),
    (b"OggS", "audio/ogg", None),
    (b"fLaC", "audio/flac", None),
    (b"ID3", "audio/mpeg", None),
    (b"%PDF-", "application/pdf", None),
    (b"PK\x03\x04", ZIP, None),
    (b"PAR1", PARQUET, None),
    (b"ARROW1\0\0", ARROW_FILE, b"ARROW1"),
    (b"\x93NUMPY", NPY, None),
)
"""First bytes of a file, its media type, and its last bytes if they are fixed."""

_BY_ENDING = {
    ".npy": NPY, ".arrows": ARROW, ".arrow": ARROW_FILE, ".feather": ARROW_FILE, ".parquet": PARQUET,
    ".csv": CSV, ".tsv": TSV,
}  # fmt: skip
"""Media types by the ending of a file's name, which not every system's list has, or has as others."""

_FINISHED = ("detach", "cpu", "resolve_conj", "resolve_neg", "to_dense")
"""Methods of a tensor, in this order, that give one whose elements NumPy can read."""


def media_type(data: bytes | bytearray) -> str | None:
    """Return the media type of a file by its first bytes, or None if they are not known."""
    if data[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(bytes(data[8:12]))
    if data[4:8] == b"ftyp":
        return "video/mp4"
    return next((type for start, type, _ in SIGNATURES if data.startswith(start)), None)


def media_type_of_name(filename: str) -> str | None:
    """Return the media type of a file by the ending of its name, or None if it is not known."""
    if known := _BY_ENDING.get(os.path.splitext(filename)[1].lower()):
        return known
    kind, compression = mimetypes.guess_type(filename)
    return kind if compression is None else None


def on_cpu(array: Any) -> Any:
    """Return a tensor without gradients, dense and in main memory; any other array as it is."""
    kind = type(array)
    if hasattr(kind, "detach"):
        for name in _FINISHED:
            array = getattr(array, name)() if hasattr(kind, name) else array
    return array.toarray() if hasattr(kind, "toarray") else array


def as_numpy(array: Any) -> Any:
    """Return an array or a tensor as NumPy's, with element types that are NumPy's own."""
    import numpy

    array = on_cpu(array)
    try:
        array = numpy.asanyarray(array)
    except TypeError:
        # torch's bfloat16 has no counterpart in NumPy.
        array = numpy.asanyarray(array.float())
    if array.dtype.kind == "V" and array.dtype.fields is None and array.dtype.type is not numpy.void:
        # A type that jax adds to NumPy's, such as its bfloat16, has no name in a file, only a size.
        array = array.astype("f4")
    return array


def npy(array: Any) -> tuple[bytes, memoryview]:
    """Return an array or a tensor as the two parts of a file in NumPy's format: the header, and the elements.

    The elements are not copied if they are contiguous. Raises ValueError for an array that such a file cannot
    hold: with masked elements, or with Python objects, which would be pickled.
    """
    import numpy
    import numpy.lib.format

    array = as_numpy(array)
    if isinstance(array, numpy.ma.MaskedArray) and numpy.ma.is_masked(array):
        raise ValueError("its mask would be lost; send its .filled(...)")
    array = numpy.asarray(array)
    if array.dtype.hasobject:
        raise ValueError("it contains Python objects; send its .tolist(), or an array of numbers or of texts")
    head = io.BytesIO()
    numpy.lib.format.write_array_header_2_0(head, numpy.lib.format.header_data_from_array_1_0(array))
    # The elements in the order that the header names. Some types, such as dates, have no memoryview.
    return head.getvalue(), memoryview(array.ravel(order="A").view("u1"))


def fits(media_type: str, pattern: str) -> bool:
    """Return True if a pattern such as `image/*` or `*/*`, or a media type, includes this media type."""
    start, _, rest = pattern.partition("/")
    return pattern in (media_type, "*/*") or (rest == "*" and media_type.startswith(f"{start}/"))
