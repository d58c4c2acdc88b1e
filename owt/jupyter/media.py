"""Pictures and sounds: their types, and files that arrive in pieces."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from owt.wire.media import SIGNATURES, ZIP, media_type

_MIN_BASE64 = 48
"""Minimum length of a base64 text that can be a picture or a sound."""


@dataclass(frozen=True)
class Media:
    """A complete picture, sound or other file. `seconds` is the length of a sound, if it is known."""

    type: str
    data: bytes
    seconds: float | None = None

    @property
    def facts(self) -> list[str]:
        """The length of a sound and the size, as text."""
        seconds = [] if self.seconds is None else [f"{self.seconds:.1f} s"]
        return [*seconds, size_text(len(self.data))]


def size_text(size: int) -> str:
    """Return a number of bytes as text, in powers of 1000: `12.3 kB`."""
    if size < 1000:
        return f"{size} bytes"
    amount, unit = (size / 1000, "kB") if size < 1_000_000 else (size / 1_000_000, "MB")
    return f"{amount:.1f} {unit}"


def complete(type: str, data: bytes) -> Media:
    """Return a complete file. A WAV that was written as a stream gets a header with its sizes."""
    start = data.find(b"data", 12) + 8
    if media_type(data) != "audio/wav" or not 12 < start <= len(data):
        return Media(type, data)
    size, byte_rate = _number(data, start - 4), _number(data, 28)
    if not 0 < size <= len(data) - start:
        size = len(data) - start
        file_size, sound_size = (len(data) - 8).to_bytes(4, "little"), size.to_bytes(4, "little")
        data = data[:4] + file_size + data[8 : start - 4] + sound_size + data[start:]
    return Media("audio/wav", data, size / byte_rate if byte_rate else None)


def media_in_json(document: Any) -> tuple[dict[str, Any], list[Media]]:
    """Return the members of a JSON object that are not base64 of media, and the media."""
    if not isinstance(document, dict):
        return {}, []
    others: dict[str, Any] = {}
    media: list[Media] = []
    for name, value in document.items():
        if (one := _decoded(value)) is None:
            others[name] = value
        else:
            media.append(one)
    return others, media


class Assembler:
    """Assembler of files that arrive in pieces, one file after another."""

    def __init__(self, type: str) -> None:
        """`type` is the media type of files whose first bytes are not known."""
        self._declared = type
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Media]:
        """Add bytes, and return the files that they complete."""
        files = self.end() if self._data and media_type(data) not in (None, ZIP) else []
        self._data += data
        if self._is_complete():
            files += self.end()
        return files

    def end(self) -> list[Media]:
        """Return the incomplete file as it is, if there is one."""
        data = bytes(self._data)
        self._data.clear()
        return [complete(media_type(data) or self._declared, data)] if data else []

    def _is_complete(self) -> bool:
        type = media_type(self._data[:16])
        if type == "audio/wav":
            return 0 < _number(self._data, 4) <= len(self._data) - 8
        return any(end and self._data.endswith(end) for _, known, end in SIGNATURES if known == type)


def _number(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _decoded(value: Any) -> Media | None:
    if not isinstance(value, str) or len(value) < _MIN_BASE64:
        return None
    try:
        type = media_type(base64.b64decode(value[:24], validate=True))
        return None if type is None else complete(type, base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return None
