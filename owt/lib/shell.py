"""Output of a command: `adaptor=shell`, and for adaptors that call other programs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from owt.errors import shortened
from owt.summat import pipe


def run(command: str | Sequence[str], timeout: float | None = None) -> str:
    """Return the standard output of `command` as text.

    A string is a bash script. A list is a program and its arguments, which bash passes on unchanged.
    Standard input is empty; background processes of the command are killed when it ends. `timeout`
    is in seconds.

    Raises `ShellError` of `owt.summat` if the command fails, with its status and the end of its standard
    error; `ShellTimeout` after the timeout, when it has been killed; `ValueError` for a value that is no
    command.
    """
    return str(pipe().const(_script(command)).shell(timeout=timeout)())


def _script(command: str | Sequence[str]) -> str:
    if isinstance(command, str):
        if command.strip():
            return command
    elif isinstance(command, (list, tuple)) and command and all(isinstance(part, str) for part in command):
        return shlex.join(command)
    raise ValueError(
        f'command: a bash script, such as "ls -l", or a program and its arguments, such as ["ls", "-l"];'
        f" got {shortened(command)}"
    )
