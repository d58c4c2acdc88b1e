"""What the answers of runs say that their kernels did not end."""

import pytest

from owt.errors import Busy, KernelNotReady
from owt.frontend.runs.runs import CancelReason, Run
from owt.frontend.sessions.failures import not_begun, unstarted, with_its_kernel, without_kernel
from owt.wire.call import Call, RequestFacts

CALL = Call(RequestFacts("GET", "/", "", (), b"", "localhost"), timeout=1.5)


@pytest.mark.parametrize(
    ("cancelled", "status", "type", "said"),
    [
        (None, 502, "kernel-died", "the kernel exited with status 3"),
        ("timeout", 504, "timeout", "its timeout of 1.5 s; its kernel exited"),
        ("cancelled", 499, "cancelled", "its kernel was killed"),
        ("interrupted", 499, "interrupted", "the call was interrupted"),
    ],
)
def test_a_kernels_death_is_told_by_why_it_died(
    cancelled: CancelReason | None, status: int, type: str, said: str
) -> None:
    run = Run("r", CALL, 1000)
    run.cancel_reason = cancelled
    failed = with_its_kernel(run, "exited with status 3")
    assert (failed.status, failed.type) == (status, type)
    assert said in failed.detail


def test_a_run_that_waited_says_that_it_never_began() -> None:
    assert "before it began" in not_begun("cancelled").detail
    assert without_kernel("why").status == 502


def test_a_kernel_that_could_not_be_started_is_told_by_why() -> None:
    assert unstarted(Busy("full")).status == 503
    assert unstarted(KernelNotReady("slow")).status == 502
    assert "ValueError('odd')" in unstarted(ValueError("odd")).detail
