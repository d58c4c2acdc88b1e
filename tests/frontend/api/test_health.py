"""owt.frontend.api.health: when a server is ready for calls, with kernels that the tests play."""

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
    stage = ScriptedService(least=1)
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(1)
    ready = readiness(stage.service)
    assert (ready.status, ready.reason) == ("ok", None)


@async_test
async def test_one_that_is_ending_is_not() -> None:
    stage = ScriptedService(least=1)
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(1)
    stage.service.draining = True
    assert readiness(stage.service).status == "draining"
    assert "ending" in (readiness(stage.service).reason or "")


@async_test
async def test_until_kernels_can_be_forked_one_without_kernels_is_not_ready() -> None:
    stage = ScriptedService(least=1)
    stage.kernels.preparing = True
    stage.kernels.may_start.clear()
    stage.pool.refill()
    assert readiness(stage.service).status == "starting"
    assert "importing" in (readiness(stage.service).reason or "")
    # It can be had now, and is on its way.
    stage.kernels.preparing = False
    assert status(stage) == "ok"


@async_test
async def test_a_new_template_does_not_matter_while_the_pool_has_a_kernel() -> None:
    stage = ScriptedService(least=1)
    stage.pool.refill()
    await stage.kernels.wait_for_kernel(1)
    stage.kernels.preparing = True
    assert status(stage) == "ok"


@async_test
async def test_busy_kernels_are_kernels() -> None:
    stage = ScriptedService(most=1)
    stage.service.submit(new_call())
    stage.service.submit(new_call())
    await stage.kernels.wait_for_kernel(1)
    assert stage.pool.waiting
    assert status(stage) == "ok"


@async_test
async def test_a_kernel_that_could_not_be_started_is_told_of_until_one_can() -> None:
    stage = ScriptedService(least=1)
    stage.kernels.start_error = KernelNotReady("no such program")
    stage.pool.refill()
    await settle()
    ready = readiness(stage.service)
    assert ready.status == "no-kernel"
    assert ready.reason == "the last kernel could not be started: no such program"
    # Any call's kernel will do; the server is right again at once.
    stage.kernels.start_error = None
    stage.service.submit(new_call())
    await stage.kernels.wait_for_kernel(1)
    assert status(stage) == "ok"


@async_test
async def test_a_failed_start_does_not_matter_while_the_pool_has_a_kernel() -> None:
    stage = ScriptedService(most=2)
    stage.service.submit(new_call())
    await stage.kernels.wait_for_kernel(1)
    stage.kernels.start_error = KernelNotReady("no such program")
    run, _ = stage.service.submit(new_call())
    await settle()
    assert run.status == 502
    assert status(stage) == "ok"


@async_test
async def test_other_kernelspecs_are_their_users_business() -> None:
    stage = ScriptedService(least=1)
    stage.kernels.failures["broken"] = Failure("no such program", time.monotonic())
    assert status(stage) == "ok"


@async_test
async def test_without_spares_nobody_tries_again_so_a_failure_grows_old() -> None:
    stage = ScriptedService(least=0)
    stage.kernels.failures["owt"] = Failure("no such program", time.monotonic())
    assert status(stage) == "no-kernel"
    stage.kernels.failures["owt"] = Failure("no such program", time.monotonic() - RECENT - 1)
    assert status(stage) == "ok"
