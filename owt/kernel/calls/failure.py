"""From an exception to the `Failed` chunk that tells of it."""

from __future__ import annotations

import asyncio
import os
import traceback
from itertools import dropwhile

import owt.kernel
import owt.summat
from owt.errors import BadRequest, EndpointGone, OwtError, SyntaxFault, Unprocessable
from owt.kernel.calls.output_sender import carried
from owt.kernel.calls.steps import Stopped
from owt.wire.chunk import Failed

TRACEBACK_LIMIT = 64 * 1024
"""Characters of a traceback; the middle of a longer one is cut out."""
DETAIL_LIMIT = 4096
NAME_LIMIT = 200

_OURS = tuple(os.path.dirname(path) + os.sep for path in (owt.kernel.__file__, owt.summat.__file__) if path)

_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep


def describe(error: BaseException, stopped: str | None, timeout: float | None) -> Failed:
    """Why a run failed. `stopped` is why it was told to end, if it was."""
    if stopped == "timeout":
        limit = "" if timeout is None else f" of {timeout:g} s"
        return Failed(504, "timeout", "timed out", f"the call ran longer than its timeout{limit}")
    if stopped is not None:
        return Failed(499, stopped, "cancelled", f"the call was {stopped}")
    if isinstance(error, Stopped):
        error = error.cause
    error = _unwrapped(error)
    if isinstance(error, SyntaxFault):
        return Failed(error.status, "syntax", error.title, str(error), "SyntaxError")
    if isinstance(error, Unprocessable):
        return Failed(error.status, "unprocessable", error.title, _text(error))
    if isinstance(error, EndpointGone):
        return Failed(error.status, "endpoint-gone", error.title, _text(error))
    if isinstance(error, BadRequest):
        return Failed(error.status, "bad-request", error.title, _text(error))
    name = _cut(type(error).__qualname__, NAME_LIMIT)
    title = error.title if isinstance(error, OwtError) else f"the adaptor raised {name}"
    return Failed(500, "exception", title, _text(error), name, _traceback(error))


def not_begun(timeout: float) -> Failed:
    """Why a run failed whose kernel was busy with something else for as long as the run could take."""
    return Failed(
        504, "timeout", "timed out",
        f"the call did not begin within its timeout of {timeout:g} s: its kernel is busy with something that "
        "was left running",
    )


def as_raised(error: BaseException) -> BaseException:
    """The exception that the adaptor raised, its traceback beginning at the adaptor's own frame; without
    a traceback where none of the adaptor's frames is in it. For who shows it where it was raised."""
    if isinstance(error, Stopped):
        error = error.cause
    error = _unwrapped(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((*_OURS, _ASYNCIO)):
        trace = trace.tb_next
    return error.with_traceback(trace)


def _text(error: BaseException) -> str:
    try:
        text = str(error)
        if isinstance(error, MemoryError):
            # Python's own has no text, and which limit it was is in a note.
            text = "; ".join(filter(None, (text, *map(str, getattr(error, "__notes__", ())))))
        return _cut(text, DETAIL_LIMIT)
    except Exception:
        return f"<{type(error).__qualname__}, whose text cannot be had>"


def _traceback(error: BaseException) -> str:
    """The traceback, from the adaptor's own first frame on."""
    try:
        shown = traceback.TracebackException(type(error), error, error.__traceback__)
        _drop_ours(shown)
        return _cut("".join(shown.format()), TRACEBACK_LIMIT)
    except Exception as problem:
        return f"{type(error).__qualname__}: (its traceback cannot be shown: {type(problem).__name__})\n"


def _drop_ours(shown: traceback.TracebackException) -> None:
    """Leave out our own frames before the adaptor's first, also of the exceptions that led to this one."""
    waiting: list[traceback.TracebackException | None] = [shown]
    while waiting:
        each = waiting.pop()
        if each is not None:
            theirs = dropwhile(lambda frame: frame.filename.startswith(_OURS), each.stack)
            each.stack = traceback.StackSummary.from_list(list(theirs))
            waiting += [each.__cause__, each.__context__, *(each.exceptions or ())]


def _unwrapped(error: BaseException) -> BaseException:
    """The StopIteration of a plain adaptor: leaving our own coroutine made a RuntimeError of it."""
    cause = error.__cause__
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return cause if trace is None and isinstance(cause, StopIteration) else error


def _cut(text: str, limit: int) -> str:
    """`text` with its middle cut out past `limit` characters, and as UTF-8 can hold it."""
    text = carried(text)
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n  ... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
