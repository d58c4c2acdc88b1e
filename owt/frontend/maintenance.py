"""Scheduler of the frontend's periodic jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("owt")


class Job:
    """A function that `Maintenance` runs periodically, until it is cancelled."""

    def __init__(self, seconds: float, function: Callable[[], None], jobs: set[Job]) -> None:
        self._seconds = seconds
        self._function = function
        self._jobs = jobs
        self._timer: asyncio.TimerHandle | None = None
        jobs.add(self)

    def schedule(self) -> None:
        """Run the function after its interval."""
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._run)

    def pause(self) -> None:
        """Run no more until it is scheduled again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cancel(self) -> None:
        """Remove the job; it runs no more."""
        self.pause()
        self._jobs.discard(self)

    def _run(self) -> None:
        try:
            self._function()
        except Exception:
            log.exception("a maintenance job failed; it runs again in %g s", self._seconds)
        # The function may have cancelled the job, or stopped the scheduler.
        if self._timer is not None:
            self.schedule()


class Maintenance:
    """Periodic jobs on the event loop's thread.

    Jobs are added before or after `start`. A job must be short, since the event loop waits for it. An
    exception is logged, and the job runs again after its interval.
    """

    def __init__(self) -> None:
        self._jobs: set[Job] = set()
        self._started = False

    def every(self, seconds: float, function: Callable[[], None]) -> Job:
        """Run `function` every `seconds`, first after that time. Cancel the returned job to end it."""
        job = Job(seconds, function, self._jobs)
        if self._started:
            job.schedule()
        return job

    def start(self) -> None:
        """Begin to run the jobs."""
        self._started = True
        for job in self._jobs:
            job.schedule()

    def stop(self) -> None:
        """Run no job any more."""
        self._started = False
        for job in self._jobs:
            job.pause()
