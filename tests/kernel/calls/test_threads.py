"""owt.kernel.context: which run a thread works for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from owt.kernel import context
from owt.kernel.context import Run, follow_threads, running

A, B = (Run(name, None, None) for name in "ab")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def following(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads are followed in this test."""
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", ThreadPoolExecutor.submit)
    follow_threads()
    yield
    context.set_only_run(None)


class Overriding(threading.Thread):
    """A thread whose class says what it does."""

    def __init__(self, target: Callable[[], Any]) -> None:
        super().__init__()
        self._work = target

    def run(self) -> None:
        self._work()


@pytest.mark.parametrize("kind", [threading.Thread, Overriding, lambda target: threading.Timer(0, target)])
def test_a_thread_works_for_the_run_that_started_it_to_its_end(kind: Any) -> None:
    go, found = threading.Event(), []

    def work() -> None:
        found.append(running())
        go.wait(20)
        found.append(running())

    context.set_only_run(A)
    thread = kind(target=work)
    thread.start()
    context.set_only_run(B)
    go.set()
    thread.join()
    assert found == [A, A]


def test_a_thread_of_a_thread_works_for_the_same_run() -> None:
    found: list[Run | None] = []

    def work() -> None:
        context.set_only_run(B)
        inner = threading.Thread(target=lambda: found.append(running()))
        inner.start()
        inner.join()

    context.set_only_run(A)
    outer = threading.Thread(target=work)
    outer.start()
    outer.join()
    assert found == [A]


def test_a_pool_of_threads_works_for_who_gives_it_work() -> None:
    with ThreadPoolExecutor(1) as pool:
        context.set_only_run(A)
        first = pool.submit(running).result()
        context.set_only_run(B)
        second = pool.submit(running).result()
    assert (first, second) == (A, B)


def test_a_thread_that_nobodys_run_started_works_for_the_only_one() -> None:
    go, found = threading.Event(), []

    def work() -> None:
        go.wait(20)
        found.append(running())

    thread = threading.Thread(target=work)
    thread.start()
    context.set_only_run(B)
    go.set()
    thread.join()
    assert found == [B]


def test_a_started_thread_does_not_hold_itself() -> None:
    context.set_only_run(A)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert "run" not in vars(thread)
