"""Server-Sent Events (text/event-stream), written and read without I/O.

    encode, comment   one whole event, one comment
    EventWriter       one event whose data comes in pieces
    Splitter          pieces of an adaptor's stream, cut at the ends of its events
    with_id           an event of an adaptor's stream, with an id added
    Decoder           bytes of a stream to `Event`s

Readers of the format get LF for each line end in an event's data. A comment before the next line therefore
says that the line end was CR or CRLF (`:owt cr`, `:owt crlf`); other readers skip it. Without it, a progress
bar that overwrites itself would become a column of bars. In the same way `:owt json` says that the data is
JSON, which in a plain response has a line of its own, and not text that reads like it, and `:owt base64` that
it is bytes in base64.

Source: the HTML standard, sections 9.2.5 (parsing) and 9.2.6 (interpreting an event stream).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from owt.wire.chunk import Form

CONTENT_TYPE = "text/event-stream"

_LINE_END = re.compile(rb"\r\n|\n|\r")
_NEXT_LINE = {b"\n": b"\ndata: ", b"\r": b"\n:owt cr\ndata: ", b"\r\n": b"\n:owt crlf\ndata: "}
_MARKS: dict[Form, bytes] = {"text": b"", "json": b":owt json\n", "bytes": b":owt base64\n"}
_FORMS: dict[bytes, Form] = {b"owt json": "json", b"owt base64": "bytes"}
_ENDS = {b"owt cr": "\r", b"owt crlf": "\r\n"}


class Event(Struct, frozen=True):
    """Event as a client gets it. `id` is the last event id at that point, or empty. `form` is what the server
    says that the data is: JSON, bytes in base64, or text."""

    data: str
    event: str = "message"
    id: str = ""
    form: Form = "text"


def encode(
    data: str | bytes, event: str | None = None, id: str | None = None, *, form: Form = "text"
) -> bytes:
    """Return one event. Line ends of all three kinds split `data`, text or UTF-8 bytes, into lines. `form` is
    that of `Event`.

    Raises ValueError for an `event` or `id` with a line end, and an `id` with NUL (readers would ignore it).
    """
    fields = _field(b"event", event) if event else b""
    if id is not None:
        if "\0" in id:
            raise ValueError(f"an event's id cannot hold NUL: {id!r}")
        fields += _field(b"id", id)
    body = data.encode() if isinstance(data, str) else data
    return fields + _MARKS[form] + b"data: " + _data_lines(body) + b"\n\n"


def comment(text: str = "") -> bytes:
    """Return a comment. Readers skip it; it keeps a connection alive and ends no event."""
    return b"".join(b": %s\n" % line for line in _LINE_END.split(text.encode()))


def is_event_stream(headers: Iterable[tuple[str, str]]) -> bool:
    """Return True if the Content-Type among these headers is that of an event stream."""
    kinds = [value for name, value in headers if name.lower() == "content-type"]
    return bool(kinds) and kinds[-1].partition(";")[0].strip().lower() == CONTENT_TYPE


class EventWriter:
    """Writer of one event whose data comes in pieces of UTF-8, which may end anywhere, also inside CRLF.

    Call `open()`, then `write()` any number of times, then `close()` or `abandon()`. Each returns bytes to
    send.
    """

    def __init__(self, event: str | None = None, *, form: Form = "text") -> None:
        self._event = event
        self._form = form
        self._after_cr = False

    def open(self) -> bytes:
        """Begin the event."""
        fields = _field(b"event", self._event) if self._event else b""
        return fields + _MARKS[self._form] + b"data: "

    def write(self, piece: bytes) -> bytes:
        """Continue the event's data."""
        if self._after_cr:
            piece = b"\r" + piece
        # Only the next piece shows whether an LF belongs to it.
        self._after_cr = piece.endswith(b"\r")
        return _data_lines(piece[:-1] if self._after_cr else piece)

    def close(self, id: str | None = None) -> bytes:
        """End the event, with this id."""
        return self._rest() + b"\n" + (_field(b"id", id) if id else b"") + b"\n"

    def abandon(self, id: str | None = None) -> bytes:
        """End an event whose data is not complete: readers get it as `incomplete`.

        Written bytes cannot be changed, but the last of several `event` fields counts.
        """
        return self._rest() + b"\nevent: incomplete" + self.close(id)

    def _rest(self) -> bytes:
        rest, self._after_cr = _data_lines(b"\r") if self._after_cr else b"", False
        return rest


class Splitter:
    """Cutter of an event stream that comes in pieces. The parts end where events end; joined, they are the
    stream.

    An event ends with an empty line. If that is a CR, an LF that belongs to it may come with the next part.
    """

    def __init__(self) -> None:
        # True if the stream so far ends at the beginning of a line, and if it ends with a CR.
        self._at_line = True
        self._after_cr = False

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Return the parts of `data`, each with True if an event ends with it, as all but the last do."""
        parts: list[tuple[bytes, bool]] = []
        # The beginnings of the part and of the line.
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
    """Return `end`, a part of a stream that ends an event, with this id as the event's last field."""
    at = len(end) - (2 if end.endswith(b"\r\n") else 1)
    return end[:at] + _field(b"id", id) + end[at:]


class Decoder:
    """Decoder of an event stream's bytes. Pieces may end anywhere.

    `last_event_id` is what a client sends as Last-Event-ID when it reconnects. An event that the stream's end
    cuts off is dropped. The field `retry` is ignored.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self._line: list[bytes] = []
        self._first_line = True
        self._after_cr = False
        self._data: list[str] = []
        self._end = "\n"
        self._event = ""
        self._id = ""
        self._form: Form = "text"

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes."""
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
            if event := self._process(line):
                events.append(event)
        self._after_cr = self._after_cr or data.endswith(b"\r")
        if start < len(data):
            self._line.append(data[start:])
        return events

    def _process(self, line: bytes) -> Event | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            if self._data:
                self._data.append(self._end)
            self._data.append(value.decode("utf-8", "replace"))
            self._end = "\n"
        elif name == b"":
            self._form = _FORMS.get(value, self._form)
            self._end = _ENDS.get(value, self._end)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        data, event, form = self._data, self._event, self._form
        self._data, self._end, self._event, self._form = [], "\n", "", "text"
        if not data:
            return None
        return Event("".join(data), event or "message", self._id, form)


def _field(name: bytes, value: str) -> bytes:
    encoded = value.encode()
    if _LINE_END.search(encoded):
        raise ValueError(f"an event's {name.decode()} cannot hold a line end: {value!r}")
    return b"%s: %s\n" % (name, encoded)


def _data_lines(data: bytes) -> bytes:
    """Return `data` with another `data:` line after each of its line ends."""
    if b"\r" not in data:
        return data.replace(b"\n", b"\ndata: ")
    return _LINE_END.sub(lambda end: _NEXT_LINE[end[0]], data)
