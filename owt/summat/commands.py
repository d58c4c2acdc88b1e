"""Steps that run programs: `.shell()` for bash and `.installing(...)` for pip.

A program runs in a process group of its own and leaves no process behind. A shell leads the group, with a
watcher that reads from a pipe whose other end only this process holds. If this process dies, by whatever
signal, the watcher reads the end of the pipe and kills the group. POSIX only.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from owt.errors import shortened
from owt.summat.errors import InstallError, ShellError, ShellTimeout
from owt.summat.flow import Flow
from owt.summat.step import Step

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

_install_lock = threading.Lock()
_installed: set[str] = set()


@dataclass(frozen=True)
class Finished:
    """Result of a command: its exit status as a shell's `$?` has it, and all its output."""

    status: int
    stdout: bytes
    stderr: bytes


def run_command(command: Sequence[str | bytes], timeout: float | None = None) -> Finished:
    """Run `command` with an empty standard input until it ends and its output is closed.

    Its background processes are killed when this returns or raises, except those that called `setsid`.
    `timeout` is in seconds; after it all processes are killed. Raises `subprocess.TimeoutExpired`, with the
    output so far in its `stdout` and `stderr`.
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
                # After an interrupt Popen would leave the child as a zombie.
                process.wait()
        code = process.returncode
        return Finished(128 - code if code < 0 else code, stdout, stderr)
    finally:
        os.close(write_end)


def shell(step: Step, flow: Flow, timeout: float | None = None) -> Flow:
    """Run the value in bash, with an empty standard input, and take its standard output: str for str, bytes
    for bytes. Raises `ShellError` if it fails, `ShellTimeout` after `timeout` seconds."""
    script = flow.value
    if not isinstance(script, (str, bytes)):
        raise flow.wrong(step, "a bash script as str or bytes")
    try:
        finished = run_command(["bash", "-c", script], timeout)
    except subprocess.TimeoutExpired as late:
        raise ShellTimeout(
            f"bash was killed after {timeout} seconds, running {shortened(script)}",
            None,
            late.stdout or b"",
            late.stderr or b"",
        ) from None
    if finished.status != 0:
        raise ShellError(
            f"bash ended with status {finished.status}, running {shortened(script)}",
            finished.status,
            finished.stdout,
            finished.stderr,
        )
    if isinstance(script, bytes):
        return flow.giving(finished.stdout)
    try:
        return flow.giving(finished.stdout.decode())
    except UnicodeDecodeError as error:
        raise ShellError(
            f"bash wrote something that is not UTF-8 text ({error}); with .bytes() before"
            f" .shell() the output is bytes, running {shortened(script)}",
            0,
            finished.stdout,
            finished.stderr,
        ) from None


def installing(step: Step, flow: Flow, /, *packages: str) -> Flow:
    """Install by pip into this process's environment, each requirement once a process. Concurrent runs wait
    for one pip; the next run tries again what failed. Raises `InstallError`."""
    with _install_lock:
        if missing := [package for package in packages if package not in _installed]:
            _install(missing)
            _installed.update(missing)
    return flow


def _install(packages: list[str]) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    finished = run_command([*pip, "--", *packages])
    if finished.status != 0:
        output = (finished.stdout + finished.stderr).decode("utf-8", "backslashreplace")
        raise InstallError(
            f"pip ended with status {finished.status} and could not install {' '.join(packages)}", output
        )
    importlib.invalidate_caches()
