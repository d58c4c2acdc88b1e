"""A run's chunks to the status, headers and bytes of an HTTP answer.

Two renderers with one interface, `Plain` for an ordinary answer and `Events` (in `events`) for
Server-Sent Events. A driver feeds one chunk after the other and does the I/O:

    answer = Plain(accept, run, session) or Events(run, session)
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

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from owt.errors import Busy, shortened
from owt.frontend.problems import Headers, Problem
from owt.wire import sse
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Stderr, Stdout
from owt.wire.http import BODILESS, TOKEN, is_final_status

# Connection management is the server's own (RFC 9110, section 7.6.1), and so is who serves when.
_NOT_THE_ADAPTORS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "server", "date"}
)
_HEADER_NAME = re.compile(TOKEN)
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
USUAL = 200
"""Characters of a header's value that may be remembered."""
STREAM_HEADERS = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))


class Plain:
    """The answer that the adaptor makes: its status, its headers, its body.

    Nothing is `started` by a `Head` alone, so that a failure right after it is still a clean
    error. A failure after that sets `aborted`.
    """

    def __init__(self, accept: str, run: str, session: str | None) -> None:
        """`session` is the name of a named session, or None."""
        self.status = 200
        # What a driver appends here before the first chunk stays in every answer, errors too.
        self.headers: Headers = own_headers(run, session)
        self._own_headers = self.headers
        self.started = False
        self.finished = False
        self.aborted = False
        self._accept = accept
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
        read = _read_usual if len(head.headers) == 1 and len(head.headers[0][1]) < USUAL else _read
        complaint, headers, self._length = read(head)
        if complaint:
            return self._fail(Failed(500, "bad-answer", "the adaptor's answer is not HTTP", complaint))
        self.status = head.status
        self._bodiless = head.status in BODILESS
        self.headers = [*headers, *self._own_headers]
        return []

    def _data(self, data: Data) -> list[bytes]:
        if self._failed:
            return []
        if not self.started:
            self.started = True
            # A value that is here as a whole has the length that it has.
            if self._length is not None and not self._bodiless and (data.more or not data.result):
                self.headers.append(("Content-Length", self._length))
        return [] if self._bodiless else plain_pieces(data)

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


def _read(head: Head) -> tuple[str, Sequence[tuple[str, str]], str | None]:
    """Why an adaptor's head cannot be sent, or nothing; else its headers as they are sent, and its
    Content-Length."""
    if complaint := _complaint(head):
        return complaint, (), None
    headers, length = _cleaned(head.headers)
    if sse.announced(head.headers):
        names = {name.lower() for name, _ in headers}
        headers += [pair for pair in STREAM_HEADERS if pair[0].lower() not in names]
    return "", tuple(headers), length


_read_usual = lru_cache(maxsize=64)(_read)
"""Of a head that has a Content-Type alone, as nearly all have: there are few, and to look at one takes a
twentieth of the time that a call has."""


def own_headers(run: str, session: str | None) -> Headers:
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
    if not is_final_status(head.status):
        return f"the status must be from 200 to 599, not {head.status}"
    for name, value in head.headers:
        if not _HEADER_NAME.fullmatch(name):
            return f"{shortened(name)} is not a header's name"
        if _UNSAFE.search(value):
            return f"the header {name} has a control character in its value: {shortened(value)}"
    return ""


def plain_pieces(data: Data) -> list[bytes]:
    if data.form == "json" and not data.more:
        return [data.body, b"\n"]
    return [data.body]
