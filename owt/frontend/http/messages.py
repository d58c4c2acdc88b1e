"""Rendering of a run's chunks as WebSocket messages (RFC 6455). Without I/O.

Two renderers have the interface of `owt.frontend.http.responses.Plain`: `Messages`, with one message for each
value, and `EventMessages`, with one for each event, for clients that chose the subprotocol `owt.events`. The
pieces that they return are frames, so that a large value needs not be joined for its message. `read_first`
reads the first message of such a client.
"""

from __future__ import annotations

import binascii
import codecs
import struct

import msgspec
from msgspec import Struct

from owt.errors import BadRequest
from owt.frontend.problems import Headers, Problem
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Form, Head, Prompt, Stderr, Stdout

CONTINUATION, TEXT, BINARY, CLOSE = 0x0, 0x1, 0x2, 0x8
"""Codes of frames (RFC 6455, section 5.2)."""

NORMAL, GOING_AWAY, PROTOCOL_ERROR, NO_UTF8, INTERNAL_ERROR = 1000, 1001, 1002, 1007, 1011
"""Codes of the end of a connection (section 7.4.1)."""

SERVICE_RESTART = 1012
"""Code of IANA's registry of WebSocket close codes."""

PROBLEMS = 4000
"""Code of the end of a connection for a problem, less its HTTP status."""

MAX_REASON = 123
"""Maximum length of the reason for the end of a connection, in bytes (section 5.5)."""


def frame(code: int, data: bytes, *, final: bool = True) -> list[bytes]:
    """Return a frame in pieces. The last one of a message is `final`."""
    first, size = code | (0x80 if final else 0), len(data)
    if size < 126:
        return [bytes((first, size)), data]
    if size < 0x10000:
        return [struct.pack("!BBH", first, 126, size), data]
    return [struct.pack("!BBQ", first, 127, size), data]


SHUTDOWN_REASON = "the server is shutting down"

SHUTDOWN_FRAME = b"".join(frame(CLOSE, struct.pack("!H", GOING_AWAY) + SHUTDOWN_REASON.encode()))
"""Frame that ends a connection whose server is shutting down."""


RESTART_FRAME = b"".join(frame(CLOSE, struct.pack("!H", SERVICE_RESTART) + b"the server restarts"))
"""Frame that ends a connection whose server restarts."""


def closing(problem: Problem | None) -> tuple[int, str]:
    """Return code and reason of the end of a connection: of a call that has succeeded, or failed so."""
    if problem is None:
        return NORMAL, ""
    code = INTERNAL_ERROR if problem.status == 500 else PROBLEMS + problem.status
    name = problem.exception or problem.title
    detail = problem.detail.partition("\n")[0]
    reason = f"{name}: {detail}" if detail else name
    return code, reason.encode()[:MAX_REASON].decode("utf-8", "ignore")


class First(Struct, forbid_unknown_fields=True):
    """First message of a client with the subprotocol `owt.events`.

    To start, `end` is the text message that is to end the input, and with `body` the messages are the parts
    of a body. Without `output`, the client reads the output elsewhere.
    """

    start: bool = False
    end: str | None = None
    body: bool = False
    resume: str | None = None
    received: int = 0
    output: bool = True


def read_first(message: str | bytes) -> First:
    """Return the first message. Raises `BadRequest`."""
    try:
        first = msgspec.json.decode(message, type=First)
    except ValueError:  # msgspec's own errors and UnicodeDecodeError
        first = First()
    if first.start == (first.resume is not None) or first.received < 0:
        text = message if isinstance(message, str) else repr(message[:100])
        raise BadRequest(
            "the first message", 'must be {"start": true} or {"resume": "RUN-N", "received": M}', text[:100]
        )
    return first


class Messages:
    """Renderer of values: text as a text message, bytes as a binary one, others as JSON text.

    What the adaptor prints and displays is left out, like its status. `closing` is the end of the
    connection. A value that a failure cuts off is a message without an end, which clients drop. `in_message`
    is True between the frames of a message, where there may be no other message.
    """

    def __init__(self, run: str, session: str | None) -> None:
        self.status = 200
        self.headers: Headers = []
        self.started = False
        self.finished = False
        self.aborted = False
        self.closing = closing(None)
        self._run = run
        self._session = session
        self.in_message = False

    def render(self, chunk: Chunk) -> list[bytes]:
        """Return the frames that `chunk` adds."""
        match chunk:
            case Data(body=body, form=form, more=more):
                code = CONTINUATION if self.in_message else BINARY if form == "bytes" else TEXT
                self.in_message = more
                return frame(code, body, final=not more)
            case Failed():
                self.closing = closing(Problem.of(chunk, self._run, self._session))
            case Done():
                self.finished = True
            case _:
                pass
        return []


