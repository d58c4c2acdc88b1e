"""A run's chunks to the status, headers and bytes of an HTTP answer.

Two renderers with one interface, `Plain` for an ordinary answer and `Events` for Server-Sent
Events; `renderer` chooses. A driver feeds one chunk after the other and does the I/O:

    answer = renderer(call, run, session)
    for each batch of chunks:
        pieces = [piece for chunk in batch for piece in answer.render(chunk)]
        if answer.aborted: abort the connection, so that the client sees a broken answer
        if answer.started and nothing is written yet: write answer.status and answer.headers,
            with a Content-Length if answer.finished, since `pieces` are then the whole body
            (but none for status 204 and 304, which have no body)
        write pieces
    until answer.finished

Headers carry no Content-Length unless an adaptor that streams promised one; a driver must then
treat a body of another length as broken.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable

import msgspec

from owt.errors import Busy, shortened
from owt.frontend.problems import Headers, Problem
from owt.wire import sse
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Stderr, Stdout

# Connection management is the server's own (RFC 9110, section 7.6.1), and so is who serves when.
_NOT_THE_ADAPTORS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "server", "date"}
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STREAM_HEADERS = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))


class Plain:
    """The answer that the adaptor makes: its status, its headers, its body.

    Nothing is `started` by a `Head` alone, so that a failure right after it is still a clean
    error. A failure after that sets `aborted`.
    """

    def __init__(self, call: Call, run: str, session: str | None) -> None:
        self.status = 200
        # What a driver appends here before the first chunk stays in every answer, errors too.
        self.headers: Headers = _own_headers(run, session)
        self._own_headers = self.headers
        self.started = False
        self.finished = False
        self.aborted = False
        self._accept = call.accept
        self._run = run
        self._session = session
        self._failed = False
        self._bodiless = False
        self._length: str | None = None

    def render(self, chunk: Chunk) -> list[bytes]:
        """What `chunk` adds to the body, ready to be written in order."""
        if self.aborted:
            return []
        match chunk:
            case Head():
                return self._head(chunk)
            case Data():
                return self._data(chunk)
            case Stdout() | Stderr() | Display():
                return []
            case Failed():
                return self._fail(chunk)
            case Done():
                self.started = self.finished = True
                return []

    def _head(self, head: Head) -> list[bytes]:
        if complaint := _complaint(head):
            return self._fail(Failed(500, "bad-answer", "the adaptor's answer is not HTTP", complaint))
        self.status = head.status
        self._bodiless = head.status in (204, 304)
        headers, self._length = _cleaned(head.headers)
        if _is_event_stream(head):
            names = {name.lower() for name, _ in headers}
            headers += [pair for pair in _STREAM_HEADERS if pair[0].lower() not in names]
        self.headers = headers + self._own_headers
        return []

    def _data(self, data: Data) -> list[bytes]:
        if self._failed:
            return []
        if not self.started:
            self.started = True
            # A value that is here as a whole has the length that it has.
            if self._length is not None and not self._bodiless and (data.more or not data.result):
                self.headers.append(("Content-Length", self._length))
        return [] if self._bodiless else _plain_pieces(data)

    def _fail(self, failed: Failed) -> list[bytes]:
        if self.started:
            self.aborted = not self._failed
            return []
        problem = Problem.of(failed, self._run, self._session)
        content_type, body = problem.body(self._accept)
        self.status = failed.status
        self.headers = [("Content-Type", content_type), *self._own_headers]
        if failed.status == Busy.status:
            self.headers.append(("Retry-After", "1"))
        self.started = self._failed = True
        return [body]


class Events:
    """Server-Sent Events: every chunk is an event, and the last one is `done`.

    The answer starts at once, with status 200; what went wrong is in the events. An adaptor that
    answers with an event stream of its own has its text passed through, and nothing added unless
    it fails. A value that is cut off by a failure reaches the client as event `incomplete`.
    """

    def __init__(self, call: Call, run: str, session: str | None) -> None:
        self.status = 200
        self.headers: Headers = [
            ("Content-Type", "text/event-stream; charset=utf-8"),
            *_STREAM_HEADERS,
            *_own_headers(run, session),
        ]
        self.started = True
        self.finished = False
        self.aborted = False
        self._run = run
        self._session = session
        # The adaptor's own stream: None while the events are ours, else its last bytes.
        self._tail: bytes | None = None
        self._failed = False
        self._open: sse.EventWriter | None = None
        self._held: list[bytes] = []

    def render(self, chunk: Chunk) -> list[bytes]:
        """What `chunk` adds to the body, ready to be written in order."""
        match chunk:
            case Head():
                if _is_event_stream(chunk):
                    self._tail = b""
                return []
            case Data():
                return self._data(chunk) if self._tail is None else self._own(chunk, self._tail)
            case Stdout(text=text):
                return self._between("stdout", text)
            case Stderr(text=text):
                return self._between("stderr", text)
            case Display(bundle=bundle):
                return self._between("display", msgspec.json.encode(bundle))
            case Failed():
                return self._fail(chunk)
            case Done(status=status, seconds=seconds):
                self.finished = True
                if self._tail is not None and not self._failed:
                    return []
                end = msgspec.json.encode({"status": status, "seconds": seconds})
                return [*self._cut_off(), sse.encode(end, "done")]

    def _data(self, data: Data) -> list[bytes]:
        pieces: list[bytes] = []
        if self._open is None:
            self._open = sse.EventWriter(_event_name(data))
            pieces.append(self._open.open())
        body = data.body
        if data.form == "bytes":
            body = binascii.b2a_base64(body, newline=False)
        pieces.append(self._open.write(body))
        if not data.more:
            pieces += [self._open.close(), *self._held]
            self._open = None
            self._held = []
        return pieces

    def _own(self, data: Data, tail: bytes) -> list[bytes]:
        pieces = _plain_pieces(data)
        for piece in pieces:
            tail = (tail + piece[-4:])[-4:]
        self._tail = tail
        return pieces

    def _between(self, event: str, data: str | bytes) -> list[bytes]:
        if self._tail is not None:
            return []
        encoded = sse.encode(data, event)
        if self._open is None:
            return [encoded]
        # No event fits into another one; it follows as soon as the open one is complete.
        self._held.append(encoded)
        return []

    def _fail(self, failed: Failed) -> list[bytes]:
        self._failed = True
        problem = Problem.of(failed, self._run, self._session)
        return [*self._cut_off(), sse.encode(problem.json(), "error")]

    def _cut_off(self) -> list[bytes]:
        """End what a failure leaves half written, ours or the adaptor's."""
        pieces: list[bytes] = []
        if self._open is not None:
            pieces = [self._open.abandon(), *self._held]
            self._open = None
            self._held = []
        if self._tail and not self._tail.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")):
            end = sse.EventWriter().abandon()
            # After a line end, one more would already end the event, and as a complete one.
            pieces = [end[1:] if self._tail.endswith((b"\n", b"\r")) else end]
        self._tail = None
        return pieces


