"""Failures of runs that their kernel does not report itself."""

from __future__ import annotations

from typing import Literal

from owt.errors import Busy, KernelDied, OwtError
from owt.frontend.kernels.exit import ExitKind
from owt.frontend.problems import failed
from owt.frontend.runs.runs import CancelReason, Run
from owt.wire.chunk import Failed, Stderr, Stdout

SHUTTING_DOWN = "the server is shutting down"
"""Cause of the end of all sessions."""
LAST_LINES, LAST_CHARACTERS = 40, 4000
"""Limits of what the failure of a call repeats of its output when its kernel has died."""


def cancelled_in_queue(run: Run, reason: CancelReason) -> Failed:
    """Return the failure of a run that was cancelled before it began."""
    if reason == "timeout":
        return Failed(
            504, "timeout", "timed out",
            f"the call did not begin within its timeout of {run.call.timeout:g} s: its kernel was stopped, "
            "or blocked by something that an earlier call had left running",
        )
    return Failed(499, failure_type(reason), "cancelled", "the call was cancelled before it began")


def kernel_lost(problem: str, title: str = KernelDied.title) -> Failed:
    """Return the failure of a run that has no kernel."""
    return Failed(502, "kernel-died", title, problem)


def lost(reason: str) -> Failed:
    """Return the failure of a run of an earlier frontend, which is lost with its kernel; the `reason` of that
    is in words that follow "its kernel"."""
    return Failed(410, "run-lost", "the run is lost", f"its kernel {reason}")


def shutting_down(problem: str) -> Failed:
    """Return the failure of a run that the end of the server has ended; the next server may run the call."""
    return Failed(503, "shutting-down", "the server is shutting down", problem)


def not_begun(cause: str, kind: ExitKind) -> Failed:
    """Return the failure of a queued run whose session is closed."""
    problem = f"the call was not begun because {cause}"
    if kind is ExitKind.SHUTDOWN:
        return shutting_down(problem)
    return kernel_lost(problem, "the session is gone")


def start_failure(error: Exception) -> Failed:
    """Return the failure of a run whose kernel could not be started because of this error."""
    if isinstance(error, Busy):
        return failed(error)
    return kernel_lost(
        str(error) if isinstance(error, OwtError) else f"the kernel could not be started: {error!r}"
    )


def killed_with_kernel(run: Run, reason: str, exit: ExitKind = ExitKind.CRASHED) -> Failed:
    """Return the failure of an active run whose kernel died, perhaps because the run did not stop."""
    if run.known_end is not None:
        return lost(reason)
    match run.cancel_reason:
        case None if exit is ExitKind.SHUTDOWN:
            return shutting_down(f"the kernel {reason}")
        case None:
            output = _last_lines(run)
            return kernel_lost(f"the kernel {reason}" + (f"; its last output:\n{output}" if output else ""))
        case "timeout":
            detail = f"the call ran longer than its timeout of {run.call.timeout:g} s; its kernel {reason}"
            return Failed(504, "timeout", "timed out", detail)
        case cancel_reason:
            kind = failure_type(cancel_reason)
            return Failed(499, kind, "cancelled", f"the call was {kind} and its kernel was killed")


def loss_notice(reason: str) -> Stderr:
    """Return what the first call in a fresh kernel reads in its stderr about the death of the last one."""
    return Stderr(f"owt: the kernel {reason}; this call runs in a fresh one, without its state\n")


def _last_lines(run: Run) -> str:
    """Return the end of what the run has written to stdout and stderr, in the order of its chunks."""
    text = ""
    notice = None if run.kernel_loss is None else loss_notice(run.kernel_loss)
    for chunk in reversed(run.journal.chunks):
        if isinstance(chunk, Stdout | Stderr) and chunk != notice:
            text = chunk.text[-LAST_CHARACTERS:] + text
            if len(text) >= LAST_CHARACTERS or text.count("\n") > LAST_LINES:
                break
    return "\n".join(text[-LAST_CHARACTERS:].strip("\n").split("\n")[-LAST_LINES:])


def failure_type(reason: CancelReason) -> Literal["cancelled", "timeout", "interrupted"]:
    """Return the type of a cancelled run's failure; after a disconnect, only the run's document shows it."""
    return "cancelled" if reason == "disconnected" else reason
