"""A command, and what it prints: for adaptors that call other programs, and `adaptor=shell`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from owt.errors import shortened
from owt.summat import pipe


def run(command: str | Sequence[str], timeout: float | None = None) -> str:
    """What `command` writes to standard output, as text.

    A string is a bash script. A list is a program and its arguments, which arrive as they are:
    no character of theirs means anything to bash. Standard input is empty; whatever the command
    leaves in the background is killed when it ends. `timeout` is in seconds.

    Raises `ShellError` of `owt.summat` when the command fails, with its status and the end of its
    standard error; `ShellTimeout` when it takes too long and was killed; `ValueError` for what is
    no command.
    """
    return str(pipe().const(_script(command)).shell(timeout=timeout)())


def _script(command: str | Sequence[str]) -> str:
    if isinstance(command, str):
        if command.strip():
            return command
    elif isinstance(command, list | tuple) and command and all(isinstance(part, str) for part in command):
        return shlex.join(command)
    raise ValueError(
        f'command: a bash script, such as "ls -l", or a program and its arguments, such as ["ls", "-l"];'
        f" got {shortened(command)}"
    )
