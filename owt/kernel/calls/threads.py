"""Threads, and which run each of them works for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

from owt.kernel.calls.context import Run, current, running


def follow() -> None:
    """From now on have each thread, and what a pool of threads is given, work for the run that began
    it, also when that has ended: what it prints is no other run's.

    From Python 3.14 on threads can inherit their context; before, they begin with an empty one.
    """
    start: Any = threading.Thread.start
    submit: Any = ThreadPoolExecutor.submit

    @wraps(start)
    def started(self: threading.Thread) -> None:
        run = running()
        if run is not None:
            work = _working_for(run, self.run)

            def in_thread() -> None:
                # Or the thread would hold itself.
                vars(self).pop("run", None)
                work()

            self.run = in_thread  # type: ignore[method-assign]
        start(self)

    @wraps(submit)
    def submitted(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        run = running()
        return submit(self, fn if run is None else _working_for(run, fn), *args, **kwargs)

    setattr(threading.Thread, "start", started)  # noqa: B010
    setattr(ThreadPoolExecutor, "submit", submitted)  # noqa: B010


def _working_for(run: Run, function: Callable[..., Any]) -> Callable[..., Any]:
    def work(*args: Any, **kwargs: Any) -> Any:
        token = current.set(run)
        try:
            return function(*args, **kwargs)
        finally:
            current.reset(token)

    return work
