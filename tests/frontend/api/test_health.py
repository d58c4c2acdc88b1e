"""owt.frontend.api.health: readiness of a server with scripted kernels."""

from __future__ import annotations

import time

from scripted_service import ScriptedService

from owt.errors import KernelNotReady
from owt.frontend.api.health import readiness
from owt.frontend.kernels.kernels import Failure
from owt.frontend.sessions.pool import RECENT
from owt.testing import async_test, settle
from owt.testing.kernel import new_call


def status(stage: ScriptedService) -> str:
    return readiness(stage.service).status


@async_test
async def test_a_server_with_a_ready_kernel_is_ready() -> None:
    stage = ScriptedService(min_size=1)
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(1)
    ready = readiness(stage.service)
    assert (ready.status, ready.reason) == ("ok", None)


@async_test
async def test_a_server_that_is_shutting_down_is_not_ready() -> None:
    stage = ScriptedService(min_size=1)
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(1)
    stage.service.draining = True
    assert readiness(stage.service).status == "draining"
    assert "shutting down" in (readiness(stage.service).reason or "")


@async_test
async def test_without_kernels_a_server_is_starting_until_kernels_can_be_forked() -> None:
    stage = ScriptedService(min_size=1)
    stage.kernels.preparing = True
    stage.kernels.may_start.clear()
    stage.pool.refill()
    assert readiness(stage.service).status == "starting"
    assert "importing" in (readiness(stage.service).reason or "")
    # Kernels can be forked now, and the first one is starting.
    stage.kernels.preparing = False
    assert status(stage) == "ok"


@async_test
async def test_a_server_with_a_kernel_is_ready_while_the_template_restarts() -> None:
    stage = ScriptedService(min_size=1)
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(1)
    stage.kernels.preparing = True
    assert status(stage) == "ok"


@async_test
async def test_a_server_whose_kernels_are_all_busy_is_ready() -> None:
    stage = ScriptedService(max_size=1)
    stage.service.submit(new_call())
    stage.service.submit(new_call())
    await stage.kernels.wait_for_kernel(1)
    assert stage.pool.waiting
    assert status(stage) == "ok"


@async_test
async def test_a_failed_start_makes_the_server_unready_until_a_start_succeeds() -> None:
    stage = ScriptedService(min_size=1)
    stage.kernels.start_error = KernelNotReady("no such program")
    stage.pool.refill()
    await settle()
    ready = readiness(stage.service)
    assert ready.status == "no-kernel"
    assert ready.reason == "the last kernel could not be started: no such program"
    # The kernel of any call makes the server ready.
    stage.kernels.start_error = None
    stage.service.submit(new_call())
    await stage.kernels.wait_for_kernel(1)
    assert status(stage) == "ok"


@async_test
async def test_a_server_with_a_kernel_is_ready_after_a_failed_start() -> None:
    stage = ScriptedService(max_size=2)
    stage.service.submit(new_call())
    await stage.kernels.wait_for_kernel(1)
    stage.kernels.start_error = KernelNotReady("no such program")
    run, _ = stage.service.submit(new_call())
    await settle()
    assert run.status == 502
    assert status(stage) == "ok"


@async_test
async def test_failures_of_other_kernelspecs_do_not_count() -> None:
    stage = ScriptedService(min_size=1)
    stage.kernels.failures["broken"] = Failure("no such program", time.monotonic())
    assert status(stage) == "ok"


@async_test
async def test_without_spares_a_failure_expires() -> None:
    stage = ScriptedService(min_size=0)
    stage.kernels.failures["owt"] = Failure("no such program", time.monotonic())
    assert status(stage) == "no-kernel"
    stage.kernels.failures["owt"] = Failure("no such program", time.monotonic() - RECENT - 1)
    assert status(stage) == "ok"
