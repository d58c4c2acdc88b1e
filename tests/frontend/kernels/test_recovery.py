"""owt.frontend.kernels.recovery: requests wait for the kernels of an earlier frontend."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from owt.errors import Busy
from owt.frontend.kernels import recovery as recovery_module
from owt.frontend.kernels.recovery import Recovery
from owt.testing import async_test, settle


@dataclass(eq=False)
class Kernel:
    session: str | None
    ready: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


def recovery_of(*kernels: Kernel) -> Recovery:
    recovery = Recovery()
    for kernel in kernels:
        recovery.expect(kernel)
    return recovery


@async_test
async def test_a_request_waits_until_its_condition_is_true_or_all_kernels_have_answered() -> None:
    a, b = Kernel("a"), Kernel("b")
    recovery = recovery_of(a, b)
    loop = asyncio.get_running_loop()
    for_a = loop.create_task(recovery.wait_until(lambda: not recovery.awaits("a")))
    for_all = loop.create_task(recovery.wait_until(lambda: False))
    await settle()
    assert not for_a.done()
    a.ready.set_result(None)
    await for_a
    assert not for_all.done()
    # It has died.
    b.ready.set_exception(Busy("died"))
    await for_all
    assert not recovery.is_pending


@async_test
async def test_nothing_waits_without_an_earlier_frontend() -> None:
    recovery = Recovery()
    assert not recovery.is_pending
    await recovery.wait_until(lambda: False)


@async_test
async def test_a_kernel_is_awaited_for_its_session_or_for_the_pool() -> None:
    recovery = recovery_of(Kernel("a"), Kernel(None))
    assert [recovery.awaits(session) for session in ("a", None, "b")] == [True, True, False]


@async_test
async def test_a_request_that_waits_for_too_long_is_told_for_which_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery_module, "TIMEOUT", 0)
    recovery = recovery_of(Kernel("b"), Kernel("a"), Kernel(None))
    with pytest.raises(Busy, match="have not answered yet: a, b, the pool"):
        await recovery.wait_until(lambda: False)
