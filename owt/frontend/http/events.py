"""Rendering of a run's chunks as Server-Sent Events, each with an id by which a client can resume.

An id is `RUN-N`: the run's id, and the event's number in the run's journal. Chunks that are no event of their
own (the head, the beginning of a large value) have no id.
"""

from __future__ import annotations

import binascii

import msgspec

from owt.frontend.http.responses import STREAM_HEADERS, own_headers, plain_pieces
from owt.frontend.problems import Headers, Problem
from owt.wire import sse
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Form, Head, Prompt, Stderr, Stdout

RETRY = 1000
"""Milliseconds after which a browser reconnects."""


class Events:
    """Renderer of chunks as events, of which `done` is the last. The interface is that of `Plain`.

    The response starts at once, with status 200; events report failures. If the adaptor returns an event
    stream of its own, its text is passed through, with an id added to each event, and with events of owt only
    for a failure. A value that a failure cuts off becomes an event `incomplete`.
    """

    def __init__(
        self,
        run: str,
        session: str | None,
        *,
        after: int = 0,
        head: Head | None = None,
        failed: bool = False,
        by_browser: bool = False,
    ) -> None:
        """To resume, `after` is the number of the last event that the client has, `head` the run's head or
        None, and `failed` is True if the run has failed before. For `by_browser` see `opening`."""
        self.status = 200
        self.headers: Headers = [
            ("Content-Type", "text/event-stream; charset=utf-8"),
            *STREAM_HEADERS,
            *own_headers(run, session),
        ]
        self.started = True
        self.finished = False
        self.aborted = False
        self._run = run
        self._session = session
        self._number = after
        self._own = head is not None and sse.is_event_stream(head.headers)
        # Last bytes of an incomplete event of the adaptor's own stream.
        self._tail = b""
        self._after_cr = False
        self._failed = failed
        self._by_browser = by_browser
        self._open: sse.EventWriter | None = None

    def opening(self) -> bytes:
        """Return the text before the first event.

        It gives a browser an id to resume with before there is an event, so that it never runs the code
        again. That takes an empty line, which some other clients (httpx-sse, and those that copied it) take
        for the end of an empty event. For them the fields belong to the first event.
        """
        fields = b"retry: %d\nid: %s\n" % (RETRY, self._id().encode())
        return fields + b"\n" if self._by_browser else fields

    def keepalive(self) -> bytes:
        """Return a comment, or nothing in the middle of an event."""
        if self._open is not None or (self._tail and not self._tail.endswith(b"\n")):
            return b""
        return sse.comment()

    def render(self, chunk: Chunk) -> list[bytes]:
        """Return the pieces of the body that `chunk` adds."""
        if isinstance(chunk, Head):
            self._own = sse.is_event_stream(chunk.headers)
            return []
        cut_off: list[bytes] = []
        if not isinstance(chunk, Data) and (self._open is not None or isinstance(chunk, Failed)):
            # With the number of the last piece: the client resumes with the next event.
            cut_off = self._cut_off()
        self._number += 1
        match chunk:
            case Data():
                return self._own_stream(chunk) if self._own else self._data(chunk)
            case Failed():
                self._failed = True
                problem = Problem.of(chunk, self._run, self._session)
                return [*cut_off, self._event(problem.json(), "error")]
            case Done(status=status, seconds=seconds):
                self.finished = True
                if self._own and not self._failed:
                    return []
                end = msgspec.json.encode({"status": status, "seconds": seconds})
                return [*cut_off, self._event(end, "done")]
            case _ if self._own:
                return []
            case Stdout(text=text):
                return [*cut_off, self._event(text, "stdout")]
            case Stderr(text=text):
                return [*cut_off, self._event(text, "stderr")]
            case Prompt(text=text, password=password):
                question = msgspec.json.encode({"prompt": text, "password": password})
                return [*cut_off, self._event(question, "input")]
            case Display(bundle=bundle):
                return [*cut_off, self._event(msgspec.json.encode(bundle), "display")]

    def _id(self) -> str:
        return f"{self._run}-{self._number}"

    def _event(self, data: str | bytes, event: str | None, form: Form = "text") -> bytes:
        return sse.encode(data, event, id=self._id(), form=form)

    def _data(self, data: Data) -> list[bytes]:
        body = data.body
        if data.form == "bytes":
            body = binascii.b2a_base64(body, newline=False)
        if self._open is None:
            name, form = "result" if data.result else None, data.form
            if name is None and form == "bytes":
                # The name says it.
                name, form = "bytes", "text"
            if not data.more:
                return [self._event(body, name, form)]
            self._open = sse.EventWriter(name, form=form)
            return [self._open.open(), self._open.write(body)]
        pieces = [self._open.write(body)]
        if not data.more:
            pieces.append(self._open.close(self._id()))
            self._open = None
        return pieces

    def _own_stream(self, data: Data) -> list[bytes]:
        """Pass through a part of the adaptor's own stream. If `more`, its last event continues (see
        `Journal`)."""
        if data.more:
            # An LF may be the other half of the empty line that ended the last event.
            rest = data.body[1:] if self._after_cr and data.body.startswith(b"\n") else data.body
            self._tail = (self._tail + rest[-4:])[-4:]
            self._after_cr = False
            return plain_pieces(data)
        self._tail = b""
        self._after_cr = data.body.endswith(b"\r")
        return [sse.with_id(data.body, self._id())]

    def _cut_off(self) -> list[bytes]:
        """End the event that a failure leaves incomplete, of owt or of the adaptor."""
        pieces: list[bytes] = []
        if self._open is not None:
            pieces = [self._open.abandon(self._id())]
            self._open = None
        if self._tail:
            end = sse.EventWriter().abandon(self._id())
            # After a line end, one more would complete the event.
            pieces = [end[1:] if self._tail.endswith((b"\n", b"\r")) else end]
            self._tail = b""
        return pieces
