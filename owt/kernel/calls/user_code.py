"""Marking the stretches in which user code runs."""

from __future__ import annotations

import asyncio
from types import TracebackType

from owt.kernel.calls.interrupts import Interrupts


class InMainThread:
    """`with` this, user code runs in the main thread: it may be interrupted, and it does not find
    itself inside a running event loop, so that `asyncio.run` works in a plain adaptor as it does in
    a script."""

    def __init__(self, interrupts: Interrupts, loop: asyncio.AbstractEventLoop) -> None:
        self._interrupts = interrupts
        self._loop = loop

    def __enter__(self) -> None:
        self._interrupts.enter()
        asyncio._set_running_loop(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupts.leave()
        asyncio._set_running_loop(self._loop)


class InOtherThread:
    """`with` this, user code runs in a thread of the run's own."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


UserCode = InMainThread | InOtherThread
