"""Logging without secrets: no record has a query, a body, a password, a token, or a header but the ids below.

`-v` shows the output of calls, `-vv` also requests and both ends of each call's code, `-vvv` also the records
of libraries. Records of requests and calls have the ids that a client or a proxy gave the request:
`request_id` (X-Request-ID), `trace_id` and `parent_id` (traceparent; W3C Trace Context, section 3.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import select
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TextIO

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from owt.errors import shortened
from owt.wire.call import Call, short_path
from owt.wire.chunk import Chunk, Prompt, Stderr, Stdout
from owt.wire.names import RUN_ID

MAX_CODE = 200
"""Maximum length of a call's code in the log, in characters."""

MAX_LINES = 200
"""Maximum number of lines of a run's output in the log in one second."""
MAX_LINE = 2000
"""Maximum length of such a line, in characters."""

MAX_UNWRITTEN = 1024 * 1024
"""Number of bytes of the log from which on records are dropped while stderr is not read."""
RETRY = 0.1
"""Seconds between two tries to write to it."""

access = logging.getLogger("owt.access")
calls = logging.getLogger("owt.calls")
faults = logging.getLogger("owt.faults")

IDS = ("request_id", "trace_id", "parent_id", "run_id")
"""Names of a request's ids in the log."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_MALFORMED = "Malformed HTTP message from %s"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class StderrHandler(logging.StreamHandler[TextIO]):
    """Handler that never waits for the reader of stderr, which would stop the server.

    Up to `MAX_UNWRITTEN` bytes wait for a pipe or terminal that takes no more; of more, a line tells how many
    records are missing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unwritten = bytearray()
        self._missing = 0
        self._retry: asyncio.TimerHandle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, as far as stderr takes it."""
        try:
            if len(self._unwritten) > MAX_UNWRITTEN:
                self._missing += 1
                return
            if self._missing:
                note = f"{self._missing} records are missing here: stderr was not read"
                self._missing = 0
                self._add(logging.LogRecord("owt", logging.WARNING, "", 0, note, None, None))
            self._add(record)
            self.flush()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits, as far as stderr takes it; try again soon if something is left."""
        with self.lock or contextlib.nullcontext():
            self._write()
            if self._unwritten and self._retry is None:
                with contextlib.suppress(RuntimeError):
                    self._retry = asyncio.get_running_loop().call_later(RETRY, self._write_again)

    def _add(self, record: logging.LogRecord) -> None:
        self._unwritten += self.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _write_again(self) -> None:
        self._retry = None
        self.flush()

    def _write(self) -> None:
        poll = select.poll()
        try:
            poll.register(self.stream.fileno(), select.POLLOUT)
            while self._unwritten and poll.poll(0):
                # A pipe that is ready takes this much at once.
                written = os.write(self.stream.fileno(), self._unwritten[: select.PIPE_BUF])
                del self._unwritten[:written]
        except OSError:
            # Stderr is full or closed: nothing can be said about it.
            self._unwritten.clear()


