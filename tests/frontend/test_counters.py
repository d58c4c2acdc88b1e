"""owt.frontend.counters: counters of calls, refusals and kernels."""

from __future__ import annotations

from typing import get_args

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from owt.frontend.counters import OUTCOMES, SECONDS, Counters, Histogram, LabelledCounter
from owt.frontend.runs.runs import CancelReason, Run
from owt.testing.kernel import HEAD, new_call
from owt.wire.chunk import Chunk, Data, Done, Failed

DONE = Done(200, 0.1)


class StartedKernel:
    """Kernel that ignores credit."""

    id = "k1"

    def credit(self, run: str, size: int) -> None:
        pass


def counters_of_run(*chunks: Chunk, cancelled: CancelReason | None = None, began: bool = True) -> Counters:
    """Return the counters of a server after one run with these chunks."""
    counters, run = Counters(), Run("id", new_call(), 1 << 20)
    run.observe(counters)
    run.cancel_reason = cancelled
    if began:
        run.start(StartedKernel())
    run.feed(chunks)
    return counters


def nonzero(counter: LabelledCounter) -> dict[str, int]:
    return {value: count for value, count in counter.items() if count}


def test_a_histogram_counts_a_value_in_the_first_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Histogram("h", "text", (1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 1000.0):
        histogram.add(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.sum == pytest.approx(1006.6)


def test_a_histogram_does_not_subtract_negative_values() -> None:
    histogram = Histogram("h", "text", (1.0,))
    histogram.add(-5.0)
    assert (histogram.counts, histogram.sum) == ([1, 0], 0.0)


def test_a_completed_call_has_an_outcome_its_bytes_and_all_durations() -> None:
    counters = counters_of_run(HEAD, Data(b"ab", "text"), Data(b"c", "text"), DONE)
    assert nonzero(counters.calls) == {"done": 1}
    assert nonzero(counters.cancels) == {}
    assert counters.answer_bytes == 3
    histograms = (counters.seconds, counters.first_byte, counters.waiting, counters.running)
    assert [sum(histogram.counts) for histogram in histograms] == [1, 1, 1, 1]


def test_a_call_that_failed_before_its_response_has_no_first_byte() -> None:
    counters = counters_of_run(Failed(500, "exception", "E", ""), Done(500, 0.1))
    assert nonzero(counters.calls) == {"exception": 1}
    assert sum(counters.first_byte.counts) == 0
    assert sum(counters.running.counts) == 1


def test_a_call_that_no_kernel_began_has_no_waiting_and_running_time() -> None:
    counters = counters_of_run(Failed(499, "cancelled", "cancelled", ""), Done(499, 0.0), began=False)
    assert nonzero(counters.calls) == nonzero(counters.cancels) == {"cancelled": 1}
    assert sum(counters.seconds.counts) == 1
    assert sum(counters.waiting.counts) == sum(counters.running.counts) == 0


@pytest.mark.parametrize("reason", get_args(CancelReason))
def test_a_cancelled_call_counts_by_its_reason_whatever_its_result(reason: CancelReason) -> None:
    failures = [Failed(499, reason, "", ""), Failed(500, "exception", "E", ""), None]
    for failure in failures:
        chunks = (DONE,) if failure is None else (failure, DONE)
        assert nonzero(counters_of_run(*chunks, cancelled=reason).cancels) == {reason: 1}


def test_an_unknown_kind_of_failure_counts_as_other() -> None:
    counters = counters_of_run(Failed(500, "chosen by a user", "", ""), Done(500, 0.1))
    assert nonzero(counters.calls) == {"other": 1}
    assert tuple(counters.calls) == OUTCOMES


def test_statuses_other_than_refusals_are_not_counted() -> None:
    counters = Counters()
    for status in (200, 400, 401, 401, 404, 413, 500, 503):
        counters.refused(status)
    assert nonzero(counters.refusals) == {401: 2, 413: 1, 503: 1}


def test_the_bounds_of_durations_rise() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))


def test_every_labelled_counter_and_histogram_is_exported() -> None:
    counters = counters_of_run(HEAD, DONE)
    counters.lookups["hit"] += 1
    counters.kernel_starts += 1
    registry = CollectorRegistry()
    registry.register(counters)
    text = generate_latest(registry).decode()
    for line in (
        'owt_calls_total{outcome="done"} 1.0',
        'owt_calls_total{outcome="busy"} 0.0',
        'owt_call_running_seconds_bucket{le="+Inf"} 1.0',
        'owt_cancels_total{reason="timeout"} 0.0',
        'owt_refusals_total{status="503"} 0.0',
        'owt_cache_lookups_total{result="hit"} 1.0',
        'owt_kernel_ends_total{cause="crashed"} 0.0',
        "owt_kernel_starts_total 1.0",
        "owt_kernel_restarts_total 0.0",
    ):
        assert f"\n{line}\n" in text, line
    assert "_created" not in text
