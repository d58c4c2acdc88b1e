"""Time of an event loop that a test advances."""

from __future__ import annotations

import asyncio

from owt.testing import settle


class LoopClock:
    """Replacement for the time of the running event loop: its timers fire only when the test advances it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._now = loop.time()
        loop.time = lambda: self._now  # type: ignore[method-assign]

    async def advance(self, seconds: float) -> None:
        """Advance the time, and run the timers that are due by then."""
        self._now += seconds
        await settle()
