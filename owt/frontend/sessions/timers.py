"""What is to happen to a run after some time, unless the run ends before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """Timers by run. Each fires at most once, and not after `off`."""

    def __init__(self) -> None:
        self._handles: dict[str, list[asyncio.TimerHandle]] = {}

    def __contains__(self, run: str) -> bool:
        return run in self._handles

    def after(self, seconds: float, run: str, function: Callable[[], None]) -> None:
        """Call `function` in so many seconds. Needs a running event loop."""
        handle = asyncio.get_running_loop().call_later(seconds, function)
        self._handles.setdefault(run, []).append(handle)

    def off(self, run: str) -> None:
        """The run has ended."""
        for handle in self._handles.pop(run, ()):
            handle.cancel()
