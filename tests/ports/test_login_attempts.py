"""The LoginAttempts port: one suite for attempts in a real Valkey and for those of one worker."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.memory.attempts import MemoryLoginAttempts
from gateway.adapters.redis.attempts import RedisLoginAttempts
from gateway.core.attempts import Attempt, AttemptLimits, Ending

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.core.attempts import Exceeded
    from gateway.ports import LoginAttempts

WINDOW_MS = 60_000
LIMITS = AttemptLimits(pair_max=3, address_max=7, window_ms=WINDOW_MS, lease_ms=20_000)
SHORT = AttemptLimits(pair_max=3, address_max=7, window_ms=150, lease_ms=150)
_ids = (str(number) for number in itertools.count(1))


@dataclass
class Guesser:
    """Makes attempts, from one address unless another is given."""

    attempts: LoginAttempts

    async def begin(self, email: str = "ada", address: str = "192.0.2.1") -> tuple[Attempt, Exceeded | None]:
        attempt = Attempt(next(_ids), address, email)
        return attempt, await self.attempts.begin(attempt)

    async def guess(
        self, ending: Ending = Ending.FAILED, email: str = "ada", address: str = "192.0.2.1"
    ) -> Exceeded | None:
        attempt, exceeded = await self.begin(email, address)
        if exceeded is None:
            await self.attempts.end(attempt, ending)
        return exceeded


@pytest.fixture(params=["redis", "memory"])
async def make(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Callable[[AttemptLimits], Guesser]]:
    opened: list[RedisLoginAttempts] = []

    def make(limits: AttemptLimits) -> Guesser:
        if request.param == "memory":
            return Guesser(MemoryLoginAttempts(limits, lambda: time.monotonic_ns() // 1_000_000))
        # A generous budget: the machine is shared.
        opened.append(RedisLoginAttempts(redis_url, 5.0, limits))
        return Guesser(opened[-1])

    yield make
    for attempts in opened:
        await attempts.close()


@pytest.fixture
def guesser(make: Callable[[AttemptLimits], Guesser]) -> Guesser:
    return make(LIMITS)


async def test_a_pair_may_fail_as_often_as_its_limit_and_no_more(guesser: Guesser) -> None:
    assert [await guesser.guess() for _ in range(3)] == [None] * 3
    exceeded = await guesser.guess()
    assert exceeded is not None
    assert exceeded.limit == 3
    assert WINDOW_MS - 10_000 < exceeded.retry_in_ms <= WINDOW_MS


async def test_a_refused_attempt_does_not_count(guesser: Guesser) -> None:
    for _ in range(20):
        await guesser.guess()
    assert await guesser.guess(email="bob") is None


async def test_an_address_may_fail_as_often_as_its_limit_whatever_the_e_mail(guesser: Guesser) -> None:
    assert [await guesser.guess(email=str(number)) for number in range(7)] == [None] * 7
    exceeded = await guesser.guess(email="another")
    assert exceeded is not None
    assert exceeded.limit == 7


async def test_failures_from_one_address_lock_nobody_out_elsewhere(guesser: Guesser) -> None:
    for _ in range(20):
        await guesser.guess()
    assert await guesser.guess(address="192.0.2.2") is None


async def test_a_success_clears_its_pair_and_nothing_else_of_its_address(guesser: Guesser) -> None:
    await guesser.guess()
    await guesser.guess()
    assert await guesser.guess(Ending.SUCCEEDED) is None
    assert [await guesser.guess() for _ in range(3)] == [None] * 3
    assert await guesser.guess() is not None
    # Five failures count for the address: the success took no place of its own, and gave none back.
    assert [await guesser.guess(email="bob") for _ in range(2)] == [None] * 2
    assert await guesser.guess(email="carol") is not None


async def test_successes_are_not_limited(guesser: Guesser) -> None:
    assert [await guesser.guess(Ending.SUCCEEDED) for _ in range(20)] == [None] * 20


async def test_an_attempt_that_could_not_be_judged_does_not_count(guesser: Guesser) -> None:
    assert [await guesser.guess(Ending.UNJUDGED) for _ in range(20)] == [None] * 20
    assert [await guesser.guess() for _ in range(3)] == [None] * 3


async def test_fifty_attempts_at_once_do_not_exceed_the_limit(guesser: Guesser) -> None:
    begun = await asyncio.gather(*(guesser.begin() for _ in range(50)))
    assert sum(exceeded is None for _, exceeded in begun) == 3


async def test_who_waits_only_for_attempts_under_way_is_told_a_short_time(guesser: Guesser) -> None:
    for _ in range(3):
        await guesser.begin()
    _, exceeded = await guesser.begin()
    assert exceeded is not None
    assert exceeded.retry_in_ms <= LIMITS.lease_ms


async def test_a_failure_counts_for_its_window_and_an_attempt_that_never_ends_for_its_lease(
    make: Callable[[AttemptLimits], Guesser],
) -> None:
    guesser = make(SHORT)
    for fill in (guesser.guess, guesser.begin):
        async with asyncio.timeout(10):
            # On a busy machine the first may be over before the last has begun.
            while await guesser.guess() is None:
                await fill()
            while await guesser.guess() is not None:
                await asyncio.sleep(0.01)


async def test_a_failure_that_is_only_noted_counts_too(guesser: Guesser) -> None:
    for _ in range(3):
        await guesser.attempts.end(Attempt(next(_ids), "192.0.2.1", "ada"), Ending.FAILED)
    assert await guesser.guess() is not None