Renderer = Plain | Events


def renderer(call: Call, run: str, session: str | None) -> Renderer:
    """The renderer for a call. `session` is the name of a named session, or None."""
    return Events(call, run, session) if call.sse else Plain(call, run, session)


def _own_headers(run: str, session: str | None) -> Headers:
    return [("Owt-Run", run)] + ([("Owt-Session", session)] if session is not None else [])


def _cleaned(headers: Iterable[tuple[str, str]]) -> tuple[Headers, str | None]:
    """An adaptor's headers without those that belong to the server, and its Content-Length."""
    kept: Headers = []
    content_type = length = None
    for name, value in headers:
        match name.lower():
            case "content-length":
                length = value.strip()
            case "content-type":
                content_type = (name, _as_latin1(value.strip()))
            case low if low in _NOT_THE_ADAPTORS or low.startswith(("proxy-", "owt-")):
                continue
            case _:
                kept.append((name, _as_latin1(value.strip())))
    if content_type is not None:
        kept.insert(0, content_type)
    valid = length is not None and length.isascii() and length.isdigit() and len(length) < 19
    return kept, length if valid else None


def _as_latin1(value: str) -> str:
    """A header's value as characters that stand for its bytes: UTF-8 where Latin-1 is too small."""
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode().decode("latin-1")
    return value


def _complaint(head: Head) -> str:
    """Why `head` cannot be sent, or nothing (RFC 9110, sections 5.1, 5.5 and 15)."""
    if not 200 <= head.status <= 599:
        return f"the status must be from 200 to 599, not {head.status}"
    for name, value in head.headers:
        if not _TOKEN.fullmatch(name):
            return f"{shortened(name)} is not a header's name"
        if _UNSAFE.search(value):
            return f"the header {name} has a control character in its value: {shortened(value)}"
    return ""


def _is_event_stream(head: Head) -> bool:
    kinds = [value for name, value in head.headers if name.lower() == "content-type"]
    return bool(kinds) and kinds[-1].partition(";")[0].strip().lower() == sse.CONTENT_TYPE


def _plain_pieces(data: Data) -> list[bytes]:
    if data.form == "json" and not data.more:
        return [data.body, b"\n"]
    return [data.body]


def _event_name(data: Data) -> str | None:
    if data.result:
        return "result"
    return "bytes" if data.form == "bytes" else None
