"""How a run ends that its kernel does not end: what its answer says then."""

from __future__ import annotations

from owt.errors import Busy, KernelDied, OwtError
from owt.frontend.problems import failed
from owt.frontend.runs.runs import CancelReason, Run
from owt.wire.chunk import Failed


def not_begun(reason: CancelReason) -> Failed:
    """It was told to end while it waited for its turn."""
    return Failed(499, reason, "cancelled", "the call was cancelled before it began")


def without_kernel(problem: str, title: str = KernelDied.title) -> Failed:
    """There is no kernel for it any more."""
    return Failed(502, "kernel-died", title, problem)


def unstarted(error: Exception) -> Failed:
    """A kernel for it could not be started, because of this error."""
    if isinstance(error, Busy):
        return failed(error)
    return without_kernel(
        str(error) if isinstance(error, OwtError) else f"the kernel could not be started: {error!r}"
    )


def with_its_kernel(run: Run, reason: str) -> Failed:
    """Its kernel died, by itself or because the run did not end when it was told to."""
    match run.cancel_reason:
        case None:
            return without_kernel(f"the kernel {reason}")
        case "timeout":
            detail = f"the call ran longer than its timeout of {run.call.timeout:g} s; its kernel {reason}"
            return Failed(504, "timeout", "timed out", detail)
        case wanted:
            return Failed(499, wanted, "cancelled", f"the call was {wanted} and its kernel was killed")
