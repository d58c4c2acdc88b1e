"""Recovery: kernels of an earlier frontend that have not told yet which runs and endpoints they have.

A kernel answers within milliseconds, unless its process is stopped, or one operation of its code keeps the
interpreter busy. Requests for runs and endpoints that are not known wait meanwhile: they are not answered by
404, and no repeated request runs twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from owt.errors import Busy

TIMEOUT = 30.0
"""Seconds for which a request waits."""


class AnsweringKernel(Protocol):
    """The part of a kernel that recovery needs. `ready` comes when the kernel has told all, or has died."""

    session: str | None
    ready: asyncio.Future[None]


class Recovery:
    """Kernels that have yet to answer."""

    def __init__(self) -> None:
        self._kernels: set[AnsweringKernel] = set()
        self._changed = asyncio.Event()

    def expect(self, kernel: AnsweringKernel) -> None:
        """Expect the answer of this kernel."""
        self._kernels.add(kernel)
        kernel.ready.add_done_callback(lambda _: self._answered(kernel))

    def _answered(self, kernel: AnsweringKernel) -> None:
        self._kernels.discard(kernel)
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def is_pending(self) -> bool:
        """Return True if a kernel has yet to answer."""
        return bool(self._kernels)

    def awaits(self, session: str | None) -> bool:
        """Return True if a kernel of this session (None: of the pool) has yet to answer."""
        return any(kernel.session == session for kernel in self._kernels)

    async def wait_until(self, known: Callable[[], bool]) -> None:
        """Wait until `known()`, which each answer makes this look at, or until all kernels have answered.

        Raises `Busy` after `TIMEOUT`.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                while self._kernels and not known():
                    await self._changed.wait()
        except TimeoutError:
            sessions = sorted({kernel.session or "the pool" for kernel in self._kernels})
            raise Busy(
                "the server has been restarted, and the kernels of these sessions have not answered yet: "
                f"{', '.join(sessions)}"
            ) from None