class EventMessages(Messages):
    """Renderer of events, each a JSON object with `event`, `id` and `data`, and values with their `form`.

    The names, and the numbers in the ids, are those of `owt.frontend.http.events.Events`. A value of several
    pieces is sent as they come, in a message whose `data` is first. If a failure cuts it off, the event
    becomes `incomplete`, unless the value is JSON, which cannot end there: then no event follows, and the end
    of the connection says why.
    """

    def __init__(
        self, run: str, session: str | None, *, after: int = 0, failure: Failed | None = None
    ) -> None:
        """To resume, `after` is the number of the last event that the client has, and `failure` the run's."""
        super().__init__(run, session)
        self._number = after
        # Form of the value whose first pieces have been sent, and the decoder of its text.
        self._form: Form = "text"
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        if failure is not None:
            self.closing = closing(Problem.of(failure, run, session))

    @property
    def _id(self) -> str:
        return f"{self._run}-{self._number}"

    def opening(self, received: int) -> bytes:
        """Return the first message of a connection: the run, and the number of messages that the server has
        received from its client."""
        data = {"run": self._run, "session": self._session, "received": received}
        return b"".join(self._event("open", data))

    def render(self, chunk: Chunk) -> list[bytes]:
        """Return the frames that `chunk` adds."""
        cut_off: list[bytes] = []
        if self.in_message and not isinstance(chunk, Data):
            if self._form == "json":
                return super().render(chunk)
            # With the number of the last piece: the client resumes with the next event.
            cut_off = self._end("incomplete")
        if isinstance(chunk, Head):
            return []
        self._number += 1
        match chunk:
            case Data():
                return self._data(chunk)
            case Failed():
                problem = Problem.of(chunk, self._run, self._session)
                self.closing = closing(problem)
                return [*cut_off, *self._event("error", problem)]
            case Done(status=status, seconds=seconds):
                self.finished = True
                return [*cut_off, *self._event("done", {"status": status, "seconds": seconds})]
            case Stdout(text=text):
                return [*cut_off, *self._event("stdout", text)]
            case Stderr(text=text):
                return [*cut_off, *self._event("stderr", text)]
            case Display(bundle=bundle):
                return [*cut_off, *self._event("display", bundle)]
            case Prompt(text=text, password=password):
                return [*cut_off, *self._event("input", {"prompt": text, "password": password})]

    def _data(self, data: Data) -> list[bytes]:
        form = data.form
        name = "result" if data.result else "bytes" if form == "bytes" else "message"
        if self.in_message:
            pieces = frame(CONTINUATION, self._encode(data), final=False)
            return pieces if data.more else [*pieces, *self._end(name)]
        if data.more:
            self.in_message, self._form = True, form
            self._decoder.reset()
            return frame(TEXT, b'{"data":' + _quote(form) + self._encode(data), final=False)
        # msgspec writes bytes in base64.
        value: object = data.body
        if form != "bytes":
            value = data.body.decode("utf-8", "replace") if form == "text" else msgspec.Raw(data.body)
        return self._event(name, value, form)

    def _encode(self, data: Data) -> bytes:
        """Return a piece of a value as a part of JSON text."""
        match data.form:
            case "text":
                # Pieces may split a character.
                return msgspec.json.encode(self._decoder.decode(data.body))[1:-1]
            case "bytes":
                return binascii.b2a_base64(data.body, newline=False)
            case "json":
                return data.body

    def _end(self, name: str) -> list[bytes]:
        """Return the last frame of the value that has been begun."""
        self.in_message = False
        end = {"event": name, "id": self._id, "form": self._form}
        return frame(CONTINUATION, _quote(self._form) + b"," + msgspec.json.encode(end)[1:])

    def _event(self, name: str, data: object, form: Form | None = None) -> list[bytes]:
        message = {"event": name, "id": self._id, "data": data}
        if form is not None:
            message["form"] = form
        return frame(TEXT, msgspec.json.encode(message))


def problem_event(problem: Problem) -> bytes:
    """Return the message of a problem before, or instead of, the events of a run."""
    return b"".join(frame(TEXT, msgspec.json.encode({"event": "error", "id": None, "data": problem})))


def received_event(count: int) -> bytes:
    """Return the message that says how many messages of the client the server has received."""
    return b"".join(frame(TEXT, msgspec.json.encode({"event": "received", "data": count})))


def _quote(form: Form) -> bytes:
    return b"" if form == "json" else b'"'
