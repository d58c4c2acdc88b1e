"""What can be wrong with a pipe or with what runs through it, in one tree.

    PipeError (OwtError)
    ├── WrongValue (TypeError)          a step cannot work with this kind of value
    │   └── NoValue                     a step needs a value, and there are only kwargs
    ├── NoItem (IndexError)             an item that is not there, also in something empty
    ├── MissingKwarg (LookupError)      the call gave no kwarg of this name
    ├── MissingArgument (TypeError)     a function needs arguments that the kwargs do not have
    ├── NoRequest (RuntimeError)        a step asks for the request, and there is none
    ├── PathRefused (PermissionError)   a path leads out of the directory that it must stay in
    ├── ShellError                      a command failed: its status and what it said
    │   └── ShellTimeout (TimeoutError) a command took longer than it may
    └── InstallError                    pip failed: what it said

An error that a step's own function raises keeps its type. Every error that leaves a pipe carries a
note (PEP 678) that names the step and shows the pipe with this step marked: see `owt.summat.fold`.
"""

from __future__ import annotations

from collections.abc import Iterable

from owt.errors import OwtError

TAIL = 4000


class PipeError(OwtError):
    """Something is wrong with a pipe or with what runs through it."""

    title = "the pipe failed"


class WrongValue(PipeError, TypeError):
    """A step cannot work with this kind of value."""


class NoValue(WrongValue):
    """A step needs a value, and nothing has made one yet."""


class NoItem(PipeError, IndexError):
    """A sequence or mapping has no such item."""


class MissingKwarg(PipeError, LookupError):
    """The call gave no kwarg of this name, or the kwargs have ended at an earlier step."""


class MissingArgument(PipeError, TypeError):
    """A function needs arguments that are not among the kwargs."""


class NoRequest(PipeError, RuntimeError):
    """A step asks for a fact of the request outside of any request."""


class PathRefused(PipeError, PermissionError):
    """A path leads out of the directory that it must stay in, or names no regular file there."""


class ShellError(PipeError):
    """A command failed. `exit_status` is as bash's `$?` shows it, 128 + N when signal N ended the
    command, or None when it was killed here; `stdout` and `stderr` are all that it wrote; the
    message shows the end of its standard error."""

    def __init__(
        self, message: str, exit_status: int | None = None, stdout: bytes = b"", stderr: bytes = b""
    ) -> None:
        said = tail(stderr.decode("utf-8", "backslashreplace"))
        super().__init__(f"{message}\n{said}".rstrip())
        self.exit_status = exit_status
        self.stdout = stdout
        self.stderr = stderr


class ShellTimeout(ShellError, TimeoutError):
    """A command took longer than it may, and was killed with all that it started."""


class InstallError(PipeError):
    """pip failed. `output` is all that it wrote; the message shows the end of it."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(f"{message}\n{tail(output)}".rstrip())
        self.output = output


def tail(text: str) -> str:
    """The end of `text`, which is where programs say what went wrong."""
    text = text.rstrip()
    return text if len(text) <= TAIL else f"... {text[-TAIL:]}"


def listed(names: Iterable[str]) -> str:
    """Names for an error message: quoted, in order, or `none`."""
    return ", ".join(repr(name) for name in names) or "none"
