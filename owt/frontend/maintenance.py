"""Periodic jobs of the frontend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("owt")


class Job:
    """A function that runs every `seconds` on the event loop's thread, from `start` to `stop`.

    It must be short, since the event loop waits for it. An exception is logged, and the job goes on. The
    clock is monotonic, unlike that of Tornado's `PeriodicCallback`, which pauses when the time is set back.
    """

    def __init__(self, seconds: float, function: Callable[[], None]) -> None:
        self._seconds = seconds
        self._function = function
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Run the function after its interval, unless the job has been started already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._run)

    def stop(self) -> None:
        """Run no more until the next start."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        try:
            self._function()
        except Exception:
            log.exception("a maintenance job failed; it runs again in %g s", self._seconds)
        # The function may have stopped the job.
        if self._timer is not None:
            self._timer = None
            self.start()
