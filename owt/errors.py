"""The exceptions that owt raises, in one tree.

    OwtError
    ├── BadRequest          a field of a request cannot be used (400)
    │   ├── NoSuchSession   the request needs a session that does not exist (404)
    │   ├── NoSuchFunction  the session holds no function of the name that was asked for (404)
    │   ├── SyntaxFault     the code is neither Python nor an IPython cell (400)
    │   └── Unprocessable   the arguments do not fit the endpoint (422)
    ├── MethodNotAllowed    the path is not answered for this method (405)
    ├── EndpointGone        the endpoint's kernel is gone, or has it no more (410)
    ├── EndpointError       a function cannot be an endpoint
    ├── Busy                a limit was reached; try again later (503)
    ├── KernelDied          the kernel ended while it was needed (502)
    │   └── KernelNotReady  the kernel never reached the point where calls can run (502)
    │       └── KernelKilled    a signal ended it before; the next one may do better (502)
    ├── WireError           bytes on the call channel that are not a frame of ours
    │   └── BadSignature    a frame whose signature does not fit its connection key
    ├── ConfigError         a setting cannot be used; the server does not start
    ├── NotebookError       a file is no notebook, or holds what cannot be served or exported
    ├── MissingExtra        an adaptor needs a package that an extra of owt installs
    ├── CannotSend          a client was given something that cannot be sent; nothing was sent
    ├── Unreachable         a client found no owt server, or lost it before the answer's end
    └── RemoteError         a server told a client that its call failed, and why

`status` is the HTTP status that the frontend answers when the error reaches a client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class OwtError(Exception):
    """Anything that owt itself raises."""

    status = 500
    title = "owt failed"


def shortened(value: object, limit: int = 60) -> str:
    """`value` for an error message: quoted by `repr`, its middle cut out past `limit` characters."""
    if isinstance(value, str | bytes) and len(value) > 4 * limit:
        # The ends are all that is shown, and the whole may be a hundred megabytes.
        ends: tuple[Any, Any] = value[: 2 * limit], value[-2 * limit :]
        value = ends[0] + ends[1]
    text = repr(value)
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


class BadRequest(OwtError):
    """A field of a request cannot be used: says which, what arrived, and what to send instead."""

    status = 400
    title = "bad request"

    def __init__(self, field: str, problem: str, got: object = None, *, hint: str = "") -> None:
        self.field = field
        message = f"{field}: {problem}"
        if got is not None:
            message += f"; got {shortened(got)}"
        if hint:
            message += f". {hint}"
        super().__init__(message)


class NoSuchSession(BadRequest):
    """The request needs a session that exists, and none has this name."""

    status = 404
    title = "no such session"


class NoSuchFunction(BadRequest):
    """The session holds no function of the name that the call asks for."""

    status = 404
    title = "no such function"


class SyntaxFault(BadRequest):
    """The code is neither Python nor an IPython cell. `line` counts from 1, or is None."""

    title = "syntax error"

    def __init__(self, problem: str, line: int | None = None, excerpt: str = "") -> None:
        self.line = line
        where = f"line {line}: " if line is not None else ""
        super().__init__("code", where + problem + (f"\n{excerpt}" if excerpt else ""))


class Unprocessable(BadRequest):
    """What a request has for an endpoint's parameters does not fit them. `problems` are sentences, each
    beginning with its field; `hint` says what the endpoint takes."""

    status = 422
    title = "the arguments do not fit"

    def __init__(self, problems: Sequence[str], hint: str) -> None:
        shown = [*problems[:10], *(["..."] if len(problems) > 10 else [])]
        Exception.__init__(self, f"{'. '.join(shown)}. {hint}")
        self.field = problems[0].partition(":")[0]


class MethodNotAllowed(OwtError):
    """The path is not answered for the request's method; `allow` are those that it is answered for."""

    status = 405
    title = "method not allowed"

    def __init__(self, method: str, path: str, allow: Sequence[str]) -> None:
        self.allow = ", ".join(allow)
        super().__init__(f"{method} is not answered at {shortened(path, 100)}; {self.allow} would be")


class EndpointGone(OwtError):
    """There was an endpoint at the path; the message says what became of it, and how it comes back."""

    status = 410
    title = "the endpoint is gone"


class EndpointError(OwtError, ValueError):
    """A function cannot be an endpoint: says at which path, why, and what to do."""

    title = "not an endpoint"


class Busy(OwtError):
    """A limit was reached. `retry_after` is a guess, in whole seconds, of when to try again."""

    status = 503
    title = "busy"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class KernelDied(OwtError):
    """The kernel ended while a call or a start needed it; the message says what ended it."""

    status = 502
    title = "the kernel died"


class KernelNotReady(KernelDied):
    """A kernel was started and never opened its call channel."""

    title = "the kernel did not start"


class KernelKilled(KernelNotReady):
    """A signal ended a kernel while it started; the next one may do better."""


class WireError(OwtError):
    """Bytes on the call channel that are not a frame of ours."""


class BadSignature(WireError):
    """A frame whose signature does not fit the connection key, or that came out of order."""


class ConfigError(OwtError):
    """A setting cannot be used. The command line prints the message and exits with status 2."""


class NotebookError(OwtError):
    """A file is no notebook for Python, or holds what cannot be done: says where, why, and what to do."""

    title = "not a notebook"


class MissingExtra(OwtError, ImportError):
    """A package is missing that one of owt's extras installs."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'owt[{extra}]'")


class CannotSend(OwtError, TypeError):
    """A client was given a function, an argument or an option that cannot be sent. Nothing was sent."""


class Unreachable(OwtError):
    """Nothing that answers like an owt server is at the URL, or it went away before the answer's end."""


class RemoteError(OwtError):
    """A server's word that a call failed: the members of a problem document (RFC 9457).

    `status` is HTTP's, `type` a short name behind `urn:owt:`, `title` and `detail` are for people.
    `exception` is the name of the class that the adaptor raised and `traceback` begins at the
    adaptor's own frame; both are empty if it raised nothing. `run` and `session` may be None. The
    traceback is a note of this exception too, so that Python prints it below the local one.
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        # The one argument of the exception, so that it can be pickled.
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
            self.add_note(f"The remote traceback:\n{self.traceback.rstrip()}")

    def __str__(self) -> str:
        if self.exception:
            return f"{self.exception}: {self.detail}" if self.detail else self.exception
        return self.detail or self.title
