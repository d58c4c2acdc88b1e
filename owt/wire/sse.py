"""The text/event-stream format, written and read without I/O.

    encode, comment   one whole event, one comment
    EventWriter       one event whose data comes in pieces
    Splitter          somebody's stream, cut where its events end
    with_id           an event of somebody's stream, with an id of ours
    Decoder           bytes as they come to `Event`s

To a reader each line end in an event's data is LF, whatever it was. What was CR or CRLF is therefore said
in a comment before the line that follows (`:owt cr`, `:owt crlf`), which others skip: without it, a progress
bar that is written over itself would be a column of bars.

Source: the HTML standard, sections 9.2.5 (parsing) and 9.2.6 (interpreting an event stream).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

CONTENT_TYPE = "text/event-stream"

_LINE_END = re.compile(rb"\r\n|\n|\r")
_NEXT_LINE = {b"\n": b"\ndata: ", b"\r": b"\n:owt cr\ndata: ", b"\r\n": b"\n:owt crlf\ndata: "}
_ENDS = {b"owt cr": "\r", b"owt crlf": "\r\n"}


class Event(Struct, frozen=True):
    """An event as a client gets it. `id` is the last event id at that point, or empty."""

    data: str
    event: str = "message"
    id: str = ""


def encode(
    data: str | bytes, event: str | None = None, id: str | None = None, retry: int | None = None
) -> bytes:
    """One event. `data` is text, or UTF-8 bytes, whose line ends of all three kinds split it into lines.
    `retry` is in milliseconds.

    Raises ValueError for an `event` or `id` with a line end in it, an `id` with NUL (readers would
    ignore it) and a negative `retry`.
    """
    fields = _field(b"event", event) if event else b""
    if id is not None:
        if "\0" in id:
            raise ValueError(f"an event's id cannot hold NUL: {id!r}")
        fields += _field(b"id", id)
    if retry is not None:
        if retry < 0:
            raise ValueError(f"retry is a time in milliseconds, not {retry!r}")
        fields += b"retry: %d\n" % retry
    body = data.encode() if isinstance(data, str) else data
    return fields + b"data: " + _broken(body) + b"\n\n"


def comment(text: str = "") -> bytes:
    """A comment, which readers skip; it keeps a connection alive and ends no event."""
    return b"".join(b": %s\n" % line for line in _LINE_END.split(text.encode()))


def announced(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether these headers say that an event stream follows."""
    kinds = [value for name, value in headers if name.lower() == "content-type"]
    return bool(kinds) and kinds[-1].partition(";")[0].strip().lower() == CONTENT_TYPE


class EventWriter:
    """One event, its data given in pieces of UTF-8 that may end anywhere, also inside CRLF.

    `open()`, then `write()` any number of times, then `close()` or `abandon()`.
    """

    def __init__(self, event: str | None = None) -> None:
        self._event = event
        self._after_cr = False

    def open(self) -> bytes:
        return (_field(b"event", self._event) if self._event else b"") + b"data: "

    def write(self, piece: bytes) -> bytes:
        if self._after_cr:
            piece = b"\r" + piece
        # Whether an LF belongs to it is known with the next piece.
        self._after_cr = piece.endswith(b"\r")
        return _broken(piece[:-1] if self._after_cr else piece)

    def close(self, id: str | None = None) -> bytes:
        """End the event, which may get its id only here."""
        return self._rest() + b"\n" + (_field(b"id", id) if id else b"") + b"\n"

    def abandon(self, id: str | None = None) -> bytes:
        """End an event whose data will not come to its end: readers get it as `incomplete`.

        Nothing written can be taken back, but of several `event` fields the last one counts.
        """
        return self._rest() + b"\nevent: incomplete" + self.close(id)

    def _rest(self) -> bytes:
        rest, self._after_cr = _broken(b"\r") if self._after_cr else b"", False
        return rest


class Splitter:
    """Cuts an event stream that comes in pieces where its events end; joined, the parts are the stream.

    An event ends with an empty line. When that is a CR, an LF that follows may come with the next part.
    """

    def __init__(self) -> None:
        # Whether the stream so far ends at the beginning of a line, and whether with a CR.
        self._at_line = True
        self._after_cr = False

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """The parts that `data` makes, each with whether an event ends with it; only the last may not."""
        parts: list[tuple[bytes, bool]] = []
        # Where the part begins, and where the line does.
        start = line = 0
        for end in _LINE_END.finditer(data):
            half = self._after_cr and end.start() == 0 and data[:1] == b"\n"
            if end.start() > line or (line == 0 and not self._at_line):
                self._at_line = True
            elif not half:
                parts.append((data[start : end.end()], True))
                start = end.end()
            line = end.end()
        if data:
            self._at_line = line == len(data)
            self._after_cr = data.endswith(b"\r")
        if start < len(data):
            parts.append((data[start:], False))
        return parts


def with_id(end: bytes, id: str) -> bytes:
    """`end`, the part of a stream with which an event ends, with this id as the event's last field."""
    at = len(end) - (2 if end.endswith(b"\r\n") else 1)
    return end[:at] + _field(b"id", id) + end[at:]


class Decoder:
    """An event stream's bytes to events. Feed it whatever arrives; pieces may end anywhere.

    `last_event_id` is what a client sends as Last-Event-ID when it connects again, and `retry`
    the time in milliseconds that the server asks it to wait before, or None. An event that the
    stream's end cuts off is never given out.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._line: list[bytes] = []
        self._first_line = True
        self._after_cr = False
        self._data: list[str] = []
        self._end = "\n"
        self._event = ""
        self._id = ""

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        events: list[Event] = []
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        start = 0
        for end in _LINE_END.finditer(data):
            self._line.append(data[start : end.start()])
            start = end.end()
            line = b"".join(self._line)
            self._line.clear()
            if event := self._take(line):
                events.append(event)
        self._after_cr = self._after_cr or data.endswith(b"\r")
        if start < len(data):
            self._line.append(data[start:])
        return events

    def _take(self, line: bytes) -> Event | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                if self._data:
                    self._data.append(self._end)
                self._data.append(value.decode("utf-8", "replace"))
                self._end = "\n"
            case b"":
                self._end = _ENDS.get(value, self._end)
            case b"event":
                self._event = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit() and len(value) < 16:
                self.retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        data, event = self._data, self._event
        self._data, self._end, self._event = [], "\n", ""
        if not data:
            return None
        return Event("".join(data), event or "message", self._id)


def _field(name: bytes, value: str) -> bytes:
    encoded = value.encode()
    if _LINE_END.search(encoded):
        raise ValueError(f"an event's {name.decode()} cannot hold a line end: {value!r}")
    return b"%s: %s\n" % (name, encoded)


def _broken(data: bytes) -> bytes:
    """`data` with each of its line ends as the start of another data line."""
    if b"\r" not in data:
        return data.replace(b"\n", b"\ndata: ")
    return _LINE_END.sub(lambda end: _NEXT_LINE[end[0]], data)
