"""The end of a kernel: its kind, and its description in words."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from owt.wire.chunk import Stderr, Stdout

UNKNOWN_CODE: Final = 1000
"""Exit code of a forked process whose real one cannot be known, because its parent, the template, is gone."""

NATIVE_FAULTS = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")


class ExitKind(Enum):
    """Kind of a kernel's end. The values are labels of the counter `owt_kernel_ends`."""

    CRASHED = "crashed"
    """By itself, or by a signal from outside."""
    STUCK = "stuck"
    """Killed by the server because a call did not stop."""
    NOT_READY = "unready"
    """Ended or killed before it was ready."""
    REQUESTED = "ended"
    """Killed by the server on request, or because it was not needed any more."""
    SHUTDOWN = "shutdown"
    """Killed by the server at its own end."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a kernel.

    `code` is the exit code as in `subprocess.Popen.returncode`, or None when the server killed the kernel or
    the process closed its connection and went on. `reason` says why the server killed the kernel.
    `memory_limit` is the number of bytes that the kernel was allowed to allocate, which may be the cause.
    `output` is what the process wrote last; which run it belonged to is not known.
    """

    kind: ExitKind
    code: int | None = None
    reason: str = ""
    memory_limit: int | None = None
    output: tuple[Stdout | Stderr, ...] = field(default=(), compare=False)

    @property
    def by_signal(self) -> bool:
        """True when a signal ended the process, or may have."""
        return self.code is not None and (self.code < 0 or self.code == UNKNOWN_CODE)

    def __str__(self) -> str:
        """Describe the end in words that follow "the kernel"."""
        if self.reason:
            return self.reason
        if self.code is None:
            return "closed its connection to the server"
        if self.code == UNKNOWN_CODE:
            return "ended (how is not known, because the process that forked it is gone too)"
        if self.code >= 0:
            return f"exited with status {self.code}"
        return self._describe_signal(-self.code)

    def _describe_signal(self, number: int) -> str:
        limit = ""
        if self.memory_limit is not None:
            limit = f", or by the {self.memory_limit / 2**20:g} MiB of --kernel-memory"
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        if name == "SIGKILL":
            return f"was killed by SIGKILL (by hand, or by the system when memory ran out{limit})"
        if name in NATIVE_FAULTS:
            return f"crashed with {name} (a fault in native code{limit})"
        return f"was killed by {name}"
