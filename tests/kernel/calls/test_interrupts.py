"""owt.kernel.calls.interrupts: SIGINT reaches user code, of the run that it is for, and nothing else."""

from __future__ import annotations

import signal
import threading

import pytest

from owt.kernel.calls.interrupts import Interrupts

pytestmark = pytest.mark.usefixtures("sigint")


@pytest.fixture
def others() -> list[str | None]:
    """What was aimed at something else than the main thread's user code."""
    return []


@pytest.fixture
def interrupts(others: list[str | None]) -> Interrupts:
    interrupts = Interrupts(others.append)
    interrupts.install()
    return interrupts


def test_an_interrupt_lands_in_user_code(interrupts: Interrupts, others: list[str | None]) -> None:
    interrupts.begin("a")
    interrupts.enter()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.aim("a")
    assert others == []


def test_an_interrupt_between_two_stretches_of_user_code_waits_for_the_next(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    interrupts.enter()
    interrupts.leave()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.enter()
    interrupts.enter()


def test_several_interrupts_that_wait_are_one(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    signal.raise_signal(signal.SIGINT)
    interrupts.aim("a")
    with pytest.raises(KeyboardInterrupt):
        interrupts.enter()
    interrupts.leave()
    interrupts.enter()


def test_an_interrupt_that_comes_after_its_run_hits_no_other(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    interrupts.begin("a")
    interrupts.end()
    interrupts.aim("a")
    interrupts.begin("b")
    interrupts.enter()
    interrupts.aim("a")
    assert others == ["a", "a"]


def test_an_interrupt_that_waits_ends_with_its_run(interrupts: Interrupts, others: list[str | None]) -> None:
    interrupts.begin("a")
    interrupts.aim("a")
    interrupts.end()
    interrupts.begin("b")
    interrupts.enter()
    assert others == []


def test_while_no_run_has_the_main_thread_an_interrupt_is_for_whatever_runs(
    interrupts: Interrupts, others: list[str | None]
) -> None:
    signal.raise_signal(signal.SIGINT)
    interrupts.aim("a")
    assert others == [None, "a"]


def test_an_aim_is_for_one_signal(interrupts: Interrupts, others: list[str | None]) -> None:
    interrupts.begin("b")
    interrupts.aim("a")
    interrupts.enter()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert others == ["a"]


def test_an_aim_is_known_until_the_main_thread_has_noticed(interrupts: Interrupts) -> None:
    seen: list[str | None] = []
    interrupts.begin("a")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        interrupts.aim("a")
        seen.append(interrupts.aimed)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert [*seen, interrupts.aimed] == ["a", None]


def test_a_shield_defers_the_interrupt_to_its_end(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    interrupts.enter()
    was = interrupts.shield()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.unshield(was)


def test_shields_may_be_nested(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    interrupts.enter()
    outer = interrupts.shield()
    inner = interrupts.shield()
    signal.raise_signal(signal.SIGINT)
    interrupts.unshield(inner)
    with pytest.raises(KeyboardInterrupt):
        interrupts.unshield(outer)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_shield_outside_user_code_lets_nothing_in_at_its_end(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    was = interrupts.shield()
    signal.raise_signal(signal.SIGINT)
    interrupts.unshield(was)
    with pytest.raises(KeyboardInterrupt):
        interrupts.enter()


def test_another_thread_interrupts_a_main_thread_that_computes(interrupts: Interrupts) -> None:
    interrupts.begin("a")
    began = threading.Event()

    def aim() -> None:
        began.wait()
        interrupts.aim("a")

    thread = threading.Thread(target=aim)
    thread.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        interrupts.enter()
        began.set()
        while True:
            pass
    thread.join()


def test_a_main_thread_that_waits_is_interrupted_if_need_be_by_several_signals(
    interrupts: Interrupts,
) -> None:
    interrupts.begin("a")
    began, noticed = threading.Event(), threading.Event()

    def aim() -> None:
        began.wait()
        # One that comes just before the main thread begins to wait does not end the waiting.
        interrupts.aim("a")
        while not noticed.wait(0.05) and interrupts.aimed == "a":
            interrupts.aim("a")

    thread = threading.Thread(target=aim)
    thread.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        interrupts.enter()
        began.set()
        threading.Event().wait()
    noticed.set()
    thread.join()
