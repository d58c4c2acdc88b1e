"""owt.frontend.maintenance: periodic jobs."""

import asyncio
import logging

import pytest

from owt.frontend.maintenance import Maintenance

INTERVAL = 0.005


class Counter:
    """Job that counts its runs."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until the job has run `count` times."""
        while self.count < count:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 10)


def test_jobs_run_repeatedly_from_start_to_stop() -> None:
    async def scenario() -> None:
        maintenance = Maintenance()
        early, late = Counter(), Counter()
        maintenance.every(INTERVAL, early)
        await asyncio.sleep(3 * INTERVAL)
        assert early.count == 0
        maintenance.start()
        maintenance.every(INTERVAL, late)
        await early.reach(2)
        await late.reach(2)
        maintenance.stop()
        counts = early.count, late.count
        await asyncio.sleep(3 * INTERVAL)
        assert (early.count, late.count) == counts

    asyncio.run(scenario())


def test_a_cancelled_job_runs_no_more_while_others_do() -> None:
    async def scenario() -> None:
        maintenance = Maintenance()
        cancelled, other = Counter(), Counter()
        job = maintenance.every(INTERVAL, cancelled)
        maintenance.every(INTERVAL, other)
        maintenance.start()
        await cancelled.reach(1)
        job.cancel()
        count = cancelled.count
        await other.reach(other.count + 3)
        assert cancelled.count == count
        maintenance.stop()

    asyncio.run(scenario())


def test_a_job_can_cancel_itself() -> None:
    async def scenario() -> None:
        maintenance = Maintenance()
        runs = Counter()

        def once() -> None:
            runs()
            job.cancel()

        job = maintenance.every(INTERVAL, once)
        maintenance.start()
        await runs.reach(1)
        await asyncio.sleep(3 * INTERVAL)
        assert runs.count == 1
        maintenance.stop()

    asyncio.run(scenario())


def test_a_job_that_raises_is_logged_and_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        maintenance = Maintenance()
        runs = Counter()

        def fail() -> None:
            runs()
            raise ValueError("out of order")

        maintenance.every(INTERVAL, fail)
        maintenance.start()
        with caplog.at_level(logging.ERROR, "owt"):
            await runs.reach(2)
        maintenance.stop()

    asyncio.run(scenario())
    assert "a maintenance job failed; it runs again in 0.005 s" in caplog.text
    assert "out of order" in caplog.text
