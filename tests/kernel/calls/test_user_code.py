"""owt.kernel.calls.interrupts: the stretches in which user code runs."""

from __future__ import annotations

import asyncio
import signal

import pytest

from owt.kernel.calls.interrupts import InMainThread, InOtherThread, Interrupts

pytestmark = pytest.mark.usefixtures("sigint")


@pytest.fixture
def interrupts() -> Interrupts:
    interrupts = Interrupts(lambda target: None)
    interrupts.install()
    interrupts.begin("a")
    return interrupts


def test_user_code_in_the_main_thread_may_be_interrupted(interrupts: Interrupts) -> None:
    user = InMainThread(interrupts, asyncio.new_event_loop())
    try:
        with pytest.raises(KeyboardInterrupt), user:
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        asyncio._set_running_loop(None)
        user._loop.close()


def test_user_code_in_the_main_thread_may_run_a_loop_of_its_own(interrupts: Interrupts) -> None:
    async def main() -> tuple[int, bool]:
        loop = asyncio.get_running_loop()
        with InMainThread(interrupts, loop):
            found = asyncio.run(asyncio.sleep(0, 42))
        return found, asyncio.get_running_loop() is loop

    assert asyncio.run(main()) == (42, True)


def test_the_loop_is_back_after_user_code_that_raised(interrupts: Interrupts) -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError), InMainThread(interrupts, loop):
            raise ZeroDivisionError
        return asyncio.get_running_loop() is loop

    assert asyncio.run(main())


def test_user_code_in_another_thread_needs_no_care() -> None:
    with pytest.raises(ZeroDivisionError), InOtherThread():
        raise ZeroDivisionError
