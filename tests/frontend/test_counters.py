"""owt.frontend.counters: what is counted when a run ends."""

from __future__ import annotations

import pytest

from owt.frontend.counters import OUTCOMES, SECONDS, Counters, Histogram
from owt.frontend.runs.runs import CancelReason, Run
from owt.testing.kernel import HEAD, new_call
from owt.wire.chunk import Chunk, Data, Done, Failed

DONE = Done(200, 0.1)


class StartedKernel:
    """A kernel that ignores credit."""

    id = "k1"

    def credit(self, run: str, size: int) -> None:
        pass


def ended(*chunks: Chunk, cancelled: CancelReason | None = None, began: bool = True) -> Counters:
    """The counters of one run that has ended so."""
    counters, run = Counters(), Run("id", new_call(), 1 << 20)
    run.observe(counters)
    run.cancel_reason = cancelled
    if began:
        run.start(StartedKernel())
    run.feed(chunks)
    return counters


def counted(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def test_a_value_is_counted_under_the_first_bound_that_it_does_not_pass() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 1000.0):
        histogram.add(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.sum == pytest.approx(1006.6)


def test_a_clock_that_was_set_back_takes_nothing_away() -> None:
    histogram = Histogram((1.0,))
    histogram.add(-5.0)
    assert (histogram.counts, histogram.sum) == ([1, 0], 0.0)


def test_a_call_that_was_answered() -> None:
    counters = ended(HEAD, Data(b"ab", "text"), Data(b"c", "text"), DONE)
    assert counted(counters.calls) == {"done": 1}
    assert counted(counters.cancels) == {}
    assert counters.answer_bytes == 3
    each = (counters.seconds, counters.first_byte, counters.waiting, counters.running)
    assert [sum(times.counts) for times in each] == [1, 1, 1, 1]


def test_a_call_that_failed_before_it_answered_has_no_first_byte() -> None:
    counters = ended(Failed(500, "exception", "E", ""), Done(500, 0.1))
    assert counted(counters.calls) == {"exception": 1}
    assert sum(counters.first_byte.counts) == 0
    assert sum(counters.running.counts) == 1


def test_a_call_that_no_kernel_began_did_not_run() -> None:
    counters = ended(Failed(499, "cancelled", "cancelled", ""), Done(499, 0.0), began=False)
    assert counted(counters.calls) == counted(counters.cancels) == {"cancelled": 1}
    assert sum(counters.seconds.counts) == 1
    assert sum(counters.waiting.counts) == sum(counters.running.counts) == 0


@pytest.mark.parametrize("reason", ["cancelled", "timeout", "interrupted"])
def test_a_call_that_was_told_to_end_counts_as_that_whatever_came_of_it(reason: CancelReason) -> None:
    failures = [Failed(499, reason, "", ""), Failed(500, "exception", "E", ""), None]
    for failure in failures:
        chunks = (DONE,) if failure is None else (failure, DONE)
        assert counted(ended(*chunks, cancelled=reason).cancels) == {reason: 1}


def test_a_kind_of_failure_that_is_not_known_is_counted_as_other() -> None:
    counters = ended(Failed(500, "chosen by somebody", "", ""), Done(500, 0.1))
    assert counted(counters.calls) == {"other": 1}
    assert tuple(counters.calls) == OUTCOMES


def test_only_refusals_are_counted_as_such() -> None:
    counters = Counters()
    for status in (200, 400, 401, 401, 404, 413, 500, 503):
        counters.refused(status)
    assert {status: count for status, count in counters.refusals.items() if count} == {401: 2, 413: 1, 503: 1}


def test_the_bounds_of_times_rise() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))
