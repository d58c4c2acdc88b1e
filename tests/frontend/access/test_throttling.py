"""owt.frontend.access.throttling: delays after failed logins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from owt.errors import Busy
from owt.frontend.access.throttling import (
    MAX_DELAY,
    MAX_PENDING,
    RESET_AFTER,
    Throttle,
    TooManyAttempts,
    network,
)
from owt.testing import async_test, settle


class FakeTime:
    """Clock that `sleep` and the test advance. While held, no sleep ends."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._released = asyncio.Event()
        self._released.set()

    def hold(self) -> None:
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._released.wait()
        self.now += seconds

    def throttle(self) -> Throttle:
        return Throttle(clock=lambda: self.now, sleep=self.sleep)


class Check:
    """Check with a fixed result that counts its calls."""

    def __init__(self, result: bool = False) -> None:
        self.result = result
        self.count = 0

    async def __call__(self) -> bool:
        self.count += 1
        return self.result


WRONG, RIGHT = Check(), Check(True)


async def fail(throttle: Throttle, times: int, address: str = "10.0.0.1") -> None:
    for n in range(times):
        assert not await throttle.attempt(address, f"failure {n}", WRONG)


@async_test
async def test_each_failure_of_an_address_doubles_its_delay_up_to_a_limit() -> None:
    time = FakeTime()
    await fail(time.throttle(), 9)
    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert max(time.slept) == MAX_DELAY


@async_test
async def test_the_delay_stays_bounded_after_very_many_failures() -> None:
    time = FakeTime()
    throttle = time.throttle()
    await fail(throttle, 2000)
    assert time.slept[-1] == MAX_DELAY


@async_test
async def test_a_right_guess_is_checked_only_after_the_delay() -> None:
    time, check = FakeTime(), Check(True)
    throttle = time.throttle()
    await fail(throttle, 3)
    time.hold()
    guess = asyncio.create_task(throttle.attempt("10.0.0.1", "right", check))
    await settle()
    assert (guess.done(), check.count) == (False, 0)
    time.release()
    assert await guess
    assert check.count == 1


@async_test
async def test_attempts_of_one_address_run_one_after_another() -> None:
    time = FakeTime()
    throttle = time.throttle()
    begun = [asyncio.create_task(throttle.attempt("10.0.0.1", n, WRONG)) for n in range(4)]
    assert await asyncio.gather(*begun) == [False] * 4
    # All began at once; each except the first waits for the delay of the failures before it.
    assert time.slept == [0.1, 0.2, 0.4]


@async_test
async def test_a_success_resets_the_failures_of_the_address() -> None:
    time = FakeTime()
    throttle = time.throttle()
    await fail(throttle, 5)
    assert await throttle.attempt("10.0.0.1", "right", RIGHT)
    time.slept.clear()
    await fail(throttle, 2)
    assert time.slept == [0.1]


@async_test
async def test_failures_expire_after_minutes_without_one() -> None:
    time = FakeTime()
    throttle = time.throttle()
    await fail(throttle, 5)
    time.now += RESET_AFTER - 1
    await fail(throttle, 1)
    assert time.slept[-1] == 1.6
    time.slept.clear()
    time.now += RESET_AFTER + 1
    await fail(throttle, 1)
    assert time.slept == []


@async_test
async def test_failures_of_one_address_do_not_delay_another() -> None:
    time = FakeTime()
    throttle = time.throttle()
    await fail(throttle, 5)
    time.slept.clear()
    assert await throttle.attempt("10.0.0.2", "right", RIGHT)
    assert time.slept == []


@async_test
async def test_the_number_of_pending_attempts_of_an_address_is_bounded() -> None:
    time = FakeTime()
    throttle = time.throttle()
    await fail(throttle, 5)
    time.hold()
    waiting = [asyncio.create_task(throttle.attempt("10.0.0.1", n, WRONG)) for n in range(MAX_PENDING)]
    await settle()
    check = Check(True)
    with pytest.raises(TooManyAttempts) as caught:
        await throttle.attempt("10.0.0.1", "one more", check)
    assert caught.value.retry_after == 2
    assert check.count == 0
    assert await throttle.attempt("10.0.0.2", "elsewhere", RIGHT)
    time.release()
    assert await asyncio.gather(*waiting) == [False] * MAX_PENDING
    await settle()
    assert await throttle.attempt("10.0.0.1", "one more", check)


@async_test
async def test_concurrent_attempts_with_one_key_share_one_check() -> None:
    time, check = FakeTime(), Check(True)
    throttle = time.throttle()
    begun = [asyncio.create_task(throttle.attempt("10.0.0.1", "same", check)) for _ in range(100)]
    assert await asyncio.gather(*begun) == [True] * 100
    assert check.count == 1


@async_test
async def test_an_attempt_counts_after_its_caller_was_cancelled() -> None:
    time = FakeTime()
    throttle = time.throttle()
    await fail(throttle, 1)
    time.hold()
    guess = asyncio.create_task(throttle.attempt("10.0.0.1", "guess", WRONG))
    await settle()
    guess.cancel()
    await settle()
    time.release()
    await settle()
    await fail(throttle, 1)
    assert time.slept == [0.1, 0.2]


@async_test
async def test_close_ends_pending_attempts_and_refuses_new_ones() -> None:
    time = FakeTime()
    throttle = time.throttle()
    await fail(throttle, 1)
    time.hold()
    waiting = [asyncio.create_task(throttle.attempt("10.0.0.1", n % 2, WRONG)) for n in range(4)]
    await settle()
    throttle.close()
    for attempt in (*waiting, throttle.attempt("10.0.0.2", "new", RIGHT)):
        with pytest.raises(Busy, match="the server is shutting down"):
            await attempt


@async_test
async def test_the_number_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("owt.frontend.access.throttling.MAX_ADDRESSES", 100)
    time = FakeTime()
    throttle = time.throttle()
    for n in range(101):
        await throttle.attempt(f"10.0.0.{n}", "x", WRONG)
    assert time.slept == []
    # The newest address still has its counter, the oldest one has not.
    await throttle.attempt("10.0.0.100", "y", WRONG)
    assert time.slept == [0.1]
    await throttle.attempt("10.0.0.0", "y", WRONG)
    assert time.slept == [0.1]


@pytest.mark.parametrize(
    ("addresses", "shared"),
    [
        (("10.0.0.1", "10.0.0.2"), False),
        (("2001:db8:1:2::1", "2001:db8:1:2:ffff::2"), True),
        (("2001:db8:1:2::1", "2001:db8:1:3::1"), False),
        (("::ffff:10.0.0.1", "10.0.0.1"), True),
        (("fe80::1%eth0", "fe80::2%eth0"), True),
        (("", ""), True),
        (("a:b", "a:c"), False),
    ],
)
def test_addresses_of_one_machine_share_a_counter(addresses: Iterable[str], shared: bool) -> None:
    assert (len({network(address) for address in addresses}) == 1) == shared
