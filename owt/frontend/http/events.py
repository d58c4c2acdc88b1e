"""A run's chunks as Server-Sent Events, each with an id by which a reader can come back.

An id is the run's and the event's number in the run's journal: `RUN-N`. Chunks that make no event of
their own (the head, the beginning of a large value) have none.
"""

from __future__ import annotations

import binascii

import msgspec

from owt.frontend.http.responses import STREAM_HEADERS, own_headers, plain_pieces
from owt.frontend.problems import Headers, Problem
from owt.wire import sse
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Stderr, Stdout

RETRY = 1000
"""Milliseconds after which a browser that lost its connection comes back."""


class Events:
    """Every chunk is an event, and the last one is `done`. The interface is that of `Plain`.

    The answer starts at once, with status 200; what went wrong is in the events. An adaptor that
    answers with an event stream of its own has its text passed through, with an id added to each event
    and nothing else unless it fails. A value that is cut off by a failure reaches the client as event
    `incomplete`.
    """

    def __init__(
        self,
        run: str,
        session: str | None,
        *,
        after: int = 0,
        head: Head | None = None,
        failed: bool = False,
    ) -> None:
        """To go on in the middle: `after` is the number of the last event that the client has, `head` the
        run's, if it has sent one, and `failed` whether it has failed already."""
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
        self._own = head is not None and sse.announced(head.headers)
        # Of the adaptor's own stream: the last bytes of an event that is not complete.
        self._tail = b""
        self._after_cr = False
        self._failed = failed
        self._open: sse.EventWriter | None = None

    def opening(self) -> bytes:
        """What comes before the first event. A browser that gets no more than this has an id to come back
        with, so that it never runs the code again."""
        return b"retry: %d\nid: %s\n\n" % (RETRY, self._id().encode())

    def keepalive(self) -> bytes:
        """A comment, or nothing where one does not fit in."""
        if self._open is not None or (self._tail and not self._tail.endswith(b"\n")):
            return b""
        return sse.comment()

    def render(self, chunk: Chunk) -> list[bytes]:
        """What `chunk` adds to the body, ready to be written in order."""
        if isinstance(chunk, Head):
            self._own = sse.announced(chunk.headers)
            return []
        cut_off: list[bytes] = []
        if not isinstance(chunk, Data) and (self._open is not None or isinstance(chunk, Failed)):
            # With the number of the last piece, since the next event is the first that can follow.
            cut_off = self._cut_off()
        self._number += 1
        match chunk:
            case Data():
                return self._owns(chunk) if self._own else self._data(chunk)
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
            case Display(bundle=bundle):
                return [*cut_off, self._event(msgspec.json.encode(bundle), "display")]

    def _id(self) -> str:
        return f"{self._run}-{self._number}"

    def _event(self, data: str | bytes, event: str | None) -> bytes:
        return sse.encode(data, event, id=self._id())

    def _data(self, data: Data) -> list[bytes]:
        body = data.body
        if data.form == "bytes":
            body = binascii.b2a_base64(body, newline=False)
        if self._open is None:
            name = "result" if data.result else "bytes" if data.form == "bytes" else None
            if not data.more:
                return [self._event(body, name)]
            self._open = sse.EventWriter(name)
            return [self._open.open(), self._open.write(body)]
        pieces = [self._open.write(body)]
        if not data.more:
            pieces.append(self._open.close(self._id()))
            self._open = None
        return pieces

    def _owns(self, data: Data) -> list[bytes]:
        """A part of the adaptor's own stream: `more` says that its last event goes on (see `Journal`)."""
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
        """End what a failure leaves half written, ours or the adaptor's."""
        pieces: list[bytes] = []
        if self._open is not None:
            pieces = [self._open.abandon(self._id())]
            self._open = None
        if self._tail:
            end = sse.EventWriter().abandon(self._id())
            # After a line end, one more would already end the event, and as a complete one.
            pieces = [end[1:] if self._tail.endswith((b"\n", b"\r")) else end]
            self._tail = b""
        return pieces
