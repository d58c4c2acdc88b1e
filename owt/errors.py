"""The exceptions that owt raises, in one tree.

    OwtError
    ├── BadRequest          a field of a request cannot be used (400)
    │   ├── NoSuchSession   the request names a session that does not exist (404)
    │   ├── SessionDiffers  the session exists with another environment or directory (409)
    │   ├── NoSuchFunction  the session has no function with the requested name (404)
    │   ├── NoSuchEndpoint  the path has no endpoint, and the request has no code (404)
    │   ├── SyntaxFault     the code is neither Python nor an IPython cell (400)
    │   └── Unprocessable   the arguments do not fit the endpoint's parameters (422)
    ├── MethodNotAllowed    the path does not support the request's method (405)
    ├── EndpointGone        the endpoint's kernel ended or no longer has the endpoint (410)
    ├── EndpointError       a function cannot be an endpoint
    ├── RunTaken            the run id that the client has chosen stands for another call (409)
    ├── AnswerLost          the beginning of a run's output is no longer kept (410)
    ├── WaitsForItself      a call made by a call could only begin after that one's end (409)
    ├── Busy                a limit is reached; try again later (503)
    ├── KernelDied          the kernel ended while it was needed (502)
    │   └── KernelNotReady  the kernel ended before it could run calls (502)
    │       └── KernelKilled    a signal ended the kernel during its start; a retry may succeed (502)
    ├── WireError           a message between two of owt's processes that is not valid
    ├── ConfigError         a setting cannot be used; the server does not start
    │   └── CannotListen    the server cannot listen on its address and port
    ├── NotebookError       a notebook cannot be read, served or exported
    ├── MissingExtra        an adaptor needs a package that an extra of owt installs
    ├── CannotSend          a client cannot send a function, an argument or an option
    ├── Unreachable         no owt server answers at the URL, or the connection broke
    ├── UnexpectedValue     the value of a call does not have the type that its caller gave
    └── RemoteError         the server reported that a call failed

`status` is the HTTP status of the frontend's response to a client.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

DISTRIBUTION = "owt-server"
"""Name of this package on the package index, where `owt` is another product."""

UNREADABLE = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
"""Exceptions that Python's parser and compiler raise for one text or another."""


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an exception (PEP 678). Kernels' Python 3.9 and 3.10 do not print it."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        error.__notes__ = [*getattr(error, "__notes__", ()), note]


class OwtError(Exception):
    """Base class of all exceptions that owt raises."""

    status = 500
    title = "owt failed"


def counted(count: int, noun: str) -> str:
    """Return a number of things in words, such as `1 session` or `2 sessions`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shortened(value: object, limit: int = 60) -> str:
    """Return `repr(value)` for an error message, with its middle cut out beyond `limit` characters.

    If that raises, as any class may, return the name of the type.
    """
    if isinstance(value, (str, bytes)) and len(value) > 4 * limit:
        # Only the ends are shown, and the whole may have a hundred megabytes.
        ends: tuple[Any, Any] = value[: 2 * limit], value[-2 * limit :]
        value = ends[0] + ends[1]
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def continued(text: str, addition: str, mark: str = ".") -> str:
    """Return `text` and an `addition` with `mark` between them, or, if `text` ends a sentence, none.

    Texts of Python and of libraries may end with a question: "Perhaps you forgot a comma?".
    """
    if text.endswith((".", "!", "?")) and not text.endswith("..."):
        return f"{text} {addition}"
    return f"{text}{mark} {addition}"


class BadRequest(OwtError):
    """A field of a request cannot be used. The message has the field, the problem, the value and a hint."""

    status = 400
    title = "bad request"

    def __init__(self, field: str, problem: str, value: object = None, *, hint: str = "") -> None:
        self.field = field
        message = f"{field}: {problem}"
        if value is not None:
            message = continued(message, f"got {shortened(value)}", ";")
        if hint:
            message = continued(message, hint)
        super().__init__(message)


class NoSuchSession(BadRequest):
    """The request names a session that does not exist."""

    status = 404
    title = "no such session"


class NoSuchFunction(BadRequest):
    """The session has no function with the requested name."""

    status = 404
    title = "no such function"


class NoSuchEndpoint(BadRequest):
    """The path has no endpoint, and the request, which may be a browser's own, has no code."""

    status = 404
    title = "no such endpoint"


class SyntaxFault(BadRequest):
    """The code is neither Python nor an IPython cell. `line` counts from 1, or is None if unknown."""

    title = "syntax error"

    def __init__(self, problem: str, line: int | None = None, excerpt: str = "") -> None:
        self.line = line
        where = f"line {line}: " if line is not None else ""
        super().__init__("code", where + problem + (f"\n{excerpt}" if excerpt else ""))


