"""Driving a coroutine step by step, so that each of its steps can be marked as user code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any


class Steps:
    """Awaits an awaitable of the user's: calls `enter` before and `leave` after each of its steps.

    A KeyboardInterrupt or SystemExit in a step would end the event loop (asyncio re-raises both);
    it comes out as `Stopped` instead, with the original as its cause.
    """

    def __init__(
        self, awaitable: Awaitable[Any], enter: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        self._awaitable = awaitable
        self._enter = enter
        self._leave = leave

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._awaitable.__await__()
        # A plain iterator may lack these; PEP 380 says what `yield from` then does.
        send: Callable[[Any], Any] = getattr(steps, "send", lambda _: next(steps))
        throw: Callable[[BaseException], Any] = getattr(steps, "throw", _throw)
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                self._enter()
                try:
                    waiting_for = send(value) if error is None else throw(error)
                finally:
                    self._leave()
            except StopIteration as stop:
                return stop.value
            except (KeyboardInterrupt, SystemExit) as stopped:
                self._leave()
                raise Stopped(stopped) from stopped
            try:
                value, error = (yield waiting_for), None
            except GeneratorExit:
                getattr(steps, "close", lambda: None)()
                raise
            except BaseException as thrown:
                value, error = None, thrown


def _throw(error: BaseException) -> Any:
    raise error


class Stopped(Exception):
    """A coroutine's step ended with KeyboardInterrupt or SystemExit."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(repr(cause))
        self.cause = cause
