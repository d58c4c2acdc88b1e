"""State of the process that a call without a session must not leave to the next one."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import wraps
from typing import Any

_NAMES = ("argv", "stdin", "stdout", "stderr")


class ProcessState:
    """Environment variables, current directory, `sys.argv` and standard streams, as they were when a call
    began.

    Only the variables that the call changes are noted, so that a call that changes nothing costs two system
    calls.
    """

    def __init__(self) -> None:
        """Watch the environment of this process from now on."""
        self._variables: dict[str, str | None] | None = None
        self._directory: str | None = None
        self._names = dict[str, Any]()
        self._arguments: list[str] = []
        _watch_environment(self)

    def begin(self) -> None:
        """Note the state from which changes count."""
        self._variables = {}
        self._directory = _directory()
        self._names = {name: getattr(sys, name, None) for name in _NAMES}
        self._arguments = [*sys.argv]

    def restore(self) -> None:
        """Undo the changes since `begin`, and note no more."""
        variables, self._variables = self._variables, None
        for name, value in (variables or {}).items():
            if value is None:
                os.environ.pop(name, None)
                # It is not there after a call of `os.putenv` alone.
                os.unsetenv(name)
            else:
                os.environ[name] = value
        if self._directory is not None and self._directory != _directory():
            with contextlib.suppress(OSError):
                os.chdir(self._directory)
        if self._names:
            vars(sys).update(self._names)
            sys.argv[:] = self._arguments

    def note(self, name: str) -> None:
        """Note the value that a changed variable has in `os.environ`, which changes later."""
        if self._variables is not None and name not in self._variables:
            self._variables[name] = os.environ.get(name)


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        # It was removed.
        return None


def _watch_environment(state: ProcessState) -> None:
    """Have all changes of the environment noted: the methods of `os.environ` call one of these two functions
    before they change its own copy."""
    putenv, unsetenv = os.putenv, os.unsetenv

    @wraps(putenv)
    def noted_putenv(name: Any, value: Any, /) -> None:
        putenv(name, value)
        state.note(os.fsdecode(name))

    @wraps(unsetenv)
    def noted_unsetenv(name: Any, /) -> None:
        unsetenv(name)
        state.note(os.fsdecode(name))

    os.putenv, os.unsetenv = noted_putenv, noted_unsetenv
