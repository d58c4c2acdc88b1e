"""owt.frontend.kernels.kernels: starts of kernels without enough descriptors."""

from __future__ import annotations

import asyncio
import os
import resource
from tempfile import TemporaryDirectory
from typing import cast
from unittest.mock import Mock

import pytest

from owt.errors import Busy
from owt.frontend.counters import Counters
from owt.frontend.descriptors import KERNEL, MARGIN, Descriptors
from owt.frontend.kernels.kernel import KernelOwner
from owt.frontend.kernels.kernels import Kernels
from owt.testing import async_test
from owt.wire.messages import Welcome


def kernels_in(folder: str, descriptors: Descriptors) -> Kernels:
    return Kernels(
        runtime_dir=folder,
        templates=None,
        env=dict(os.environ),
        welcome=lambda session, concurrency: Welcome("http://localhost:9876", "localhost", 9876),
        descriptors=descriptors,
        counters=Counters(),
    )


def in_use() -> set[int]:
    """Return the descriptors of this process."""
    folder = os.open("/dev/fd", os.O_RDONLY)
    try:
        return set(map(int, os.listdir(folder))) - {folder}
    finally:
        os.close(folder)


async def start(kernels: Kernels) -> None:
    await kernels.start("owt", None, 1, cast("KernelOwner", Mock()))


@async_test
async def test_no_kernel_starts_without_enough_descriptors() -> None:
    class Few(Descriptors):
        def free(self) -> int:
            return KERNEL + MARGIN - 1

    with TemporaryDirectory() as folder:
        kernels = kernels_in(folder, Few())
        with pytest.raises(Busy, match="cannot start a kernel"):
            kernels.check_room()
        with pytest.raises(Busy, match="cannot start a kernel"):
            await start(kernels)
        assert kernels.all == {}
        assert os.listdir(folder) == []
        await kernels.close()


@async_test
async def test_descriptors_are_reserved_for_starting_kernels() -> None:
    class Few(Descriptors):
        def free(self) -> int:
            return 2 * KERNEL + MARGIN - 1

    with TemporaryDirectory() as folder:
        kernels = kernels_in(folder, Few())
        kernels.check_room()
        starting = asyncio.create_task(start(kernels))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            kernels.check_room()
        starting.cancel()
        await asyncio.wait([starting])
        kernels.check_room()
        await kernels.close()


@async_test
async def test_a_start_that_runs_out_of_descriptors_leaves_no_file_or_descriptor() -> None:
    class Unaware(Descriptors):
        def require(self, kernels: int) -> None:
            """Check nothing, as if the descriptors were used up after the check."""

    with TemporaryDirectory() as folder:
        kernels = kernels_in(folder, Unaware())
        before = in_use()
        unused = [number for number in range(1000) if number not in before]
        # A kernel's connections and the memory for its output take seven until it has them.
        for free in range(6):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (unused[free], hard))
            try:
                with pytest.raises(Busy, match="cannot start a kernel"):
                    await start(kernels)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await asyncio.gather(*(kernel.closed() for kernel in kernels.all.values()))
            assert kernels.all == {}
            assert in_use() == before
            assert os.listdir(folder) == []
        await kernels.close()
