"""The Limiter port: one suite for the exact limiter on a real Valkey and for the local one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.memory.limiter import MemoryLimiter
from gateway.core.bucket import Algorithm, Charges, Limit
from tests.limiters import redis_limiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.ports import Limiter

HOUR_MS = 3_600_000
HOURLY = Limit("hourly", 5, HOUR_MS)
ALGORITHMS = pytest.mark.parametrize("algorithm", Algorithm)


@pytest.fixture(params=["redis", "memory"])
async def limiter(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Limiter]:
    if request.param == "memory":
        yield MemoryLimiter(lambda: time.time_ns() // 1_000_000)
    else:
        async with redis_limiter(redis_url) as limiter:
            yield limiter


async def admitted(limiter: Limiter, charges: Charges, times: int) -> int:
    answers = [await limiter.take(charges) for _ in range(times)]
    return sum(taken.admitted for taken in answers)


@ALGORITHMS
async def test_a_rested_key_gets_its_whole_capacity_and_no_more(limiter: Limiter, algorithm: Algorithm) -> None:
    charges = Charges("key", (replace(HOURLY, algorithm=algorithm),))
    answers = [await limiter.take(charges) for _ in range(7)]
    assert [taken.admitted for taken in answers] == [True] * 5 + [False] * 2
    assert [taken.standings[0].remaining for taken in answers] == [4, 3, 2, 1, 0, 0, 0]


@ALGORITHMS
async def test_many_callers_at_once_get_the_capacity_and_no_more(limiter: Limiter, algorithm: Algorithm) -> None:
    charges = Charges("key", (Limit("hourly", 70, HOUR_MS, algorithm),))
    answers = await asyncio.gather(*(limiter.take(charges) for _ in range(200)))
    assert sum(taken.admitted for taken in answers) == 70


@ALGORITHMS
async def test_subjects_do_not_share_a_bucket(limiter: Limiter, algorithm: Algorithm) -> None:
    limits = (replace(HOURLY, algorithm=algorithm),)
    for subject in ("one", "two", "address:192.0.2.1", "failed:192.0.2.1", "{odd}:hourly", "two:hourly"):
        assert await admitted(limiter, Charges(subject, limits), 6) == 5


async def test_limits_of_other_names_windows_and_algorithms_have_other_buckets(limiter: Limiter) -> None:
    for limit in (
        HOURLY,
        replace(HOURLY, name="budgets:1"),
        replace(HOURLY, window_ms=60_000 * 50),
        replace(HOURLY, algorithm=Algorithm.SLIDING_WINDOW),
    ):
        assert await admitted(limiter, Charges("key", (limit,)), 6) == 5


@ALGORITHMS
async def test_a_refusal_takes_no_token_from_any_bucket(limiter: Limiter, algorithm: Algorithm) -> None:
    large = Limit("large", 10, HOUR_MS, algorithm)
    small = Limit("small", 2, HOUR_MS, algorithm)
    assert await admitted(limiter, Charges("key", (large, small)), 8) == 2
    assert await admitted(limiter, Charges("key", (small, large)), 8) == 0
    assert await admitted(limiter, Charges("key", (large,)), 12) == 8


async def test_both_algorithms_may_stand_in_one_call(limiter: Limiter) -> None:
    charges = Charges("key", (Limit("a", 3, HOUR_MS), Limit("b", 5, HOUR_MS, Algorithm.SLIDING_WINDOW)))
    taken = await limiter.take(charges)
    assert [(standing.limit, standing.remaining) for standing in taken.standings] == [
        (charges.limits[0], 2),
        (charges.limits[1], 4),
    ]
    assert taken.tightest.limit == charges.limits[0]


@ALGORITHMS
async def test_a_changed_limit_keeps_the_tokens_clamped_to_the_new_capacity(
    limiter: Limiter, algorithm: Algorithm
) -> None:
    hundred = Charges("key", (Limit("hourly", 100, HOUR_MS, algorithm),))
    assert await admitted(limiter, hundred, 10) == 10
    assert await admitted(limiter, Charges("key", (Limit("hourly", 12, HOUR_MS, algorithm),)), 20) in (2, 12)


async def test_the_answer_tells_the_time_and_how_long_to_wait(limiter: Limiter) -> None:
    before = time.time() * 1000 - 1
    charges = Charges("key", (Limit("hourly", 1, HOUR_MS),))
    await limiter.take(charges)
    refused = await limiter.take(charges)
    assert before <= refused.now_ms <= time.time() * 1000 + 1
    [standing] = refused.standings
    assert standing.retry_in_ms == standing.full_in_ms
    assert HOUR_MS - 5000 < standing.retry_in_ms <= HOUR_MS


@ALGORITHMS
async def test_tokens_come_back_with_time(limiter: Limiter, algorithm: Algorithm) -> None:
    charges = Charges("key", (Limit("fast", 1, 60, algorithm),))
    assert (await limiter.take(charges)).admitted
    async with asyncio.timeout(5):
        while not (await limiter.take(charges)).admitted:
            await asyncio.sleep(0.01)


async def test_a_cancelled_caller_does_not_break_the_next_one(limiter: Limiter) -> None:
    charges = Charges("key", (HOURLY,))
    cancelled = asyncio.ensure_future(limiter.take(charges))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    taken = await limiter.take(charges)
    assert taken.admitted
    assert taken.standings[0].remaining in (3, 4)
