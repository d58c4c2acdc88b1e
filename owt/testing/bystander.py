"""Calls to another session that must all succeed, whatever a test does to the server."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Self

from owt.testing.live_server import LiveServer
from owt.testing.waiting import PATIENCE, wait_until


class Bystander:
    """Thread that calls a session of its own, named `bystander`, until the `with` block ends.

        with Bystander(server) as bystander:
            ...  # what must not disturb other sessions
        assert bystander.calls > 0

    Each call sends the next number and expects twice its value; `calls` counts the correct responses. The
    block begins after the first one. Leaving it raises AssertionError if a response was wrong or
    missing, or if there was none since the block began.
    """

    PAUSE = 0.01
    """Seconds between two calls, which limits the load."""

    def __init__(self, server: LiveServer) -> None:
        self.calls = 0
        self._server = server
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._call_repeatedly, name="bystander")
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

    def _call_repeatedly(self) -> None:
        import httpx

        try:
            # One connection for all calls.
            with httpx.Client(base_url=self._server.url, timeout=PATIENCE, trust_env=False) as client:
                while not self._stopping.wait(self.PAUSE):
                    number = self.calls
                    code = "def run(n): return n * 2"
                    request = {"code": code, "kwargs": {"n": number}, "session": "bystander"}
                    response = client.post("/", json=request)
                    assert (response.status_code, response.text) == (200, str(number * 2)), response.text
                    self.calls += 1
        except BaseException as problem:
            self._problem = problem
