"""Calls to another session, which must all succeed whatever a test does to the server."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Self

from owt.testing.live_server import LiveServer
from owt.testing.waiting import PATIENCE, wait_until


class Bystander:
    """Calls a session of its own, named `bystander`, from a thread, as long as the `with` block lasts.

        with Bystander(server) as other:
            ...  # what must not disturb others
        assert other.calls > 0

    Each call sends a number, one higher than the last, and wants twice as much back; `calls` counts those
    that got it. The block begins after the first. Leaving it raises AssertionError if an answer was wrong
    or did not come, or if there was none since the block began.
    """

    PAUSE = 0.01
    """Seconds between two calls, so that they disturb nobody either."""

    def __init__(self, server: LiveServer) -> None:
        self.calls = 0
        self._server = server
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._call_on, name="bystander")
        self._problem: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            wait_until(lambda: self.calls or self._problem)
        except BaseException:
            self._end()
            raise
        self._before = self.calls
        if self._problem is not None:
            self._end()
            self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: self.calls > self._before or self._problem)
        self._end()
        if kind is None:
            self._check()

    def _end(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _check(self) -> None:
        if (problem := self._problem) is not None:
            raise AssertionError(f"call {self.calls + 1} of the bystander: {problem}") from problem
        if self.calls == self._before:
            raise AssertionError("no call of the bystander was answered")

    def _call_on(self) -> None:
        import httpx

        try:
            # A connection of its own, which stays.
            with httpx.Client(base_url=self._server.url, timeout=PATIENCE, trust_env=False) as client:
                while not self._stopping.wait(self.PAUSE):
                    number = self.calls
                    code = "def run(n): return n * 2"
                    sent = {"code": code, "kwargs": {"n": number}, "session": "bystander"}
                    answer = client.post("/", json=sent)
                    assert (answer.status_code, answer.text) == (200, str(number * 2)), answer.text
                    self.calls += 1
        except BaseException as problem:
            self._problem = problem
