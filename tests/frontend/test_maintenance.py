"""owt.frontend.maintenance: periodic jobs."""

import asyncio
import logging

import pytest

from owt.frontend.maintenance import Job

INTERVAL = 0.005


class Counter:
    """Function that counts its runs."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until it has run `count` times."""
        while self.count < count:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 10)


def test_job_runs_repeatedly_from_start_to_stop() -> None:
    async def scenario() -> None:
        runs = Counter()
        job = Job(INTERVAL, runs)
        await asyncio.sleep(3 * INTERVAL)
        assert runs.count == 0
        job.start()
        await runs.reach(2)
        job.stop()
        count = runs.count
        await asyncio.sleep(3 * INTERVAL)
        assert runs.count == count
        job.start()
        await runs.reach(count + 1)
        job.stop()

    asyncio.run(scenario())


def test_started_job_has_one_timer() -> None:
    async def scenario() -> None:
        runs = Counter()
        job = Job(INTERVAL, runs)
        job.start()
        job.start()
        job.stop()
        await asyncio.sleep(3 * INTERVAL)
        assert runs.count == 0

    asyncio.run(scenario())


def test_job_can_stop_itself() -> None:
    async def scenario() -> None:
        runs = Counter()

        def once() -> None:
            runs()
            job.stop()

        job = Job(INTERVAL, once)
        job.start()
        await runs.reach(1)
        await asyncio.sleep(3 * INTERVAL)
        assert runs.count == 1

    asyncio.run(scenario())


def test_job_that_raises_is_logged_and_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        runs = Counter()

        def fail() -> None:
            runs()
            raise ValueError("out of order")

        job = Job(INTERVAL, fail)
        job.start()
        with caplog.at_level(logging.ERROR, "owt"):
            await runs.reach(2)
        job.stop()

    asyncio.run(scenario())
    assert "a maintenance job failed; it runs again in 0.005 s" in caplog.text
    assert "out of order" in caplog.text
