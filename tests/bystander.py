"""Calls to a session of its own, all the while something happens to others."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from owt.testing import LiveServer

PAUSE = 0.005


class Bystander:
    """While the block runs, a thread calls the session `bystander`, one call after the other; each
    sends another n and expects n * 2. Raises AssertionError at the end if an answer was not right.

        with Bystander(server) as other:
            ...
        assert other.calls > 0
    """

    def __init__(self, server: LiveServer) -> None:
        self.calls = 0
        self._server = server
        self._wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="bystander")

    def _work(self) -> None:
        n = 0
        while not self._wrong and not (self._over.is_set() and self.calls):
            n += 1
            try:
                answer = self._server.call(
                    "def run(n): return n * 2", session="bystander", kwargs=repr({"n": n})
                )
            except Exception as error:
                self._wrong.append(f"call {n}: {error!r}")
            else:
                if (answer.status_code, answer.text) == (200, str(n * 2)):
                    self.calls += 1
                else:
                    self._wrong.append(f"call {n}: {answer.status_code} {answer.text[:500]!r}")
            self._over.wait(PAUSE)

    def __enter__(self) -> Self:
        # Its kernel is there before anything happens.
        self._server.call("1", session="bystander").raise_for_status()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is None and self._wrong:
            raise AssertionError(f"another session was disturbed, after {self.calls} calls: {self._wrong[0]}")
