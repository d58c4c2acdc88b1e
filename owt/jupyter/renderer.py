"""Display of a call's output as it arrives: the rules that notebooks and terminals share."""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, TextIO

from owt.jupyter.media import Assembler, Media, media_in_json
from owt.jupyter.output_items import (
    AdaptorEvent,
    Blob,
    ClearOutput,
    End,
    JsonValue,
    MimeBundle,
    OutputItem,
    Printed,
    TextValue,
    essence,
)
from owt.wire.media import media_type

LINE = 88
"""Maximum number of characters of JSON on one line."""
MAX_DEPTH = 20
"""Maximum depth of JSON that is indented; deeper values are on one line."""

# Types of text that Jupyter renders.
_RENDERED = frozenset({"image/svg+xml", "text/markdown", "text/latex"})


class Renderer(ABC):
    """Display of items in their order: call `show` for each, and `end` once in any case."""

    flush_interval = 0.0
    """Minimum number of seconds between two flushes of text."""
    separates_streams = False
    """True if stdout and stderr have areas of their own, so that neither continues a line of the other."""

    def __init__(self) -> None:
        self._assembler: Assembler | None = None
        self._flushed = 0.0
        self._last: TextIO | None = None
        # Streams whose last line has no end.
        self._unfinished: set[TextIO] = set()

    def show(self, item: OutputItem) -> None:
        """Show the next item."""
        if not isinstance(item, Blob):
            self._end_blobs()
        match item:
            case Printed(stream, text):
                self._write(text, sys.stderr if stream == "stderr" else sys.stdout)
            case TextValue(returned=True) if (kind := essence(item.type)) in _RENDERED:
                self._show_rendered(kind, item.text)
            case TextValue("[DONE]", line=True):
                # The conventional end of a stream of events.
                pass
            case TextValue(text, line=line):
                self._write(f"{text}\n" if line else text, sys.stdout)
            case JsonValue(value):
                self._show_json(value)
            case Blob():
                self._show_blob(item)
            case MimeBundle():
                self._end_line()
                self._show_bundle(item)
            case ClearOutput(wait):
                self._unfinished.clear()
                self._clear(wait)
            case AdaptorEvent(name, data):
                self._end_line()
                self._write(f"{name}: {data if isinstance(data, str) else _one_line(data)}\n", sys.stdout)
            case End(status) if status >= 400:
                self._end_line(sys.stderr)
                self._write(f"owt: the adaptor answered {status}\n", sys.stderr)
            case _:
                pass

    def end(self) -> None:
        """Show what is incomplete, and flush."""
        self._end_blobs()
        self._end_line()
        sys.stdout.flush()
        sys.stderr.flush()

    @abstractmethod
    def _show_bundle(self, bundle: MimeBundle) -> None:
        """Show a MIME bundle."""

    @abstractmethod
    def _show_document(self, document: Any, text: str) -> None:
        """Show JSON that is longer than a line; `text` is its indented form."""

    @abstractmethod
    def _show_media(self, media: Media, caption: str) -> None:
        """Show a picture, a sound, or a description of another file."""

    def _clear(self, wait: bool) -> None:
        from IPython.core import display_functions

        display_functions.clear_output(wait)  # type: ignore[no-untyped-call]

    def _write(self, text: str, stream: TextIO) -> None:
        if not text:
            return
        if self._last not in (None, stream):
            # The streams have separate buffers and would lose their order.
            self._last.flush()
        self._last = stream
        stream.write(text)
        if not self.separates_streams:
            self._unfinished.clear()
        if text.endswith("\n"):
            self._unfinished.discard(stream)
        else:
            self._unfinished.add(stream)
        now = time.monotonic()
        if now - self._flushed >= self.flush_interval:
            self._flushed = now
            stream.flush()

    def _end_line(self, stream: TextIO | None = None) -> None:
        """End an unfinished line before output on `stream` (default: stdout) that does not continue it."""
        for unfinished in [*self._unfinished]:
            if unfinished is (stream or sys.stdout) or not self.separates_streams:
                self._write("\n", unfinished)

    def _show_rendered(self, kind: str, text: str) -> None:
        self._end_line()
        self._show_bundle(MimeBundle({kind: text, "text/plain": text}))

    def _show_json(self, document: Any) -> None:
        self._end_line()
        others, media = media_in_json(document)
        if media:
            texts = [value for value in others.values() if isinstance(value, str)]
            caption = " ".join(texts) if texts else _one_line(others) if others else ""
            for one in media:
                self._show_media(one, caption)
            return
        # Alone, a bool is Python's, as the value of a cell is.
        text = str(document) if isinstance(document, bool) else _one_line(document)
        if len(text) > LINE:
            with suppress(RecursionError):
                self._show_document(document, indented(document))
                return
        self._write(f"{text}\n", sys.stdout)

    def _show_blob(self, blob: Blob) -> None:
        kind = essence(blob.type)
        is_text = not kind or kind.startswith("text/") or kind.endswith(("json", "xml", "javascript"))
        if self._assembler is None:
            if is_text and media_type(blob.data) is None and (text := _decoded(blob.data)) is not None:
                if blob.returned and kind in _RENDERED:
                    self._show_rendered(kind, text)
                else:
                    self._write(text, sys.stdout)
                return
            # Without a type from the adaptor, bytes are declared as text.
            self._assembler = Assembler("application/octet-stream" if is_text else kind)
        self._end_line()
        for media in self._assembler.feed(blob.data):
            self._show_media(media, "")

    def _end_blobs(self) -> None:
        if self._assembler is not None:
            assembler, self._assembler = self._assembler, None
            for media in assembler.end():
                self._show_media(media, "")


def description(media: Media, caption: str) -> str:
    """Return one line about a picture or a sound: `audio/wav, 1.3 s, 58.0 kB`."""
    facts = ", ".join([media.type, *media.facts])
    return f"{caption} ({facts})" if caption else facts


def indented(document: Any, indent: str = "") -> str:
    """Return JSON with a line for each member, except for values that are short or too deep."""
    text = _one_line(document)
    inner = f"{indent}  "
    is_short = len(indent) + len(text) <= LINE or len(inner) > 2 * MAX_DEPTH
    if is_short or not isinstance(document, dict | list):
        return text
    if isinstance(document, dict):
        members = [f"{_one_line(str(name))}: {indented(value, inner)}" for name, value in document.items()]
        return "{\n" + ",\n".join(inner + member for member in members) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + indented(value, inner) for value in document) + f"\n{indent}]"


def _one_line(document: Any) -> str:
    try:
        return json.dumps(document, ensure_ascii=False)
    except RecursionError:
        return f"<{type(document).__name__}, nested too deeply to be shown>"


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
