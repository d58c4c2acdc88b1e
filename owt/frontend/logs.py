"""Logging without secrets: no record has a query, a body, a header, a password or a token.

`-v` shows the output of calls, `-vv` also requests and both ends of each call's code, `-vvv` also the records
of libraries.
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

MAX_CODE = 200
MAX_PATH = 200
"""Maximum length of a call's code and of a path in the log, in characters."""

access = logging.getLogger("owt.access")
calls = logging.getLogger("owt.calls")
faults = logging.getLogger("owt.faults")

_MALFORMED = "Malformed HTTP message from %s"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def set_up(verbose: int) -> None:
    """Configure the process to log to stderr. `verbose` is 0 to 3."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)[min(verbose, 3)]
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
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
        access.debug("%s %d %.1f ms", summary(request), status, request.request_time() * 1000)


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
        target = f"function {call.fn_name}"
    calls.debug("run %s in session %s: %s", run, call.session or "(pool)", target)


def log_output(run: str, chunks: Sequence[Chunk]) -> None:
    """Log the printed output of a run."""
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
    """Log an unexpected exception with its traceback."""
    faults.error("uncaught exception in %s", summary(request), exc_info=error)


def summary(request: HTTPServerRequest) -> str:
    """Return the method and path of a request. Of an absolute URL, scheme and authority are removed."""
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*", "", request.path) or "/"
    if len(path) > MAX_PATH:
        path = f"{path[: MAX_PATH - 30]} ... {path[-20:]}"
    return f"{request.method} {path}"


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
