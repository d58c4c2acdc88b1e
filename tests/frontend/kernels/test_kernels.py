"""owt.frontend.kernels.kernels: starts of kernels without enough descriptors."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from pathlib import Path
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


def kernels_in(
    folder: str, descriptors: Descriptors, env: dict[str, str] | None = None, memory: int | None = None
) -> Kernels:
    return Kernels(
        runtime_dir=folder,
        templates=None,
        env=dict(os.environ) if env is None else env,
        welcome=lambda session, concurrency: Welcome("http://a:9876", "a", 9876, memory=memory),
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


@async_test
async def test_the_edition_of_the_pool_is_another_one_if_kernels_would_start_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def edition(spec: str = "owt", memory: int | None = None, **env: str) -> bytes:
        kernels = kernels_in("", Descriptors(), env, memory)
        try:
            return kernels.edition(spec)
        finally:
            await kernels.close()

    folder = tmp_path / "kernels" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def save(**fields: object) -> None:
        document = {"argv": ["python"], "display_name": "Mine", "language": "python", **fields}
        (folder / "kernel.json").write_text(json.dumps(document))

    first = await edition(COLOUR="red")
    # As a restart by a shell or systemd does.
    assert await edition(COLOUR="red", SHLVL="3", INVOCATION_ID="x", LISTEN_PID="7", OWT_URL="b") == first
    save()
    others = [await edition(COLOUR="blue"), await edition(COLOUR="red", memory=1)]
    others.append(await edition("mine", COLOUR="red"))
    save(env={"A": "b"})
    others.append(await edition("mine", COLOUR="red"))
    monkeypatch.chdir(tmp_path)
    others.append(await edition(COLOUR="red"))
    assert len({first, *others}) == 6
