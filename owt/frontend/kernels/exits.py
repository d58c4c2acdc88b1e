"""How a kernel's process ended, in words."""

from __future__ import annotations

import signal

from owt.frontend.kernels.template import UNKNOWN_CODE


def describe_exit(code: int, memory: int | None = None) -> str:
    """An exit code, as in `subprocess.Popen.returncode`, in words that fit after "the kernel".

    `memory` is how many bytes it was allowed, which may be why it ended.
    """
    limit = "" if memory is None else f", or by the {memory / 2**20:g} MiB of --kernel-memory"
    if code == UNKNOWN_CODE:
        return "ended (how is not known, because the process that forked it is gone too)"
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return f"was killed by SIGKILL (by hand, or by the system when memory ran out{limit})"
    if name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"):
        return f"crashed with {name} (a fault in native code{limit})"
    return f"was killed by {name}"
