"""Compression by gzip (RFC 1952): bodies of requests that arrive compressed, and answers for clients that
accept it. Without I/O."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache

MIN_SIZE = 1024
"""Minimum size of an answer that is compressed, in bytes."""

SLICE = 1024 * 1024
"""Maximum number of bytes that are decompressed before the event loop continues."""

CODINGS = ("gzip", "x-gzip")
"""Names of the coding (RFC 9110, section 8.4.1.3)."""

# Fast, as the server compresses in its event loop. Slower levels save few more bytes of text and JSON.
_LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS

_TYPES = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/wasm",
        "application/x-ndjson",
        "application/xml",
        "image/bmp",
    }
)


class Decompressor:
    """Decompressor of a body that comes in parts, of one or several gzip members.

    `complete` is True if the body may end here. The methods raise `zlib.error` for what is not gzip.
    """

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)
        self._begun = False

    @property
    def complete(self) -> bool:
        """Return True if the last member has ended."""
        return self._stream.eof

    def pieces(self, part: bytes) -> Iterator[bytes]:
        """Yield the content of the next part of the body, in pieces of at most `SLICE` bytes."""
        while part:
            if self._stream.eof:
                self._stream = zlib.decompressobj(_GZIP)
            piece = self._stream.decompress(part, SLICE)
            part = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if piece:
                yield piece
            while len(piece) == SLICE and not part and not self._stream.eof:
                # More may wait although all of the part has been read.
                if piece := self._stream.decompress(b"", SLICE):
                    yield piece


class Compressor:
    """Compressor of a response whose body is sent piece by piece."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_LEVEL, wbits=_GZIP)

    def add(self, data: bytes) -> bytes:
        """Return what to send for this piece, so that the client can read all of it at once."""
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH) if data else b""

    def end(self) -> bytes:
        """Return the end of the body."""
        return self._stream.flush()


def compress(body: bytes) -> bytes:
    """Return a whole body, compressed."""
    return zlib.compress(body, _LEVEL, _GZIP)


@lru_cache(maxsize=64)
def is_accepted(accept_encoding: str) -> bool:
    """Return True if an Accept-Encoding header asks for gzip (RFC 9110, section 12.5.3)."""
    by_name: dict[str, bool] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        quality = parameter.strip().removeprefix("q=").strip() if parameter.strip().startswith("q=") else "1"
        by_name.setdefault(name.strip(), quality.strip("0.") != "")
    return next((by_name[name] for name in (*CODINGS, "*") if name in by_name), False)


@lru_cache(maxsize=64)
def is_compressible(content_type: str) -> bool:
    """Return True for types of text, which become smaller, but for event streams, which a proxy might hold
    back."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("text/"):
        return kind != "text/event-stream"
    return kind in _TYPES or kind.endswith(("+json", "+xml"))
