"""A command: a program that runs in a process group of its own and leaves nothing behind.

A shell leads the group, with a watcher that reads from a pipe whose other end only this process
holds. Should this process die, by whatever signal, the watcher sees the end of the pipe and kills
the group. POSIX only.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

_WATCHED = """\
exec 3<&0 </dev/null
(read -r line <&3; kill -9 -$$) >/dev/null 2>&1 &
exec 3<&-
"$@"
status=$?
exec 2>/dev/null
kill -9 $!
wait $!
exit $status
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: its status as a shell's `$?` shows it, and all that it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


def run(command: Sequence[str | bytes], timeout: float | None = None) -> Finished:
    """Run `command` with an empty standard input until it ends and its output is closed.

    What it leaves in the background is killed when this returns or raises, for whatever reason
    (`setsid` gets away). `timeout` is in seconds; past it everything is killed and
    `subprocess.TimeoutExpired` raised, with the output so far in its `stdout` and `stderr`.
    """
    read_end, write_end = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, "sh", *command],
                stdin=read_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        finally:
            os.close(read_end)
        with process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                # Popen leaves an interrupted child for later, as a zombie.
                process.wait()
        code = process.returncode
        return Finished(128 - code if code < 0 else code, stdout, stderr)
    finally:
        os.close(write_end)
