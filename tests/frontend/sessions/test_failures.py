"""owt.frontend.sessions.failures: the end of a run whose kernel has died."""

import pytest

from owt.frontend.runs.runs import CancelReason, Run
from owt.frontend.sessions.failures import LAST_LINES, killed_with_kernel, loss_notice
from owt.testing.kernel import new_call
from owt.wire.chunk import Stderr, Stdout


def new_run() -> Run:
    return Run("r1", new_call(timeout=1.5), 1 << 20)


def test_a_failure_repeats_stdout_and_stderr_in_their_order() -> None:
    run = new_run()
    run.feed((Stdout("one\n"), Stderr("two\n"), Stdout("three")))
    assert killed_with_kernel(run, "died").detail == "the kernel died; its last output:\none\ntwo\nthree"


def test_a_failure_repeats_the_last_lines_only() -> None:
    run = new_run()
    run.feed(tuple(Stdout(f"{number}\n") for number in range(LAST_LINES + 10)))
    repeated = killed_with_kernel(run, "died").detail.partition("its last output:\n")[2]
    assert repeated.split("\n") == [str(number) for number in range(10, LAST_LINES + 10)]


def test_a_failure_repeats_no_notice_of_the_server() -> None:
    run = new_run()
    run.kernel_loss = "fell over"
    run.feed((loss_notice("fell over"),))
    assert killed_with_kernel(run, "died").detail == "the kernel died"


@pytest.mark.parametrize(
    ("reason", "status", "type"),
    [
        ("timeout", 504, "timeout"),
        ("cancelled", 499, "cancelled"),
        ("disconnected", 499, "cancelled"),
        ("interrupted", 499, "interrupted"),
    ],
)
def test_the_reason_of_a_cancel_decides_the_failure(reason: CancelReason, status: int, type: str) -> None:
    run = new_run()
    run.cancel_reason = reason
    failure = killed_with_kernel(run, "died")
    assert (failure.status, failure.type) == (status, type)
