"""owt.kernel.calls.request_body: bodies that the kernel fetches from the frontend."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from owt.kernel.calls.interrupts import InMainThread, Interrupts
from owt.kernel.calls.request_body import BodyFetcher
from owt.testing import wait_until
from owt.wire.messages import FetchBody


class Frontend:
    """Frontend that answers each request for a body in another thread."""

    def __init__(self, bodies: dict[str, bytes | None]) -> None:
        self.requests: list[FetchBody] = []
        self.interrupts = Interrupts(lambda target: None)
        self.fetcher = BodyFetcher(self._send, self.interrupts)
        self._bodies = bodies

    def _send(self, message: FetchBody) -> None:
        self.requests.append(message)
        if message.run in self._bodies:
            body = self._bodies[message.run]
            threading.Timer(0.001, self.fetcher.on_body, (message.run, body)).start()


def test_fetch_returns_the_body_of_the_run() -> None:
    frontend = Frontend({"a": b"a body", "b": b"another"})
    assert frontend.fetcher.fetch("a") == b"a body"
    assert frontend.fetcher.fetch("b") == b"another"
    assert frontend.requests == [FetchBody("a"), FetchBody("b")]


def test_fetch_in_several_threads_returns_each_body() -> None:
    frontend = Frontend({str(number): b"%d" % number for number in range(20)})
    with ThreadPoolExecutor(8) as threads:
        bodies = list(threads.map(frontend.fetcher.fetch, map(str, range(20))))
    assert bodies == [b"%d" % number for number in range(20)]


def test_fetch_raises_an_error_if_the_run_has_ended() -> None:
    with pytest.raises(RuntimeError, match="the body of the request is gone, because its call has ended"):
        Frontend({"a": None}).fetcher.fetch("a")


def test_a_body_that_no_thread_waits_for_is_dropped() -> None:
    frontend = Frontend({"a": b"requested"})
    frontend.fetcher.on_body("a", b"late")
    assert frontend.fetcher.fetch("a") == b"requested"
    assert frontend.requests == [FetchBody("a")]


def test_an_interrupt_ends_the_wait_for_a_body(sigint: None) -> None:
    frontend = Frontend({})
    interrupts = frontend.interrupts
    interrupts.install()
    interrupts.begin("a")
    ended = threading.Event()

    def interrupt() -> None:
        wait_until(lambda: frontend.requests)
        # A signal that arrives just before the main thread starts to wait does not end the wait.
        while not ended.wait(0.01):
            interrupts.interrupt("a")

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt), InMainThread(interrupts, None):  # type: ignore[arg-type]
            frontend.fetcher.fetch("a")
    finally:
        ended.set()
        thread.join()
    assert frontend.requests == [FetchBody("a")]
