"""Metrics for Prometheus, at /_owt/metrics.

Names, units and the text format follow Prometheus (https://prometheus.io/docs/practices/naming/ and
https://prometheus.io/docs/instrumenting/exposition_formats/). `owt.frontend.counters` counts events; the
collector here reads the current state (sessions, queues, memory) at each scrape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import get_args

import psutil
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from owt.errors import DISTRIBUTION
from owt.frontend.api.health import readiness
from owt.frontend.http.handler import PageHandler
from owt.frontend.kernels.kernel import Kernel
from owt.frontend.runs.runs import RunState
from owt.frontend.service import Service
from owt.frontend.sessions.events import SessionState

_INVALID_VERSION = re.compile(r"version=(?!\d{1,4}(?:\.\d{1,4})*\s*(?:[;,]|$))")
"""Version in an Accept header that makes `choose_encoder` raise an exception."""


class KernelUsage:
    """Resident memory and CPU time of all kernels. The CPU time includes kernels that ended."""

    def __init__(self) -> None:
        self._processes: dict[str, psutil.Process] = {}
        self._seconds: dict[str, float] = {}
        self._ended_seconds = 0.0

    def read(self, kernels: Iterable[Kernel]) -> tuple[int, float]:
        """Return bytes and seconds. PSS would count shared pages once, but takes a hundred times as long."""
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
        self._ended_seconds += sum(spent for id, spent in self._seconds.items() if id not in seconds)
        self._processes, self._seconds = processes, seconds
        return memory, self._ended_seconds + sum(seconds.values())


class StateCollector(Collector):
    """Metrics of a server's current state."""

    def __init__(self, service: Service, connections: Callable[[], int]) -> None:
        """`connections` returns the number of open client connections."""
        self._service = service
        self._connections = connections
        self._usage = KernelUsage()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, with all values of its label."""
        yield InfoMetricFamily("owt_build", "Version of the server.", {"version": version(DISTRIBUTION)})
        ready = int(readiness(self._service).status == "ok")
        yield _gauge("owt_ready", "1 if the server is ready for calls (/_owt/health/ready), else 0.", ready)
        yield _gauge("owt_connections", "Open client connections.", self._connections())
        history = self._service.history
        yield CounterMetricFamily(
            "owt_frontend_restarts",
            "Frontends that went on with the sessions of an earlier one.",
            0 if history is None else history.restarts,
        )
        yield _gauge(
            "owt_kept_seconds",
            "Time without a frontend that the sessions have outlived, in seconds.",
            0 if history is None else history.kept_seconds,
        )
        yield from self._calls()
        cache = self._service.cache
        yield _gauge("owt_cache_answers", "Responses in the cache.", cache.count)
        yield _gauge("owt_cache_bytes", "Size of the responses in the cache, in bytes.", cache.bytes)
        yield from self._kernels()

    def _calls(self) -> Iterator[Metric]:
        service = self._service
        runs = service.runs.live()
        yield CounterMetricFamily(
            "owt_answer_bytes",
            "Bytes that calls have produced for their responses, before HTTP and event streams encode them.",
            service.counters.answer_bytes + sum(run.sent for run in runs),
        )
        sessions, pool = service.sessions.named.values(), service.sessions.pool
        waiting = {
            "session": sum(len(session.queue) for session in sessions),
            "pool": len(pool.waiting) + sum(len(member.queue) for member in pool.members),
        }
        yield _gauges("owt_calls_waiting", "Calls in queues, by queue.", "queue", waiting)
        running = sum(run.state is RunState.RUNNING for run in runs)
        yield _gauge("owt_calls_running", "Calls that run in kernels.", running)
        yield _gauge(
            "owt_calls_abandoned",
            "Calls that run although their clients have disconnected.",
            sum(run.abandoned for run in runs),
        )
        states = dict.fromkeys(get_args(SessionState), 0)
        for session in sessions:
            states[session.state] += 1
        yield _gauges("owt_sessions", "Named sessions, by state.", "state", states)

    def _kernels(self) -> Iterator[Metric]:
        sessions = self._service.sessions
        kernels, pool = sessions.kernels.current(), sessions.pool
        busy = {
            session.kernel.id
            for session in (*sessions.named.values(), *pool.members)
            if session.kernel is not None and session.active
        }
        stuck = {
            session.kernel.id
            for session in (*sessions.named.values(), *pool.members)
            if session.kernel is not None and session.state == "stuck"
        }
        states = dict.fromkeys(("starting", "idle", "busy", "stuck", "ending"), 0)
        for kernel in kernels:
            state: str = kernel.state.value
            if state == "ready":
                state = "busy" if kernel.id in busy else "stuck" if kernel.id in stuck else "idle"
            states[state] += 1
        yield _gauges("owt_kernels", "Kernel processes of sessions and pool, by state.", "state", states)
        yield _gauges(
            "owt_pool_kernels",
            "Kernels of the pool, by kind: used by calls, stuck, or spare, ready for the next call.",
            "kind",
            {"used": len(pool.members) - pool.stuck, "stuck": pool.stuck, "spare": len(pool.spares)},
        )
        memory, seconds = self._usage.read(kernels)
        yield _gauge(
            "owt_kernel_memory_bytes",
            "Resident memory of all kernels; memory that kernels share counts once for each.",
            memory,
        )
        yield CounterMetricFamily(
            "owt_kernel_cpu_seconds", "CPU time of all kernels, including those that ended.", seconds
        )


class MetricsHandler(PageHandler):
    """/_owt/metrics"""

    def initialize(self, service: Service, registry: CollectorRegistry) -> None:  # type: ignore[override]
        """`registry` has the collectors of this server."""
        super().initialize(service)
        self._registry = registry

    def get(self) -> None:
        """Return the metrics as text, or as OpenMetrics if the client accepts it."""
        accept = self.request.headers.get("Accept", "")
        encode, content_type = choose_encoder("" if _INVALID_VERSION.search(accept) else accept)
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-store")
        self.finish(encode(self._registry))


def new_registry(service: Service, connections: Callable[[], int]) -> CollectorRegistry:
    """Return the collectors of this server. `connections` returns the number of open client connections."""
    registry = CollectorRegistry()
    registry.register(service.counters)
    registry.register(StateCollector(service, connections))
    ProcessCollector(registry=registry)
    return registry


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
