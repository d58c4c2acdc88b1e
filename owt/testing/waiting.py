"""Waiting without guessing how long: for a condition, and for an event loop to come to rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE = 60.0
"""Seconds after which a test gives up waiting."""


def wait_until(condition: Callable[[], T], timeout: float = PATIENCE) -> T:
    """Call `condition` until it returns a true value, and return that value.

    Raises TimeoutError, with the last value, after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still {value!r} after {timeout:g} s")
        time.sleep(0.01)
    return value


async def settle(steps: int = 10) -> None:
    """Give the event loop this many steps, enough for everything that waits for no timer and no I/O."""
    for _ in range(steps):
        await asyncio.sleep(0)


def async_test(function: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine function as a test, in an event loop of its own."""

    @wraps(function)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(function(*args, **kwargs))

    return test
