"""Timers by run."""

import asyncio

from owt.frontend.sessions.timers import Timers


def test_a_timer_fires_once() -> None:
    async def main() -> list[str]:
        timers, fired = Timers(), asyncio.Queue[str]()
        timers.after(0, "run", lambda: fired.put_nowait("now"))
        assert "run" in timers
        return [await asyncio.wait_for(fired.get(), 10)]

    assert asyncio.run(main()) == ["now"]


def test_timers_that_are_off_do_not_fire() -> None:
    async def main() -> list[str]:
        timers, fired = Timers(), asyncio.Queue[str]()
        timers.after(0, "ended", lambda: fired.put_nowait("ended"))
        timers.after(0, "ended", lambda: fired.put_nowait("ended again"))
        timers.after(0, "other", lambda: fired.put_nowait("other"))
        timers.off("ended")
        timers.off("unknown")
        assert "ended" not in timers
        first = await asyncio.wait_for(fired.get(), 10)
        return [first, *(fired.get_nowait() for _ in range(fired.qsize()))]

    assert asyncio.run(main()) == ["other"]
