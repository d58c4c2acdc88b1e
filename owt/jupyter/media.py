"""Bytes that can be seen or heard: what they are, and how they come to be whole.

    kind           the media type that bytes begin like
    Assembler      bytes as they come to `Media`, each as soon as it can be played or shown
    in_json        the media in base64 in a JSON object

Source of the WAV layout: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF).
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Any

PART = 1.0
"""Seconds of a stream of sound, at least, that become a player of their own."""

_UNKNOWN = 0xFFFFFFFF
# How a file begins, and how one of this type ends, if that can be told.
_SIGNS: tuple[tuple[bytes, str, bytes | None], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png", b"IEND\xaeB`\x82"),
    (b"\xff\xd8\xff", "image/jpeg", b"\xff\xd9"),
    (b"GIF87a", "image/gif", b"\x3b"),
    (b"GIF89a", "image/gif", b"\x3b"),
    (b"OggS", "audio/ogg", None),
    (b"fLaC", "audio/flac", None),
    (b"ID3", "audio/mpeg", None),
    (b"%PDF-", "application/pdf", None),
)
_SHORTEST = 48
"""Characters of base64 in a JSON object that may be a picture or a sound."""


@dataclass(frozen=True)
class Media:
    """A picture, a sound or anything else, whole. `seconds` is a sound's length, if it can be told; `part`
    is which part of a longer sound it is, from 1 on, and 0 all of it once more; None: it came whole."""

    type: str
    data: bytes
    seconds: float | None = None
    part: int | None = None

    @property
    def facts(self) -> list[str]:
        """Which part it is, how long, and how large, for people, each if there is something to say."""
        part = [] if self.part is None else [f"part {self.part}" if self.part else "all of it"]
        seconds = [] if self.seconds is None else [f"{self.seconds:.1f} s"]
        return [*part, *seconds, size_text(len(self.data))]


def size_text(size: int) -> str:
    """A number of bytes for people: `12.3 kB`."""
    if size < 1000:
        return f"{size} bytes"
    amount, unit = (size / 1000, "kB") if size < 1_000_000 else (size / 1_000_000, "MB")
    return f"{amount:.1f} {unit}"


def kind(data: bytes) -> str | None:
    """The media type of a file that begins like this; None if it is none of those that are known."""
    if data[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(data[8:12])
    return next((type for start, type, _ in _SIGNS if data.startswith(start)), None)


def whole(type: str, data: bytes) -> Media:
    """A file that has come to its end."""
    wav = _Wav.of(data) if type in ("audio/wav", "audio/x-wav", "audio/wave") else None
    if wav is None:
        return Media(type, data)
    sound = data[wav.start :]
    return Media("audio/wav", wav.file(sound), wav.seconds(len(sound)))


def in_json(document: Any) -> tuple[dict[str, Any], list[Media]]:
    """The media among an object's members, which are base64 text, and the other members."""
    if not isinstance(document, dict):
        return {}, []
    others: dict[str, Any] = {}
    found: list[Media] = []
    for name, value in document.items():
        media = _decoded(value)
        if media is None:
            others[name] = value
        else:
            found.append(media)
    return others, found


class Assembler:
    """Puts together what comes in pieces: files one after another, or one that comes bit by bit.

    A WAV whose length is left open is given in parts, each a WAV of at least `PART` seconds, and once
    more as a whole at its end if there was more than one. `size` is what has come and is not given yet.
    """

    def __init__(self, type: str) -> None:
        """`type` is what the answer says that it is; its bytes know better."""
        self._said = type
        self._type: str | None = None
        self._data = bytearray()
        self._wav: _Wav | None = None
        self._given = 0
        self._parts = 0

    @property
    def size(self) -> int:
        """Bytes that have come and are not given yet."""
        return len(self._data) - self._given

    @property
    def is_known(self) -> bool:
        """Whether what comes now begins as a type that is known."""
        return self._type is not None

    def feed(self, data: bytes) -> list[Media]:
        """The next bytes."""
        ready = self.end() if self._data and kind(data) else []
        self._data += data
        if self._type is None:
            self._type = kind(bytes(self._data[:16]))
        if self._type == "audio/wav" and self._wav is None:
            self._wav = _Wav.of(bytes(self._data[:4096]))
        if self._wav is not None:
            return ready + self._sound(self._wav)
        ending = next((end for _, type, end in _SIGNS if type == self._type and end), None)
        if ending is not None and bytes(data).endswith(ending):
            return ready + self.end()
        return ready

    def end(self) -> list[Media]:
        """Nothing more of this comes."""
        ready: list[Media] = []
        if self._wav is not None:
            start = self._wav.start
            sound = bytes(self._data[start:])
            if self._parts and self.size:
                ready.append(self._part(self._wav))
            if self._parts != 1:
                again = 0 if self._parts else None
                ready.append(Media("audio/wav", self._wav.file(sound), self._wav.seconds(len(sound)), again))
        elif self._data:
            ready.append(whole(self._type or self._said, bytes(self._data)))
        self._data.clear()
        self._type = self._wav = None
        self._given = self._parts = 0
        return ready

    def _sound(self, wav: _Wav) -> list[Media]:
        if wav.size is not None:
            return self.end() if len(self._data) >= wav.start + wav.size else []
        self._given = max(self._given, wav.start)
        enough = wav.seconds(self.size // wav.frame * wav.frame) >= PART
        return [self._part(wav)] if enough else []

    def _part(self, wav: _Wav) -> Media:
        amount = self.size // wav.frame * wav.frame
        sound = bytes(self._data[self._given : self._given + amount])
        self._given += amount
        self._parts += 1
        return Media("audio/wav", wav.file(sound), wav.seconds(len(sound)), self._parts)


@dataclass(frozen=True)
class _Wav:
    """What a WAV's head says: where its samples `start`, their `size` in bytes (None: left open), bytes a
    `frame`, frames a second."""

    head: bytes
    start: int
    size: int | None
    frame: int
    rate: int

    @classmethod
    def of(cls, data: bytes) -> _Wav | None:
        """Of the beginning of a file; None as long as the head is not complete, or cannot be read."""
        at, frame, rate = 12, 0, 0
        while len(data) >= at + 8:
            name, size = struct.unpack_from("<4sI", data, at)
            if name == b"fmt " and len(data) >= at + 24:
                rate, frame = struct.unpack_from("<4xI4xH", data, at + 8)
            if name == b"data":
                if not (frame and rate):
                    return None
                return cls(data[: at + 4], at + 8, None if size in (0, _UNKNOWN) else size, frame, rate)
            at += 8 + size + size % 2
        return None

    def seconds(self, size: int) -> float:
        """How long samples of so many bytes are."""
        return size / self.frame / self.rate

    def file(self, sound: bytes) -> bytes:
        """A whole file with these samples."""
        head = self.head[:4] + struct.pack("<I", len(self.head) - 4 + len(sound)) + self.head[8:]
        return head + struct.pack("<I", len(sound)) + sound


def _decoded(value: Any) -> Media | None:
    if not isinstance(value, str) or len(value) < _SHORTEST:
        return None
    try:
        type = kind(base64.b64decode(value[:24], validate=True))
        return None if type is None else whole(type, base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return None
