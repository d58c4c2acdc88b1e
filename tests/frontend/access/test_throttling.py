"""owt.frontend.access.throttling: those who guess wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from played import scene, settle

from owt.errors import Busy
from owt.frontend.access.throttling import FORGOTTEN, LONGEST_DELAY, MOST_WAITING, Attempts, TooMany, network


class Night:
    """Time that passes when somebody sleeps, or when the test says so. Held, nobody wakes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._on = asyncio.Event()
        self._on.set()

    def hold(self) -> None:
        self._on.clear()

    def go_on(self) -> None:
        self._on.set()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._on.wait()
        self.now += seconds

    def attempts(self) -> Attempts:
        return Attempts(clock=lambda: self.now, sleep=self.sleep)


class Check:
    """A check that says what it is told to, and counts."""

    def __init__(self, right: bool = False) -> None:
        self.right = right
        self.made = 0

    async def __call__(self) -> bool:
        self.made += 1
        return self.right


WRONG, RIGHT = Check(), Check(True)


async def fail(attempts: Attempts, times: int, address: str = "10.0.0.1") -> None:
    for n in range(times):
        assert not await attempts.make(address, f"failure {n}", WRONG)


@scene
async def test_each_failure_of_an_address_doubles_its_delay_up_to_a_limit() -> None:
    night = Night()
    await fail(night.attempts(), 9)
    assert night.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert max(night.slept) == LONGEST_DELAY


@scene
async def test_the_delay_stays_bounded_after_very_many_failures() -> None:
    night = Night()
    attempts = night.attempts()
    await fail(attempts, 2000)
    assert night.slept[-1] == LONGEST_DELAY


@scene
async def test_a_right_guess_is_checked_only_after_the_delay() -> None:
    night, check = Night(), Check(True)
    attempts = night.attempts()
    await fail(attempts, 3)
    night.hold()
    guess = asyncio.create_task(attempts.make("10.0.0.1", "right", check))
    await settle()
    assert (guess.done(), check.made) == (False, 0)
    night.go_on()
    assert await guess
    assert check.made == 1


@scene
async def test_the_attempts_of_one_address_are_made_one_after_another() -> None:
    night = Night()
    attempts = night.attempts()
    begun = [asyncio.create_task(attempts.make("10.0.0.1", n, WRONG)) for n in range(4)]
    assert await asyncio.gather(*begun) == [False] * 4
    # They came at once, and each but the first waits for what those before it have earned.
    assert night.slept == [0.1, 0.2, 0.4]


@scene
async def test_a_success_forgives_the_address() -> None:
    night = Night()
    attempts = night.attempts()
    await fail(attempts, 5)
    assert await attempts.make("10.0.0.1", "right", RIGHT)
    night.slept.clear()
    await fail(attempts, 2)
    assert night.slept == [0.1]


@scene
async def test_failures_are_forgotten_after_minutes_without_one() -> None:
    night = Night()
    attempts = night.attempts()
    await fail(attempts, 5)
    night.now += FORGOTTEN - 1
    await fail(attempts, 1)
    assert night.slept[-1] == 1.6
    night.slept.clear()
    night.now += FORGOTTEN + 1
    await fail(attempts, 1)
    assert night.slept == []


@scene
async def test_one_address_does_not_slow_another() -> None:
    night = Night()
    attempts = night.attempts()
    await fail(attempts, 5)
    night.slept.clear()
    assert await attempts.make("10.0.0.2", "right", RIGHT)
    assert night.slept == []


@scene
async def test_only_some_attempts_of_an_address_may_wait() -> None:
    night = Night()
    attempts = night.attempts()
    await fail(attempts, 5)
    night.hold()
    waiting = [asyncio.create_task(attempts.make("10.0.0.1", n, WRONG)) for n in range(MOST_WAITING)]
    await settle()
    check = Check(True)
    with pytest.raises(TooMany) as caught:
        await attempts.make("10.0.0.1", "one more", check)
    assert caught.value.retry_after == 2
    assert check.made == 0
    assert await attempts.make("10.0.0.2", "elsewhere", RIGHT)
    night.go_on()
    assert await asyncio.gather(*waiting) == [False] * MOST_WAITING
    await settle()
    assert await attempts.make("10.0.0.1", "one more", check)


@scene
async def test_equal_attempts_of_an_address_are_one() -> None:
    night, check = Night(), Check(True)
    attempts = night.attempts()
    begun = [asyncio.create_task(attempts.make("10.0.0.1", "same", check)) for _ in range(100)]
    assert await asyncio.gather(*begun) == [True] * 100
    assert check.made == 1


@scene
async def test_an_attempt_counts_also_when_its_client_has_gone() -> None:
    night = Night()
    attempts = night.attempts()
    await fail(attempts, 1)
    night.hold()
    guess = asyncio.create_task(attempts.make("10.0.0.1", "guess", WRONG))
    await settle()
    guess.cancel()
    await settle()
    night.go_on()
    await settle()
    await fail(attempts, 1)
    assert night.slept == [0.1, 0.2]


@scene
async def test_at_the_end_nobody_waits_any_longer() -> None:
    night = Night()
    attempts = night.attempts()
    await fail(attempts, 1)
    night.hold()
    waiting = [asyncio.create_task(attempts.make("10.0.0.1", n % 2, WRONG)) for n in range(4)]
    await settle()
    attempts.close()
    for each in (*waiting, attempts.make("10.0.0.2", "new", RIGHT)):
        with pytest.raises(Busy, match="the server is ending"):
            await each


@scene
async def test_the_number_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("owt.frontend.access.throttling.MOST_ADDRESSES", 100)
    night = Night()
    attempts = night.attempts()
    for n in range(101):
        await attempts.make(f"10.0.0.{n}", "x", WRONG)
    assert night.slept == []
    # The newest is known, the oldest is not.
    await attempts.make("10.0.0.100", "y", WRONG)
    assert night.slept == [0.1]
    await attempts.make("10.0.0.0", "y", WRONG)
    assert night.slept == [0.1]


@pytest.mark.parametrize(
    ("addresses", "together"),
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
def test_addresses_that_one_machine_may_have_are_one(addresses: Iterable[str], together: bool) -> None:
    assert (len({network(address) for address in addresses}) == 1) == together
