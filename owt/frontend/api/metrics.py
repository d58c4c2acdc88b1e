"""The server's numbers for Prometheus, at /_owt/metrics.

Names, units and the text format are Prometheus' (https://prometheus.io/docs/practices/naming/ and
https://prometheus.io/docs/instrumenting/exposition_formats/). Counts come from `owt.frontend.counters`;
what is as it is now (sessions, queues, memory) is looked at when somebody asks, and nothing is in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import Any, get_args

import psutil
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from owt.frontend.api.control import ControlHandler
from owt.frontend.api.health import readiness
from owt.frontend.counters import Histogram
from owt.frontend.kernels.kernel import Kernel
from owt.frontend.service import Service
from owt.frontend.sessions.session import SessionState

Connections = Callable[[], int]

_VERSION = re.compile(r"version=(?!\d{1,4}(?:\.\d{1,4})*\s*(?:[;,]|$))")
"""A version that is none, which `choose_encoder` cannot compare."""


class Usage:
    """What kernels use of the machine, added up: resident memory now, and CPU time so far, which does not
    shrink when a kernel ends."""

    def __init__(self) -> None:
        self._processes: dict[str, psutil.Process] = {}
        self._seconds: dict[str, float] = {}
        self._gone = 0.0

    def read(self, kernels: Iterable[Kernel]) -> tuple[int, float]:
        """Bytes and seconds. PSS would count shared pages once, but takes a hundred times as long."""
        processes, seconds, memory = {}, {}, 0
        for kernel in kernels:
            if kernel.pid is None:
                continue
            try:
                process = self._processes.get(kernel.id) or psutil.Process(kernel.pid)
                memory += process.memory_info().rss
                times = process.cpu_times()
            except psutil.Error:
                continue
            processes[kernel.id] = process
            seconds[kernel.id] = times.user + times.system
        self._gone += sum(spent for id, spent in self._seconds.items() if id not in seconds)
        self._processes, self._seconds = processes, seconds
        return memory, self._gone + sum(seconds.values())


class ServerCollector(Collector):
    """Makes metrics of what a server is and has counted."""

    def __init__(self, service: Service, connections: Connections | None) -> None:
        """`connections` counts the clients that are connected."""
        self._service = service
        self._connections = connections
        self._usage = Usage()
        self._version = version("owt")

    def collect(self) -> Iterator[Metric]:
        """Every metric, with all its labels from the start."""
        yield InfoMetricFamily("owt_build", "The server's version.", {"version": self._version})
        ready = GaugeMetricFamily("owt_ready", "1 if the server is ready for calls, as its health says.")
        ready.add_metric([], readiness(self._service).status == "ok")
        yield ready
        if self._connections is not None:
            yield GaugeMetricFamily(
                "owt_connections", "Clients that are connected.", value=self._connections()
            )
        yield from self._calls()
        yield from self._cache()
        yield from self._sessions()
        yield from self._kernels()

    def _calls(self) -> Iterator[Metric]:
        service, counters = self._service, self._service.counters
        yield _counts(
            "owt_calls",
            "Calls that have ended or were refused, by outcome: done, or the kind of failure. One that "
            "joined an equal call is not counted again.",
            "outcome",
            counters.calls,
        )
        yield _histogram(
            "owt_call_seconds",
            "Time from a call's arrival to its end, of those not refused.",
            counters.seconds,
        )
        yield _histogram(
            "owt_call_first_byte_seconds",
            "Time from a call's arrival to the beginning of its answer.",
            counters.first_byte,
        )
        yield _histogram(
            "owt_call_waiting_seconds",
            "Time from a call's arrival until a kernel was given it.",
            counters.waiting,
        )
        yield _histogram(
            "owt_call_running_seconds",
            "Time from when a kernel was given a call to the call's end.",
            counters.running,
        )
        runs = service.runs.live()
        yield CounterMetricFamily(
            "owt_answer_bytes",
            "Bytes of answers that calls have produced, before HTTP and event streams wrap them.",
            counters.answer_bytes + sum(run.sent for run in runs),
        )
        sessions, pool = service.sessions.named.values(), service.sessions.pool
        waiting = {
            "session": sum(len(session.queue) for session in sessions),
            "pool": len(pool.waiting) + sum(len(member.queue) for member in pool.members),
        }
        yield _gauges("owt_calls_waiting", "Calls that wait for their turn, by queue.", "queue", waiting)
        yield GaugeMetricFamily(
            "owt_calls_running", "Calls that kernels run.", sum(run.state == "running" for run in runs)
        )
        yield _counts(
            "owt_cancels",
            "Calls that were told to end and have ended, by reason.",
            "reason",
            counters.cancels,
        )
        yield _counts(
            "owt_refusals", "Requests that the server itself refused, by status.", "status", counters.refusals
        )

    def _cache(self) -> Iterator[Metric]:
        cache = self._service.cache
        yield _counts(
            "owt_cache_lookups",
            "Calls that asked for the cache: answered from it, not found in it, or joined to an equal call.",
            "result",
            self._service.counters.lookups,
        )
        yield GaugeMetricFamily("owt_cache_answers", "Answers in the cache.", cache.count)
        yield GaugeMetricFamily("owt_cache_bytes", "Bytes of the answers in the cache.", cache.bytes)

    def _sessions(self) -> Iterator[Metric]:
        sessions = dict.fromkeys(get_args(SessionState), 0)
        for session in self._service.sessions.named.values():
            sessions[session.state] += 1
        yield _gauges("owt_sessions", "Named sessions, by state.", "state", sessions)

    def _kernels(self) -> Iterator[Metric]:
        counters, sessions = self._service.counters, self._service.sessions
        kernels = sessions.kernels.each()
        busy = {
            session.kernel.id
            for session in (*sessions.named.values(), *sessions.pool.members)
            if session.kernel is not None and session.active
        }
        states = dict.fromkeys(("starting", "idle", "busy", "ending"), 0)
        for kernel in kernels:
            state: str = kernel.state
            if state == "ready":
                state = "busy" if kernel.id in busy else "idle"
            states[state] += 1
        yield _gauges(
            "owt_kernels", "Kernel processes, of sessions and of the pool, by state.", "state", states
        )
        pool = {"used": len(sessions.pool.members), "spare": len(sessions.pool.spares)}
        yield _gauges(
            "owt_pool_kernels",
            "Places for kernels in the pool: used by calls, or spare, which is kept for the next.",
            "kind",
            pool,
        )
        memory, seconds = self._usage.read(kernels)
        yield GaugeMetricFamily(
            "owt_kernel_memory_bytes",
            "Resident memory of all kernels; what forked kernels share is counted for each.",
            memory,
        )
        yield CounterMetricFamily(
            "owt_kernel_cpu_seconds", "CPU time of all kernels, those that have ended included.", seconds
        )
        yield CounterMetricFamily("owt_kernel_starts", "Kernels that were started.", counters.kernel_starts)
        yield CounterMetricFamily(
            "owt_kernel_restarts",
            "Kernels that were replaced because they ended while their session went on.",
            counters.kernel_restarts,
        )
        yield _counts(
            "owt_kernel_ends",
            "Kernels that have ended: crashed (or killed from outside), stuck (killed because a call did not "
            "stop), unready (they could not be started), or ended on purpose.",
            "cause",
            counters.kernel_ends,
        )


class MetricsHandler(ControlHandler):
    """/_owt/metrics"""

    def initialize(self, service: Service, registry: CollectorRegistry) -> None:  # type: ignore[override]
        """`registry` holds this server's collectors, and nobody else's."""
        super().initialize(service)
        self._registry = registry

    def get(self) -> None:
        """The metrics, as text or, for a client that says that it reads it, OpenMetrics."""
        accept = self.request.headers.get("Accept", "")
        encode, content_type = choose_encoder("" if _VERSION.search(accept) else accept)
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-store")
        self.finish(encode(self._registry))


def routes(
    service: Service, connections: Connections | None = None
) -> list[tuple[str, type[ControlHandler], dict[str, object]]]:
    """The page of metrics. `connections` counts the clients that are connected."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(service, connections))
    ProcessCollector(registry=registry)
    return [(r"/_owt/metrics", MetricsHandler, {"service": service, "registry": registry})]


def _counts(name: str, text: str, label: str, counts: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([str(value)], count)
    return family


def _gauges(name: str, text: str, label: str, numbers: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in numbers.items():
        family.add_metric([value], number)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum)
