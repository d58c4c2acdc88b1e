"""Exceptions of pipes and of the data in them, in one tree.

    PipeError (OwtError)
    ├── WrongValue (TypeError)          a step cannot work with this kind of value
    │   └── NoValue                     a step needs a value, and there are only kwargs
    ├── NoItem (IndexError)             there is no such item
    ├── MissingKwarg (LookupError)      the call gave no kwarg of this name
    ├── MissingArgument (TypeError)     a function needs arguments that the kwargs do not have
    ├── NoRequest (RuntimeError)        a step reads the request, and there is none
    ├── PathRefused (PermissionError)   a path leads out of the directory that it must stay in
    ├── ShellError                      a command failed: its status and its output
    │   └── ShellTimeout (TimeoutError) a command exceeded its timeout
    └── InstallError                    pip failed: its output

An exception of a step's own function keeps its type. Every exception that leaves a pipe has a note (PEP 678)
that names the step and shows the pipe with this step marked: see `owt.summat.fold`.
"""

from __future__ import annotations

from collections.abc import Iterable

from owt.errors import OwtError

TAIL = 4000
"""Characters of a program's output in an error message."""


class PipeError(OwtError):
    """An error in a pipe or in the data in it."""

    title = "the pipe failed"


class WrongValue(PipeError, TypeError):
    """A step cannot work with this kind of value."""


class NoValue(WrongValue):
    """A step needs a value, and no step has set one."""


class NoItem(PipeError, IndexError):
    """A sequence or mapping has no such item."""


class MissingKwarg(PipeError, LookupError):
    """The call gave no kwarg of this name, or the kwargs have ended at an earlier step."""


class MissingArgument(PipeError, TypeError):
    """A function needs arguments that are not among the kwargs."""


class NoRequest(PipeError, RuntimeError):
    """A step reads the request outside of any request."""


class PathRefused(PipeError, PermissionError):
    """A path leads out of the directory that it must stay in, or names no regular file there."""


class ShellError(PipeError):
    """A command failed. `exit_status` is that of bash's `$?`, 128 + N if signal N ended the command, or None
    if it was killed here. `stdout` and `stderr` are all its output; the message shows the end of its
    standard error."""

    def __init__(
        self, message: str, exit_status: int | None = None, stdout: bytes = b"", stderr: bytes = b""
    ) -> None:
        super().__init__(f"{message}\n{tail(stderr.decode('utf-8', 'backslashreplace'))}".rstrip())
        self.exit_status = exit_status
        self.stdout = stdout
        self.stderr = stderr


class ShellTimeout(ShellError, TimeoutError):
    """A command exceeded its timeout, and was killed with all processes that it started."""


class InstallError(PipeError):
    """pip failed. `output` is all its output; the message shows the end of it."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(f"{message}\n{tail(output)}".rstrip())
        self.output = output


def tail(text: str) -> str:
    """Return the end of `text`, where programs report their errors."""
    text = text.rstrip()
    return text if len(text) <= TAIL else f"... {text[-TAIL:]}"


def listed(names: Iterable[str]) -> str:
    """Return names for an error message: quoted, in order, or `none`."""
    return ", ".join(repr(name) for name in names) or "none"
