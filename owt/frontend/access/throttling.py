"""Delays after failed logins, by one counter of failures per address."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import time
from collections.abc import Awaitable, Callable, Hashable

from cachetools import TTLCache

from owt.errors import Busy

log = logging.getLogger("owt.auth")

FIRST_DELAY = 0.1
MAX_DELAY = 5.0
"""Delay after one failure, and the longest delay, in seconds. Each failure doubles the delay."""

RESET_AFTER = 300.0
"""Time without a failure after which the failures of an address no longer count, in seconds."""

MAX_PENDING = 16
"""Maximum number of pending attempts of one address."""

MAX_ADDRESSES = 10_000
"""Maximum number of addresses with a counter; the least recently changed one is dropped first."""


class TooManyAttempts(Busy):
    """An address has `MAX_PENDING` pending attempts."""

    status = 429
    title = "too many attempts"


class _Address:
    """Failures in a row and pending attempts of one address."""

    def __init__(self) -> None:
        self.failures = 0
        self.turn = asyncio.Lock()
        self.pending: dict[Hashable, asyncio.Task[bool]] = {}

    @property
    def delay(self) -> float:
        """Seconds before the next check. The exponent is bounded because floats are."""
        return min(FIRST_DELAY * 2 ** min(self.failures - 1, 30), MAX_DELAY) if self.failures else 0.0


class Throttle:
    """Serial checks of credentials per address, each after the delay of the address."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` and `sleep` use seconds; tests pass their own."""
        self._sleep = sleep
        self._addresses: TTLCache[str, _Address] = TTLCache(MAX_ADDRESSES, RESET_AFTER, timer=clock)
        self._tasks: set[asyncio.Task[bool]] = set()
        self._closed = False

    async def attempt(self, address: str, key: Hashable, check: Callable[[], Awaitable[bool]]) -> bool:
        """Return the result of `check`, which runs after the delay of `address`.

        The delay comes before the check, so a right guess is not answered earlier. Concurrent attempts with
        the same key share one check, so that a client may begin with many requests at once. A cancelled
        caller does not cancel the check: the attempt counts. Raises `TooManyAttempts`, and `Busy` once the
        throttle is closed.
        """
        name = network(address)
        state = self._addresses.setdefault(name, _Address())
        task = state.pending.get(key)
        if task is None and not self._closed:
            if len(state.pending) >= MAX_PENDING:
                delay = math.ceil(max(state.delay, 1.0))
                problem = f"too many failed logins from your address; try again in {delay} s"
                raise TooManyAttempts(problem, retry_after=delay)
            task = state.pending[key] = asyncio.get_running_loop().create_task(
                self._check(state, name, check)
            )
            self._tasks.add(task)
            task.add_done_callback(lambda _: state.pending.pop(key, None))
            task.add_done_callback(self._tasks.discard)
        if task is not None:
            await asyncio.wait([task])
        if task is None or task.cancelled():
            raise Busy("the server is shutting down and accepts no new logins")
        return task.result()

    def close(self) -> None:
        """Cancel pending attempts and refuse new ones."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    async def _check(self, state: _Address, name: str, check: Callable[[], Awaitable[bool]]) -> bool:
        async with state.turn:
            if state.failures:
                await self._sleep(state.delay)
            passed = await check()
            state.failures = 0 if passed else state.failures + 1
            # Stored again, so that RESET_AFTER counts from this attempt.
            self._addresses[name] = state
        if not passed:
            log.warning("login from %s failed (consecutive failures: %d)", name, state.failures)
        return passed


def network(address: str) -> str:
    """Return the key of the counter for `address`: an IPv6 address counts by its /64 network, all of which
    one machine may have (RFC 4291, section 2.5.4), any other address alone."""
    try:
        ipv6 = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ipv6.ipv4_mapped is not None:
        return str(ipv6.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ipv6) >> 64 << 64, 64)))
