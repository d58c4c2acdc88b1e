"""What the log may say: never a query, a body, a header, a password or a token.

`-v` shows what calls print, `-vv` requests and the beginning and end of each call's code, `-vvv` the
messages of the libraries too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from types import TracebackType

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from owt.errors import shortened
from owt.wire.call import Call
from owt.wire.chunk import Chunk, Stderr, Stdout

CODE = 200
PATH = 200
"""Characters of a call's code, and of a path, that are shown."""

access = logging.getLogger("owt.access")
calls = logging.getLogger("owt.calls")
faults = logging.getLogger("owt.faults")

_MALFORMED = "Malformed HTTP message from %s"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def set_up(verbose: int) -> None:
    """Have the process log to stderr. `verbose` is 0 to 3."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)[min(verbose, 3)]
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose >= 3 else logging.WARNING)
    logging.getLogger("owt").setLevel(level)
    logging.getLogger("tornado.general").addFilter(without_quotations)


def log_request(handler: RequestHandler) -> None:
    """The access log: method, path, status and time."""
    if access.isEnabledFor(logging.DEBUG):
        request = handler.request
        seconds = request.request_time()
        access.debug("%s %d %.1f ms", summary(request), handler.get_status(), seconds * 1000)


def log_call(run: str, call: Call) -> None:
    """A call that was taken, with its code on one line."""
    if not calls.isEnabledFor(logging.DEBUG):
        return
    if call.code is not None:
        what = "code " + one_line(call.code)
    elif call.endpoint is not None:
        what = f"endpoint {call.endpoint.path}"
    elif call.adaptor is not None:
        what = f"adaptor {call.adaptor}"
    else:
        what = f"function {call.fn_name}"
    calls.debug("run %s in session %s: %s", run, call.session or "(pool)", what)


def tell(run: str, chunks: Sequence[Chunk]) -> None:
    """What a run prints."""
    for chunk in chunks:
        match chunk:
            case Stdout(text=text):
                name = "stdout"
            case Stderr(text=text):
                name = "stderr"
            case _:
                continue
        for line in text.splitlines():
            calls.info("run %s %s: %s", run, name, line)


def log_fault(request: HTTPServerRequest, error: ExcInfo) -> None:
    """An exception that nobody expected, with its traceback."""
    faults.error("uncaught exception in %s", summary(request), exc_info=error)


def summary(request: HTTPServerRequest) -> str:
    """Method and path of a request, without the query and without what a whole URL holds besides."""
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*", "", request.path) or "/"
    if len(path) > PATH:
        path = f"{path[: PATH - 30]} ... {path[-20:]}"
    return f"{request.method} {path}"


def one_line(code: str) -> str:
    """The beginning and the end of a program, quoted, in at most `CODE` characters."""
    if len(code) > 2 * CODE:
        code = code[:CODE] + code[-CODE:]
    return shortened(code, CODE)


def without_quotations(record: logging.LogRecord) -> bool:
    """A filter for Tornado's log: why a request is malformed, which may quote its headers, is left out."""
    if str(record.msg).startswith(_MALFORMED) and isinstance(record.args, tuple):
        record.msg, record.args = _MALFORMED, record.args[:1]
    return True
