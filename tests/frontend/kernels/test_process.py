"""owt.frontend.kernels.process: the end of a kernel's process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from owt.frontend.kernels import process as module
from owt.frontend.kernels.exit import UNKNOWN_CODE
from owt.frontend.kernels.process import ForkedProcess, exit_code, wait_until_gone
from owt.testing import async_test, settle


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when it is killed."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        yield child
        child.kill()


def provisioner_of(process: object) -> SimpleNamespace:
    async def poll() -> int | None:
        code: int | None = process.poll()  # type: ignore[attr-defined]
        return code

    return SimpleNamespace(process=process, has_process=True, poll=poll)


@async_test
async def test_a_forked_process_is_gone_before_its_code_is_known(child: subprocess.Popen[bytes]) -> None:
    forked = ForkedProcess(child.pid, os.pidfd_open(child.pid))
    provisioner = provisioner_of(forked)
    gone = asyncio.ensure_future(wait_until_gone(provisioner))
    await settle()
    assert not gone.done()
    forked.terminate()
    async with asyncio.timeout(20):
        await gone
    assert forked.has_exited()
    assert forked.poll() is None
    code = asyncio.ensure_future(exit_code(provisioner))
    await settle()
    assert not code.done()
    forked.set_code(-15)
    assert await code == forked.poll() == -15


@pytest.mark.parametrize("pidfd", [True, False])
@async_test
async def test_the_code_is_unknown_when_the_template_is_gone(
    child: subprocess.Popen[bytes], pidfd: bool
) -> None:
    forked = ForkedProcess(child.pid, os.pidfd_open(child.pid) if pidfd else None)
    forked.lose_template()
    assert forked.poll() is None
    forked.kill()
    assert child.wait(20) == -signal.SIGKILL
    async with asyncio.timeout(20):
        assert await forked.wait_for_code() == UNKNOWN_CODE


@async_test
async def test_the_code_is_unknown_when_the_template_goes_after_the_process(
    child: subprocess.Popen[bytes],
) -> None:
    forked = ForkedProcess(child.pid, os.pidfd_open(child.pid))
    forked.kill()
    async with asyncio.timeout(20):
        await forked.wait_until_gone()
        forked.lose_template()
        assert await forked.wait_for_code() == UNKNOWN_CODE


@async_test
async def test_no_signal_is_sent_to_a_process_that_took_the_id(child: subprocess.Popen[bytes]) -> None:
    forked = ForkedProcess(child.pid, os.pidfd_open(child.pid))
    forked.set_code(0)
    forked.kill()
    assert child.poll() is None


@pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "polling"])
@async_test
async def test_the_end_of_a_spawned_process_is_noticed(
    child: subprocess.Popen[bytes], pidfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.setattr(module, "POLL_INTERVAL", 0.001)
    provisioner = provisioner_of(child)
    gone = asyncio.ensure_future(wait_until_gone(provisioner))
    await settle()
    assert not gone.done()
    child.kill()
    async with asyncio.timeout(20):
        await gone
    assert await exit_code(provisioner) == -signal.SIGKILL


@async_test
async def test_waiting_keeps_no_descriptor(child: subprocess.Popen[bytes]) -> None:
    before = set(os.listdir("/proc/self/fd"))
    gone = asyncio.ensure_future(wait_until_gone(provisioner_of(child)))
    await settle()
    gone.cancel()
    await asyncio.wait([gone])
    assert set(os.listdir("/proc/self/fd")) == before
