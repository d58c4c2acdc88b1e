"""Ends of processes: of the kernel, when its connection to the frontend ends, and of forked children."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from functools import cache
from typing import NoReturn


@cache
def process_id() -> int:
    """Return the id of this process. Calls ask several times who they are, and must not pay system calls."""
    return os.getpid()


os.register_at_fork(after_in_child=process_id.cache_clear)


def end_process_group() -> NoReturn:
    """Kill this process, and what it started in its own process group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def hand_over(command: tuple[str, ...]) -> NoReturn:
    """Replace this process, whose frontend seems to be gone, by the command that cleans up after the server.

    This process may be the last of the server's, so that no other could do it. The new program starts
    without a trace of user code.
    """
    if command:
        with contextlib.suppress(OSError):
            os.execv(command[0], command)
    end_process_group()


def end_fork(error: BaseException | None) -> NoReturn:
    """End a child process that user code forked and that has left this code, as Python ends a program.

    `error` is the exception by which it has left the code. The kernel's sockets belong to the parent, so the
    child must not continue.
    """
    status = 1
    try:
        status = _report(error)
        # What the interpreter calls at its end. `multiprocessing` ends its children by the same two
        # functions; others, public ones, do not exist.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def _report(error: BaseException | None) -> int:
    """Print an exception that ends a program, and return the exit status."""
    if error is None:
        return 0
    if not issubclass(type(error), SystemExit):
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    code = error.code  # type: ignore[attr-defined]
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    print(code, file=sys.stderr)
    return 1
