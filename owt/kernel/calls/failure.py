"""Conversion of an exception to the `Failed` chunk that reports it."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable
from itertools import dropwhile
from types import TracebackType

import owt.kernel
import owt.summat
from owt.errors import BadRequest, EndpointGone, OwtError, SyntaxFault, Unprocessable
from owt.kernel.calls.interrupts import Stopped
from owt.kernel.calls.output_sender import encodable
from owt.kernel.code.compiled import with_short_filenames
from owt.wire.chunk import Failed

MAX_TRACEBACK = 64 * 1024
"""Maximum number of characters of a traceback; the middle of a longer one is cut out."""
MAX_DETAIL = 4096
MAX_NAME = 200

_OWN_FOLDERS = tuple(
    os.path.dirname(path) + os.sep for path in (owt.kernel.__file__, owt.summat.__file__) if path
)
_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep


def describe(error: BaseException, stop_reason: str | None, timeout: float | None) -> Failed:
    """Return why a run failed. `stop_reason` is that of its cancel, if it was cancelled."""
    if stop_reason == "timeout":
        limit = "" if timeout is None else f" of {timeout:g} s"
        return Failed(504, "timeout", "timed out", f"the call ran longer than its timeout{limit}")
    if stop_reason is not None:
        return Failed(499, stop_reason, "cancelled", f"the call was {stop_reason}")
    error = _unwrapped(error)
    kind = type(error)
    name = _shortened(kind.__qualname__, MAX_NAME)
    # `isinstance` would ask the exception for its class.
    if not issubclass(kind, OwtError):
        title = f"the adaptor raised {name}"
        return Failed(500, "exception", title, _text(error), name, _traceback(error))
    if issubclass(kind, SyntaxFault):
        return Failed(kind.status, "syntax", kind.title, _text(error), "SyntaxError")
    if issubclass(kind, Unprocessable):
        return Failed(kind.status, "unprocessable", kind.title, _text(error))
    if issubclass(kind, EndpointGone):
        return Failed(kind.status, "endpoint-gone", kind.title, _text(error))
    if issubclass(kind, BadRequest):
        return Failed(kind.status, "bad-request", kind.title, _text(error))
    return Failed(500, "exception", kind.title, _text(error), name, _traceback(error))


def last_resort(problem: BaseException) -> Failed:
    """Return the failure of a run whose outcome cannot be described or sent, because that raised
    `problem`."""
    name = _shortened(type(problem).__qualname__, MAX_NAME)
    return Failed(
        500, "exception", "the outcome of the call cannot be described",
        f"describing or sending the outcome of the call raised {name}",
    )


def as_raised(error: BaseException) -> BaseException:
    """Return the adaptor's exception with a traceback that begins at the adaptor's first frame, for a
    debugger.

    The traceback is None if it has no frame of the adaptor.
    """
    error = _unwrapped(error)
    trace = _trace_of(error)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((*_OWN_FOLDERS, _ASYNCIO)):
        trace = trace.tb_next
    return BaseException.with_traceback(error, trace)


def _text(error: BaseException) -> str:
    try:
        text = str(error)
        if issubclass(type(error), MemoryError):
            # Python's MemoryError has no text; a note names the limit that was reached.
            text = "; ".join(filter(None, (text, *map(str, getattr(error, "__notes__", ())))))
        return _shortened(text, MAX_DETAIL)
    except KeyboardInterrupt:
        # The run is cancelled: do not call the same method for the traceback.
        raise
    except BaseException:
        return f"<{type(error).__qualname__}, whose text cannot be shown>"


def _traceback(error: BaseException) -> str:
    """Return the traceback from the adaptor's first frame on."""
    try:
        exception = traceback.TracebackException(type(error), error, _trace_of(error))
        _drop_own_frames(exception)
        return _shortened(with_short_filenames("".join(exception.format())), MAX_TRACEBACK)
    except BaseException as problem:
        return f"{type(error).__qualname__}: (its traceback cannot be shown: {type(problem).__name__})\n"


def _drop_own_frames(exception: traceback.TracebackException) -> None:
    """Remove owt's frames before the adaptor's first one, also from causes, contexts and groups."""
    pending: list[traceback.TracebackException | None] = [exception]
    while pending:
        part = pending.pop()
        if part is not None:
            frames = dropwhile(lambda frame: frame.filename.startswith(_OWN_FOLDERS), part.stack)
            part.stack = traceback.StackSummary.from_list(list(frames))
            pending += [part.__cause__, part.__context__, *(part.exceptions or ())]


def _unwrapped(error: BaseException) -> BaseException:
    """Return what the adaptor raised: what stopped its steps, or the StopIteration of a plain adaptor, which
    a coroutine of owt turned into a RuntimeError."""
    if type(error) is Stopped:
        error = error.cause
    cause = _cause_of(error)
    trace = _trace_of(error)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FOLDERS):
        trace = trace.tb_next
    return cause if trace is None and type(cause) is StopIteration else error


# The attributes that every exception has, whatever its class makes of their names.
_cause_of: Callable[[BaseException], BaseException | None]
_cause_of = BaseException.__cause__.__get__  # type: ignore[union-attr]
_trace_of: Callable[[BaseException], TracebackType | None]
_trace_of = BaseException.__traceback__.__get__  # type: ignore[union-attr]


def _shortened(text: str, limit: int) -> str:
    """Return `text` as UTF-8 can encode it, without its middle beyond `limit` characters."""
    # The methods of a subclass of str are user code.
    text = encodable(str.__str__(text))
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n  ... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