class JsonFormatter(logging.Formatter):
    """Formatter of a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's time (RFC 3339, UTC), level, logger, message, facts and traceback."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document)


class TextFormatter(logging.Formatter):
    """Formatter of a record as text, with the ids of its request at the end of the first line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the first line."""
        facts: dict[str, object] = getattr(record, "facts", {})
        ids = [f" {name}={facts[name]}" for name in IDS if name in facts]
        return super().formatMessage(record) + "".join(ids)


def set_up(verbose: int, log_format: str = "text") -> None:
    """Configure the process to log to stderr. `verbose` is 0 to 3."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)[min(verbose, 3)]
    handler = StderrHandler()
    text = TextFormatter("%(asctime)s %(levelname).1s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose >= 3 else logging.WARNING)
    logging.getLogger("owt").setLevel(level)
    if verbose < 3:
        # jupyter_client logs each failed start with a traceback before it raises what owt logs in one line.
        logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    logging.getLogger("tornado.general").addFilter(remove_quotation)


def log_request(handler: RequestHandler) -> None:
    """Write the access log for a page."""
    log_response(handler.request, handler.get_status())


def log_response(request: HTTPServerRequest, status: int) -> None:
    """Write the access log: method, path, status and duration."""
    if access.isEnabledFor(logging.DEBUG):
        milliseconds = request.request_time() * 1000
        facts = {"method": request.method, "status": status, "milliseconds": round(milliseconds, 1)}
        facts |= request_ids(request.headers.get_all())
        access.debug("%s %d %.1f ms", summary(request), status, milliseconds, extra={"facts": facts})


def log_call(run: str, call: Call) -> None:
    """Log an accepted call with its code on one line."""
    if not calls.isEnabledFor(logging.DEBUG):
        return
    if call.operation is not None:
        target = f"operation {call.operation}"
    elif call.code is not None:
        target = "code " + one_line(call.code)
    elif call.endpoint is not None:
        target = f"endpoint {call.endpoint.path}"
    elif call.adaptor is not None:
        target = f"adaptor {call.adaptor}"
    else:
        target = f"function {call.function_name}"
    facts = {"run": run, "session": call.session, **request_ids(call.request.headers)}
    calls.debug("run %s in session %s: %s", run, call.session or "(pool)", target, extra={"facts": facts})


class OutputLog:
    """Log of what one run prints: up to `MAX_LINES` lines a second, and the number of the others.

    Each record takes the event loop some microseconds, and a run can print 100,000 lines a second.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._since = 0.0
        self._left = 0
        self._omitted = 0

    @staticmethod
    def enabled() -> bool:
        """Return True if output is logged at all."""
        return calls.isEnabledFor(logging.INFO)

    def write(self, chunks: Sequence[Chunk]) -> None:
        """Log the printed text among these chunks."""
        for chunk in chunks:
            match chunk:
                case Stdout(text=text):
                    self._write(text, "stdout")
                case Stderr(text=text):
                    self._write(text, "stderr")
                case Prompt():
                    self._write("waits for input\n", "input")
                case _:
                    pass

    def close(self) -> None:
        """Log the number of the lines that were left out."""
        if self._omitted:
            calls.info(
                "run %s: %d more lines (the log has %d a second of a run; see owt runs logs %s)",
                self._run, self._omitted, MAX_LINES, self._run,
                extra={"facts": {"run": self._run, "omitted": self._omitted}},
            )  # fmt: skip
            self._omitted = 0

    def _write(self, text: str, stream: str) -> None:
        now = time.monotonic()
        if now - self._since >= 1:
            self.close()
            self._since, self._left = now, MAX_LINES
        lines = text[: self._left * MAX_LINE].splitlines()[: self._left]
        for line in lines:
            excerpt = line if len(line) <= MAX_LINE else line[: MAX_LINE - 4] + " ..."
            facts = {"run": self._run, "stream": stream}
            calls.info("run %s %s: %s", self._run, stream, excerpt, extra={"facts": facts})
        self._left -= len(lines)
        self._omitted += max(0, text.count("\n") + (not text.endswith("\n")) - len(lines))


def log_fault(request: HTTPServerRequest, error: ExcInfo) -> None:
    """Log an unexpected exception with its traceback."""
    facts = request_ids(request.headers.get_all())
    faults.error("uncaught exception in %s", summary(request), exc_info=error, extra={"facts": facts})


def request_ids(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the valid ids among the headers of a request."""
    ids = {}
    for name, value in headers:
        match name.lower():
            case "x-request-id" if _REQUEST_ID.fullmatch(value):
                ids["request_id"] = value
            case "traceparent" if parts := _TRACEPARENT.fullmatch(value):
                ids |= {"trace_id": parts[1], "parent_id": parts[2]}
            case "owt-run" if re.fullmatch(RUN_ID, value):
                ids["run_id"] = value
    return ids


def summary(request: HTTPServerRequest) -> str:
    """Return the method and path of a request. Of an absolute URL, scheme and authority are removed."""
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*", "", request.path) or "/"
    return f"{request.method} {short_path(path)}"


def one_line(code: str) -> str:
    """Return the two ends of a program, quoted, in at most `MAX_CODE` characters."""
    if len(code) > 2 * MAX_CODE:
        code = code[:MAX_CODE] + code[-MAX_CODE:]
    return shortened(code, MAX_CODE)


def remove_quotation(record: logging.LogRecord) -> bool:
    """Filter Tornado's log: remove the reason why a request is malformed, which may quote its headers."""
    if str(record.msg).startswith(_MALFORMED) and isinstance(record.args, tuple):
        record.msg, record.args = _MALFORMED, record.args[:1]
    return True
