"""Rendering of a run's chunks as an HTTP response: status, headers and bytes. Without I/O.

Two renderers have one interface: `Plain` for an ordinary response, and `Events` (in `events`) for Server-Sent
Events. `Delivery` feeds them chunks and does the I/O:

    renderer = Plain(accept, run, session) or Events(run, session)
    for each batch of chunks:
        data = the pieces that renderer.render returns for each chunk
        if renderer.aborted: send data and abort the connection, so that the client sees a broken response
        if renderer.started and nothing was sent: send renderer.status and renderer.headers
            (if renderer.finished, data is the whole body, so its length is known)
        send data
    until renderer.finished

Headers have a Content-Length only if an adaptor that streams has stated one; a body of another length then is
broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from owt.errors import Busy
from owt.frontend.problems import VARY, Headers, Problem
from owt.wire import sse
from owt.wire.chunk import Chunk, Data, Display, Done, Failed, Head, Prompt, Stderr, Stdout
from owt.wire.http import BODILESS, headers_problem, is_final_status

# Connection management (RFC 9110, section 7.6.1), and the server's identity and time.
_SERVER_HEADERS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "server", "date"}
)
_VALUE = "owt-value"
"""Name of the only header of owt that comes from the kernel (`owt.kernel.answer.values`)."""
MAX_CACHED_VALUE = 200
"""Maximum length of a header's value for which the processed head is cached, in characters."""
STREAM_HEADERS = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))


class Plain:
    """Renderer of the adaptor's own response: its status, headers and body.

    A `Head` alone does not set `started`, so that a failure right after it is still an error response. A
    later failure sets `aborted`.
    """

    status = 200
    started = False
    finished = False
    aborted = False
    _failed = False
    _bodiless = False
    _length: str | None = None

    def __init__(
        self, accept: str, run: str, session: str | None, *, json_by_default: bool = False
    ) -> None:
        """`session` is the name of a named session, or None. For `json_by_default` see `Problem.response`."""
        # Headers that are appended before the first chunk are in every response, errors too.
        self.headers: Headers = own_headers(run, session)
        self._own_headers = self.headers
        self._accept = accept
        self._json_by_default = json_by_default
        self._run = run
        self._session = session

    def render(self, chunk: Chunk) -> list[bytes]:
        """Return the pieces of the body that `chunk` adds."""
        if self.aborted:
            return []
        match chunk:
            case Head():
                return self._head(chunk)
            case Data():
                return self._data(chunk)
            case Done():
                self.started = self.finished = True
                return []
            case Stdout() | Stderr() | Display() | Prompt():
                return []
            case Failed():
                return self._fail(chunk)

    def _head(self, head: Head) -> list[bytes]:
        # Most adaptors set a Content-Type only, and there are few of these heads.
        first, *rest = head.headers or (("", ""),)
        cacheable = (not rest or rest == [VARY]) and len(first[1]) < MAX_CACHED_VALUE
        problem, headers, self._length = (_processed_from_cache if cacheable else _processed)(head)
        if problem is not None:
            return self._fail(Failed(500, "bad-answer", "the adaptor's answer is not HTTP", problem))
        self.status = head.status
        self._bodiless = head.status in BODILESS
        self.headers = [*headers, *self._own_headers]
        return []

    def _data(self, data: Data) -> list[bytes]:
        if self._failed:
            return []
        if not self.started:
            self.started = True
            # The length of a whole value is known.
            if self._length is not None and not self._bodiless and (data.more or not data.result):
                self.headers.append(("Content-Length", self._length))
        return [] if self._bodiless else plain_pieces(data)

    def _fail(self, failed: Failed) -> list[bytes]:
        if self.started:
            self.aborted = not self._failed
            return []
        response = Problem.of(failed, self._run, self._session).response(
            self._accept, json_by_default=self._json_by_default
        )
        self.status = failed.status
        self.headers = [*response.headers, *self._own_headers]
        if failed.status == Busy.status:
            self.headers.append(("Retry-After", "1"))
        self.started = self._failed = True
        return [response.body]


def _processed(head: Head) -> tuple[str | None, Sequence[tuple[str, str]], str | None]:
    """Return the problem of an adaptor's head or None, its headers as they are sent, and the length of the
    body that it states."""
    if not is_final_status(head.status):
        return f"the status must be from 200 to 599, not {head.status}", (), None
    if (problem := headers_problem(head.headers, added=2)) is not None:
        return problem, (), None
    headers, length = _without_server_headers(head.headers)
    if sse.is_event_stream(head.headers):
        names = {name.lower() for name, _ in headers}
        headers += [pair for pair in STREAM_HEADERS if pair[0].lower() not in names]
    return None, tuple(headers), length


_processed_from_cache = lru_cache(maxsize=64)(_processed)


def own_headers(run: str, session: str | None) -> Headers:
    """Return the headers that name the run and its session."""
    return [("Owt-Run", run)] + ([("Owt-Session", session)] if session is not None else [])


def _without_server_headers(headers: Iterable[tuple[str, str]]) -> tuple[Headers, str | None]:
    """Return an adaptor's headers without those that the server sets, and its Content-Length."""
    kept: Headers = []
    content_type = length = None
    for name, value in headers:
        match name.lower():
            case "content-length":
                length = value.strip()
            case "content-type":
                content_type = ("Content-Type", value.strip())
            case low if low in _SERVER_HEADERS or low.startswith("proxy-"):
                continue
            case low if low.startswith("owt-") and low != _VALUE:
                continue
            case _:
                kept.append((_usual(name), value.strip()))
    if content_type is not None:
        kept.insert(0, content_type)
    valid = length is not None and length.isascii() and length.isdigit() and len(length) < 19
    return kept, length if valid else None


def _usual(name: str) -> str:
    """Return the name of a header in its usual spelling, by which the writer knows it."""
    return "-".join(map(str.capitalize, name.split("-")))


def plain_pieces(data: Data) -> list[bytes]:
    """Return the bytes of a value in a plain body; JSON ends in a newline."""
    if data.form == "json" and not data.more:
        return [data.body, b"\n"]
    return [data.body]
