"""Attempts to come in with credentials that were not seen before: one after another, ever slower."""

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
LONGEST_DELAY = 5.0
"""Seconds: the delay after one failure, and the longest; each failure doubles it."""

FORGOTTEN = 300.0
"""Seconds after the last failure of an address in which its failures are forgotten."""

MOST_WAITING = 16
"""Attempts of one address that may wait for their turn."""

MOST_ADDRESSES = 10_000
"""Addresses whose failures are known; the one that was seen least recently is forgotten first."""


class TooMany(Exception):
    """As many attempts of one address wait as may. `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"{MOST_WAITING} attempts wait already")


def _ending() -> Busy:
    return Busy("the server is ending; it lets nobody in whom it does not know yet")


class _Visitor:
    """An address that has attempts waiting, or failures behind it."""

    def __init__(self) -> None:
        self.failures = 0
        self.turn = asyncio.Lock()
        self.waiting: dict[Hashable, asyncio.Task[bool]] = {}

    @property
    def delay(self) -> float:
        """Seconds before the next check. The exponent is bounded: floats are."""
        return min(FIRST_DELAY * 2 ** min(self.failures - 1, 30), LONGEST_DELAY) if self.failures else 0.0


class Attempts:
    """Makes attempts, those of one address in turn, each after a delay that its failures have earned."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` and `sleep` are in seconds; tests bring theirs."""
        self._sleep = sleep
        self._visitors: TTLCache[str, _Visitor] = TTLCache(MOST_ADDRESSES, FORGOTTEN, timer=clock)
        self._waiting: set[asyncio.Task[bool]] = set()
        self._closed = False

    async def make(self, address: str, key: Hashable, check: Callable[[], Awaitable[bool]]) -> bool:
        """Whether the check succeeds; after a delay if the address has failed before.

        The check comes after the delay, so that nobody learns sooner of a right guess. Equal keys of one
        address are one attempt: a program that begins with many calls at once waits for one check. An
        attempt that was begun counts, also when its client has gone. Raises `TooMany`, and `Busy` once this
        is closed.
        """
        if self._closed:
            raise _ending()
        place = network(address)
        visitor = self._visitors.get(place)
        if visitor is None:
            self._visitors[place] = visitor = _Visitor()
        attempt = visitor.waiting.get(key)
        if attempt is None:
            if len(visitor.waiting) >= MOST_WAITING:
                raise TooMany(math.ceil(max(visitor.delay, 1.0)))
            attempt = asyncio.get_running_loop().create_task(self._attempt(visitor, place, check))
            visitor.waiting[key] = attempt
            self._waiting.add(attempt)
            attempt.add_done_callback(lambda _: visitor.waiting.pop(key, None))
            attempt.add_done_callback(self._waiting.discard)
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if self._closed and attempt.cancelled():
                raise _ending() from None
            raise

    def close(self) -> None:
        """End the attempts that wait, and make no more."""
        self._closed = True
        for attempt in self._waiting:
            attempt.cancel()

    async def _attempt(self, visitor: _Visitor, place: str, check: Callable[[], Awaitable[bool]]) -> bool:
        async with visitor.turn:
            if visitor.failures:
                await self._sleep(visitor.delay)
            succeeded = await check()
            visitor.failures = 0 if succeeded else visitor.failures + 1
            # Put there again: the time until it is forgotten begins anew.
            self._visitors[place] = visitor
        if not succeeded:
            log.warning("%s failed to say who it is (%d in a row)", place, visitor.failures)
        return succeeded


def network(address: str) -> str:
    """Whose attempts are counted together: an IPv4 address; the /64 of an IPv6 address, all of which
    one machine may have (RFC 4291, section 2.5.4); anything else as it is."""
    if ":" not in address:
        return address
    try:
        whole = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(whole) >> 64 << 64, 64)))
