"""What a call sends back, shown as it comes: what a notebook and a terminal have in common."""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, TextIO

from owt.jupyter import media
from owt.jupyter.media import Assembler, Media
from owt.jupyter.output_items import Blob, Bundle, Cleared, Json, Named, Over, Piece, Printed, Text, kind_of

LINE = 88
"""Characters of JSON on one line at most."""
DEEP = 20
"""JSON objects and lists within each other that are indented; what is in the last ones is on one line."""

# Texts that can be shown better than as text, if an answer says that it is one.
_RICH = frozenset({"image/svg+xml", "text/markdown", "text/latex"})


class Screen(ABC):
    """Shows pieces in their order: give each to `show`, and call `end` once, whatever happens."""

    flush_every = 0.0
    """Seconds between two flushes of text, at least; what comes closer together leaves together."""
    apart = False
    """Whether stdout and stderr are shown apart, so that a line of the one does not go on in the other."""

    def __init__(self) -> None:
        self._blobs: Assembler | None = None
        self._flushed = 0.0
        self._last: TextIO | None = None
        # Those on which a line was begun and has not ended.
        self._begun: set[TextIO] = set()

    def show(self, piece: Piece) -> None:
        """The next piece."""
        if not isinstance(piece, Blob):
            self._end_blobs()
        match piece:
            case Printed(stream, text):
                self._write(text, sys.stderr if stream == "stderr" else sys.stdout)
            case Text(returned=True) if (kind := kind_of(piece.type)) in _RICH:
                self._rich(kind, piece.text)
            case Text("[DONE]", line=True):
                # How streams of events end by convention, not a part of them.
                pass
            case Text(text, line=line):
                self._write(f"{text}\n" if line else text, sys.stdout)
            case Json(value):
                self._document(value)
            case Blob():
                self._blob(piece)
            case Bundle():
                self._begin_line()
                self._bundle(piece)
            case Cleared(wait):
                self._begun.clear()
                self._clear(wait)
            case Named(name, data):
                self._begin_line()
                shown = data if isinstance(data, str) else _one_line(data)
                self._write(f"{name}: {shown}\n", sys.stdout)
            case Over(status) if status >= 400:
                self._begin_line(sys.stderr)
                self._write(f"owt: the adaptor answered {status}\n", sys.stderr)
            case _:
                pass

    def end(self) -> None:
        """Nothing more comes. What has come is shown."""
        self._end_blobs()
        self._begin_line()
        sys.stdout.flush()
        sys.stderr.flush()

    @abstractmethod
    def _bundle(self, bundle: Bundle) -> None:
        """Show a MIME bundle."""

    def _clear(self, wait: bool) -> None:
        """Take away what was shown so far, or have what follows do it. The cell's frontend does that."""
        from IPython.core import display_functions

        display_functions.clear_output(wait)  # type: ignore[no-untyped-call]

    @abstractmethod
    def _pretty(self, document: Any, text: str) -> None:
        """Show a JSON object that is longer than a line, which is `text` with its lines indented."""

    @abstractmethod
    def _media(self, one: Media, caption: str) -> None:
        """Show a picture, a sound, or what cannot be shown."""

    @abstractmethod
    def _progress(self, text: str | None) -> None:
        """Say how far something has come that cannot be shown yet; None: that is over."""

    def _write(self, text: str, stream: TextIO) -> None:
        if not text:
            return
        if self._last not in (None, stream):
            # Each has a buffer of its own, and they would not leave in their order.
            self._last.flush()
        self._last = stream
        stream.write(text)
        if not self.apart:
            self._begun.clear()
        if text.endswith("\n"):
            self._begun.discard(stream)
        else:
            self._begun.add(stream)
        now = time.monotonic()
        if now - self._flushed >= self.flush_every:
            self._flushed = now
            stream.flush()

    def _begin_line(self, stream: TextIO | None = None) -> None:
        """End a line that was begun: what follows, on `stream` (default: stdout), is no part of it."""
        stream = stream or sys.stdout
        for begun in [*self._begun]:
            if begun is stream or not self.apart:
                self._write("\n", begun)

    def _rich(self, kind: str, text: str) -> None:
        self._begin_line()
        self._bundle(Bundle({kind: text, "text/plain": text}))

    def _document(self, document: Any) -> None:
        self._begin_line()
        others, found = media.in_json(document)
        if found:
            texts = [value for value in others.values() if isinstance(value, str)]
            caption = " ".join(texts) if texts else _one_line(others) if others else ""
            for one in found:
                self._media(one, caption)
            return
        text = _one_line(document)
        if len(text) > LINE:
            with suppress(RecursionError):
                self._pretty(document, indented(document))
                return
        self._write(f"{text}\n", sys.stdout)

    def _blob(self, blob: Blob) -> None:
        if self._blobs is None:
            is_text = _is_text(blob.type)
            if is_text and media.kind(blob.data) is None and (text := _decoded(blob.data)) is not None:
                if blob.returned and (kind := kind_of(blob.type)) in _RICH:
                    self._rich(kind, text)
                else:
                    self._write(text, sys.stdout)
                return
            # Bytes for which the adaptor names no type have that of text.
            self._blobs = Assembler("application/octet-stream" if is_text else kind_of(blob.type))
        self._begin_line()
        for one in self._blobs.feed(blob.data):
            self._media(one, "")
        size = 0 if blob.returned or self._blobs.is_known else self._blobs.size
        self._progress(media.size_text(size) if size else None)

    def _end_blobs(self) -> None:
        if self._blobs is not None:
            blobs, self._blobs = self._blobs, None
            self._progress(None)
            for one in blobs.end():
                self._media(one, "")


class Nothing(Screen):
    """Shows nothing."""

    def show(self, piece: Piece) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def _bundle(self, bundle: Bundle) -> None: ...

    def _pretty(self, document: Any, text: str) -> None: ...

    def _media(self, one: Media, caption: str) -> None: ...

    def _progress(self, text: str | None) -> None: ...


def described(one: Media, caption: str) -> str:
    """A picture or a sound in one line: `audio/wav, 1.3 s, 58.0 kB`."""
    facts = ", ".join([one.type, *one.facts])
    return f"{caption} ({facts})" if caption else facts


def indented(document: Any, indent: str = "") -> str:
    """JSON with a line for each member, but for what fits on one line, or lies too deep."""
    text = _one_line(document)
    inner = f"{indent}  "
    fits = len(indent) + len(text) <= LINE or len(inner) > 2 * DEEP
    if fits or not isinstance(document, dict | list):
        return text
    if isinstance(document, dict):
        members = [f"{_one_line(str(name))}: {indented(each, inner)}" for name, each in document.items()]
        return "{\n" + ",\n".join(inner + member for member in members) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + indented(each, inner) for each in document) + f"\n{indent}]"


def _one_line(document: Any) -> str:
    try:
        return json.dumps(document, ensure_ascii=False)
    except RecursionError:
        return f"<{type(document).__name__}, nested too deeply to be shown>"


def _is_text(type: str) -> bool:
    kind = kind_of(type)
    return not kind or kind.startswith("text/") or kind.endswith(("json", "xml", "javascript"))


def _decoded(data: bytes) -> str | None:
    """Bytes that are text after all."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
