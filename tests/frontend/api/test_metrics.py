"""owt.frontend.api.metrics: metrics of a server with scripted kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import cast

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from scripted_service import ScriptedService

from owt.errors import BadRequest, Busy
from owt.frontend.api.metrics import KernelUsage, StateCollector, new_registry
from owt.frontend.kernels.kernel import Kernel
from owt.frontend.sessions.session import Session
from owt.testing import async_test, settle
from owt.testing.kernel import ScriptedKernel, new_call
from owt.wire.call import Caching, RequestFacts


def read(stage: ScriptedService, connections: int = 0) -> dict[str, float]:
    """Return the value of every sample by its name and labels."""
    registry = CollectorRegistry()
    registry.register(stage.service.counters)
    registry.register(StateCollector(stage.service, lambda: connections))
    samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


@async_test
async def test_a_new_server_has_all_metrics() -> None:
    samples = read(ScriptedService())
    assert samples["owt_calls_total{outcome=done}"] == 0
    assert samples["owt_call_seconds_count"] == 0
    assert samples["owt_call_seconds_bucket{le=+Inf}"] == 0
    assert samples["owt_cancels_total{reason=timeout}"] == 0
    assert samples["owt_kernels{state=idle}"] == 0
    assert samples["owt_refusals_total{status=503}"] == 0


@async_test
async def test_each_scrape_reads_the_current_state() -> None:
    stage = ScriptedService()
    before = read(stage)
    stage.service.submit(new_call())
    during = read(stage)
    (await stage.kernels.wait_for_kernel(1)).answer(body=b"12345")
    after = read(stage)
    numbers = ("owt_calls_running", "owt_calls_total{outcome=done}", "owt_answer_bytes_total")
    assert [[samples[name] for name in numbers] for samples in (before, during, after)] == [
        [0, 0, 0], [0, 0, 0], [0, 1, 5],
    ]


@async_test
async def test_sessions_kernels_and_queues_are_counted_by_state() -> None:
    stage = ScriptedService(queue=5)
    for _ in range(3):
        stage.service.submit(new_call(session="a"))
    stage.service.submit(new_call(session="b"))
    await stage.kernels.wait_for_kernel(2)
    stage.kernels.all[1].answer()
    for _ in range(2):
        stage.service.submit(new_call())
    await stage.kernels.wait_for_kernel(3)
    samples = read(stage)
    assert samples["owt_sessions{state=busy}"] == 1
    assert samples["owt_sessions{state=idle}"] == 1
    assert samples["owt_kernels{state=busy}"] == 2
    assert samples["owt_kernels{state=idle}"] == 1
    assert samples["owt_calls_waiting{queue=session}"] == 2
    assert samples["owt_calls_waiting{queue=pool}"] == 1
    assert samples["owt_calls_running"] == 2
    assert samples["owt_pool_kernels{kind=used}"] == 1


@async_test
async def test_a_refused_call_has_an_outcome_but_no_duration() -> None:
    stage = ScriptedService()
    facts = RequestFacts("GET", "/", "", (), b"", "localhost")
    stage.service.refuse(facts, None, BadRequest("code", "is missing"))
    stage.service.refuse(facts, None, Busy("full"))
    samples = read(stage)
    assert samples["owt_calls_total{outcome=bad-request}"] == 1
    assert samples["owt_calls_total{outcome=busy}"] == 1
    assert samples["owt_call_seconds_count"] == 0


@async_test
async def test_lookups_in_the_cache_are_counted_by_result() -> None:
    stage = ScriptedService()
    cached = new_call(caching=Caching())
    stage.service.submit(cached)
    stage.service.submit(cached)
    (await stage.kernels.wait_for_kernel(1)).answer(body=b"42")
    stage.service.submit(cached)
    stage.service.submit(new_call())
    samples = read(stage)
    results = ("miss", "joined", "hit")
    assert [samples[f"owt_cache_lookups_total{{result={name}}}"] for name in results] == [1, 1, 1]
    assert samples["owt_cache_answers"] == 1
    assert samples["owt_cache_bytes"] > 2


@async_test
async def test_a_session_whose_kernel_is_replaced_counts_a_restart() -> None:
    stage = ScriptedService()
    stage.service.submit(new_call(session="a"))
    (await stage.kernels.wait_for_kernel(1)).die()
    await stage.kernels.wait_for_kernel(2)
    assert read(stage)["owt_kernel_restarts_total"] == 1
    await stage.service.sessions.delete("a")
    await settle()
    # The counter stays after the session was deleted.
    assert read(stage)["owt_kernel_restarts_total"] == 1


@async_test
async def test_open_connections_are_counted() -> None:
    assert read(ScriptedService(), connections=7)["owt_connections"] == 7


@async_test
async def test_each_server_has_its_own_registry() -> None:
    before = {family.name for family in REGISTRY.collect()}
    registries = [new_registry(ScriptedService().service, lambda: 0) for _ in range(2)]
    assert registries[0] is not registries[1]
    assert all(b"process_open_fds" in generate_latest(registry) for registry in registries)
    assert {family.name for family in REGISTRY.collect()} == before


def kernel(id: str, pid: int | None) -> Kernel:
    """Return a kernel with the attributes that KernelUsage reads."""
    scripted = ScriptedKernel(id, "owt", None, cast("Session", None))
    scripted.pid = pid
    return cast("Kernel", scripted)


def busy_child() -> subprocess.Popen[bytes]:
    """Return a process that has used some CPU time."""
    program = "import os\nwhile sum(os.times()[:2]) < 0.1: pass\nprint(flush=True)\ninput()"
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


@async_test
async def test_the_cpu_time_includes_kernels_that_ended() -> None:
    usage = KernelUsage()
    with busy_child() as child:
        kernels = [kernel("k1", child.pid), kernel("k2", os.getpid())]
        memory, seconds = usage.read(kernels)
        _, own = KernelUsage().read(kernels[1:])
        assert seconds >= own + 0.05
        child.communicate()
    less, later = usage.read(kernels)
    assert 0 < less < memory
    assert later >= seconds
    assert usage.read([])[1] >= later
    assert usage.read([])[0] == 0


@async_test
async def test_a_kernel_without_a_process_uses_no_memory_and_no_time() -> None:
    assert KernelUsage().read([kernel("k1", None), kernel("k2", 2**22 + 1)]) == (0, 0.0)
