"""Counters of one server since its start, as a collector of prometheus_client.

The counters are plain numbers: all of a call's cost 2 us here and 10 us with prometheus_client's Counter and
Histogram, which take locks; these would also add a `_created` series each. Only the event loop's thread
counts. Labels have fixed values; names, paths and texts that users choose are never labels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, get_args

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from owt.frontend.runs.runs import CancelReason, Run
from owt.wire.chunk import Failed

DONE = "done"
OTHER = "other"
OUTCOMES = (
    DONE,
    # As in `Failed.type`.
    "exception", "syntax", "bad-request", "no-such-session", "no-such-function", "busy", "timeout",
    "cancelled", "interrupted", "kernel-died", "kernel-not-ready", "run-lost",
    "shutting-down",
    OTHER,
)
REFUSALS = (401, 403, 413, 414, 421, 429, 431, 503)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of a histogram's buckets, in seconds: a warm call takes a millisecond, a long text minutes."""


class LabelledCounter(dict[Any, int]):
    """Counts by the value of one label. All values exist from the start."""

    def __init__(self, name: str, text: str, label: str, values: Iterable[object]) -> None:
        super().__init__(dict.fromkeys(values, 0))
        self.name, self.text, self.label = name, text, label

    def family(self) -> Metric:
        """Return the counter for Prometheus."""
        family = CounterMetricFamily(self.name, self.text, labels=[self.label])
        for value, count in self.items():
            family.add_metric([str(value)], count)
        return family


class Histogram:
    """Numbers of values up to each of the `bounds`, and their sum."""

    __slots__ = ("bounds", "counts", "name", "sum", "text")

    def __init__(self, name: str, text: str, bounds: tuple[float, ...] = SECONDS) -> None:
        self.name, self.text, self.bounds = name, text, bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value. A negative one, after the clock was set back, counts as zero."""
        if value > 0:
            self.sum += value
        self.counts[bisect_left(self.bounds, value)] += 1

    def family(self) -> Metric:
        """Return the histogram for Prometheus."""
        bounds = [*map(str, self.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self.counts), strict=True))
        return HistogramMetricFamily(self.name, self.text, buckets=buckets, sum_value=self.sum)


class Counters(Collector):
    """Counters of one server."""

    def __init__(self) -> None:
        self.calls = LabelledCounter(
            "owt_calls",
            "Calls that ended or were refused, by outcome: done, or the kind of failure, without calls that "
            "joined an equal call.",
            "outcome",
            OUTCOMES,
        )
        self.seconds = Histogram(
            "owt_call_seconds", "Time from a call's arrival to its end, without refused calls."
        )
        self.first_byte = Histogram(
            "owt_call_first_byte_seconds", "Time from a call's arrival to the start of its response."
        )
        self.waiting = Histogram(
            "owt_call_waiting_seconds", "Time from a call's arrival until it was sent to a kernel."
        )
        self.running = Histogram(
            "owt_call_running_seconds", "Time from when a call was sent to a kernel to the call's end."
        )
        self.cancels = LabelledCounter(
            "owt_cancels", "Calls that ended by cancellation, by reason.", "reason", get_args(CancelReason)
        )
        self.refusals = LabelledCounter(
            "owt_refusals", "Requests that the server itself refused, by HTTP status.", "status", REFUSALS
        )
        self.lookups = LabelledCounter(
            "owt_cache_lookups",
            "Calls that use the cache, by result: found (hit), not found (miss), joined to an equal call.",
            "result",
            ("hit", "miss", "joined"),
        )
        self.kernel_ends = LabelledCounter(
            "owt_kernel_ends",
            "Kernels that ended, by cause: crashed (or killed from outside), stuck (killed because a call "
            "did not stop or could not begin), unready (failed to start), ended (on purpose), shutdown (with "
            "the server).",
            "cause",
            ("crashed", "stuck", "unready", "ended", "shutdown"),
        )
        self.kernel_starts = 0
        self.kernel_restarts = 0
        self.answer_bytes = 0

    def collect(self) -> Iterator[Metric]:
        """Yield all counters except `answer_bytes`, which does not include active runs."""
        for metric in vars(self).values():
            if isinstance(metric, LabelledCounter | Histogram):
                yield metric.family()
        yield CounterMetricFamily("owt_kernel_starts", "Kernels that were started.", self.kernel_starts)
        yield CounterMetricFamily(
            "owt_kernel_restarts",
            "Kernels that were replaced because they ended before their session did.",
            self.kernel_restarts,
        )

    def run_ended(self, run: Run) -> None:
        """Count the end of a run, which a kernel may have begun or not."""
        self.outcome(run.failure)
        created, started, ended, answered = run.created_at, run.started_at, run.ended_at, run.answered_at
        assert ended is not None
        self.answer_bytes += run.sent
        self.seconds.add(ended - created)
        if answered is not None:
            self.first_byte.add(answered - created)
        if started is not None:
            self.waiting.add(started - created)
            self.running.add(ended - started)
        # A call that was cancelled in the queue has no reason, but its failure has the type.
        reason = run.cancel_reason or (run.failure and run.failure.type)
        if reason in self.cancels:
            self.cancels[reason] += 1

    def outcome(self, failure: Failed | None) -> None:
        """Count a call that ended, or that was refused before it began."""
        kind = DONE if failure is None else failure.type
        self.calls[kind if kind in self.calls else OTHER] += 1

    def refused(self, status: int) -> None:
        """Count a response of the frontend itself, if its status is one of `REFUSALS`."""
        if status in self.refusals:
            self.refusals[status] += 1
