"""Request bodies that stayed in the frontend: the kernel fetches them when the adaptor reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from owt.kernel.calls.interrupts import Interrupts
from owt.wire.messages import FetchBody

INTERRUPT_CHECK = 0.1
"""Seconds after which a waiting thread other than the main one notices its interrupt."""


class BodyFetcher:
    """Requests to the frontend for the bodies of runs. Thread-safe."""

    def __init__(self, send: Callable[[FetchBody], None], interrupts: Interrupts) -> None:
        self._send = send
        self._interrupts = interrupts
        self._main = threading.main_thread().ident
        self._waiting: dict[str, list[Future[bytes | None]]] = {}

    def fetch(self, run: str) -> bytes:
        """Return the body of the run's request. Blocks until it arrives; an interrupt ends the wait.

        Raises RuntimeError if the run has ended, because the frontend has dropped the body then.
        """
        reply: Future[bytes | None] = Future()
        self._waiting.setdefault(run, []).append(reply)
        in_main = threading.get_ident() == self._main
        # An interrupt must not cut the frame short.
        allowed = in_main and self._interrupts.shield()
        try:
            self._send(FetchBody(run))
        finally:
            if allowed:
                self._interrupts.unshield(allowed)
        # A signal ends the wait of the main thread. Other threads are interrupted between two waits.
        while not wait([reply], None if in_main else INTERRUPT_CHECK).done:
            pass
        if (body := reply.result()) is None:
            raise RuntimeError("the body of the request is gone, because its call has ended")
        return body

    def on_body(self, run: str, body: bytes | None) -> None:
        """Hand a body to the threads that wait for it. Called in the control thread."""
        for reply in self._waiting.pop(run, ()):
            reply.set_result(body)