class Unprocessable(BadRequest):
    """The arguments of a request do not fit the endpoint's parameters. `field` is the first that does not."""

    status = 422
    title = "the arguments do not fit"

    def __init__(self, problems: Sequence[tuple[str, str]], hint: str) -> None:
        """Name the first ten of `problems`, pairs of a field and its problem, then the endpoint's parameters
        (`hint`)."""
        sentences = [f"{field}: {problem}" for field, problem in problems[:10]]
        if len(problems) > 10:
            sentences.append(f"{len(problems) - 10} more")
        Exception.__init__(self, reduce(continued, [*sentences, hint]))
        self.field = problems[0][0]


class MethodNotAllowed(OwtError):
    """The path does not support the request's method. `allow` lists the methods that it supports: those with
    an action of their own, HEAD beside GET, and OPTIONS."""

    status = 405
    title = "method not allowed"

    def __init__(self, method: str, path: str, allow: Sequence[str]) -> None:
        self.allow = ", ".join([*allow, *(["HEAD"] if "GET" in allow else []), "OPTIONS"])
        super().__init__(f"{method} is not supported at {shortened(path, 100)}; use {', '.join(allow)}")


class EndpointGone(OwtError):
    """The path had an endpoint. The message says why the endpoint is gone and how to bring it back."""

    status = 410
    title = "the endpoint is gone"


class EndpointError(OwtError, ValueError):
    """A function cannot be an endpoint. The message has the path, the reason and the remedy."""

    title = "not an endpoint"


class RunTaken(OwtError):
    """The run id that the client has chosen (header `Owt-Run`) cannot stand for its request."""

    status = 409
    title = "the run id is taken"

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(
            f"Owt-Run: {id} {reason}; choose a new id for each call, and send it again only with the same "
            "request (Owt-Caller names the run that makes a call)"
        )


class AnswerLost(OwtError):
    """The beginning of what a run has sent is no longer kept."""

    status = 410
    title = "the answer is lost"

    def __init__(self, id: str, limit: str) -> None:
        super().__init__(f"the beginning of run {id} is no longer kept ({limit})")


class Busy(OwtError):
    """A limit is reached. `retry_after` estimates, in whole seconds, when a retry may succeed."""

    status = 503
    title = "busy"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class SessionDiffers(BadRequest):
    """The session exists with other variables, or in another working directory, than the request asks for."""

    status = 409
    title = "the session is another one"


class WaitsForItself(OwtError):
    """A call that a call has made waits, directly or through others, for the end of the call that made it."""

    status = 409
    title = "this call waits for itself"


class KernelDied(OwtError):
    """The kernel ended while a call or a start needed it.

    `reason` says what ended it, in words that follow "the kernel".
    """

    status = 502
    title = "the kernel died"

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = message if reason is None else reason

    @classmethod
    def because(cls, reason: str) -> Self:
        """Return the error of a kernel that ended for this reason."""
        return cls(f"the kernel {reason}", reason)


class KernelNotReady(KernelDied):
    """A kernel was started and never opened its call connection."""

    title = "the kernel did not start"


class KernelKilled(KernelNotReady):
    """A signal ended a kernel during its start. A retry may succeed."""


class WireError(OwtError):
    """Message between two of owt's processes that is not valid, too large or out of order."""


class ConfigError(OwtError):
    """A setting cannot be used. The command line prints the message and exits with status 2."""


class CannotListen(ConfigError):
    """The server cannot listen on its address and port. Another port may be free."""


class NotebookError(OwtError):
    """A notebook cannot be read, served or exported. The message has the place, the reason and the remedy."""

    title = "not a notebook"


class MissingExtra(OwtError, ImportError):
    """A package is missing that an extra of owt installs."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install '{DISTRIBUTION}[{extra}]'")


class CannotSend(OwtError, TypeError):
    """A client cannot send a function, an argument or an option. No request was sent."""


class Unreachable(OwtError):
    """No owt server answers at the URL, or the connection broke before the end of the response."""


class UnexpectedValue(OwtError, TypeError):
    """The value of a call does not have the type that its caller gave. The call itself succeeded."""


class RemoteError(OwtError):
    """The server reported that a call failed. The attributes are the members of its problem document
    (RFC 9457).

    `status` is the HTTP status, `type` is `urn:owt:` and a short name, `title` and `detail` are texts for
    people. `exception` is the name of the class that the adaptor raised, and `traceback` begins at the
    adaptor's own frame; both are empty if the adaptor raised no exception. `run` and `session` may be None.
    The traceback is also a note of this exception, so Python prints it below the local traceback.
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        # The exception has a single argument, so that it can be pickled.
        super().__init__(problem)
        self.type = str(problem.get("type") or "about:blank")
        self.title = str(problem.get("title") or "the call failed")
        self.detail = str(problem.get("detail") or "")
        self.exception = str(problem.get("exception") or "")
        self.traceback = str(problem.get("traceback") or "")
        self.run: str | None = problem.get("run")
        self.session: str | None = problem.get("session")
        status = problem.get("status")
        self.status = status if isinstance(status, int) else 500
        if self.traceback:
            add_note(self, f"The remote traceback:\n{self.traceback.rstrip()}")

    def __str__(self) -> str:
        if self.exception:
            return f"{self.exception}: {self.detail}" if self.detail else self.exception
        return self.detail or self.title
