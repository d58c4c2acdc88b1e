"""Media types of files by their first bytes."""

from __future__ import annotations

OCTETS = "application/octet-stream"
"""Media type of bytes whose first ones are not known."""
ZIP = "application/zip"

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
    (b"PAR1", "application/vnd.apache.parquet", None),
    (b"\x93NUMPY", "application/x-npy", None),
)
"""First bytes of a file, its media type, and its last bytes if they are fixed."""


def media_type(data: bytes | bytearray) -> str | None:
    """Return the media type of a file by its first bytes, or None if they are not known."""
    if data[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(bytes(data[8:12]))
    if data[4:8] == b"ftyp":
        return "video/mp4"
    return next((type for start, type, _ in SIGNATURES if data.startswith(start)), None)
