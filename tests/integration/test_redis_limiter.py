"""The exact limiter while Valkey is killed, paused, flushed, full or read-only (F01-F09), and its exactness (F45)."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from gateway.adapters.redis.limiter import PREPARED_MAX, SLOW_CALLS_MAX, RedisLimiter
from gateway.core.bucket import Algorithm, Charges, Limit
from gateway.ports import LimiterDown
from tests.limiters import BUDGET_S, eventually, redis_limiter

if TYPE_CHECKING:
    from gateway.embedded.valkey import EmbeddedValkey

HOUR_MS = 3_600_000
CHARGES = Charges("key", (Limit("hourly", 1000, HOUR_MS),))
AT_ONCE_S = 0.02


async def command(url: str, *words: Any) -> None:
    async with Redis.from_url(url) as client:
        await client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py has no type for it


async def failure_s(limiter: RedisLimiter) -> float:
    """Give how long a call took to fail."""
    began = time.monotonic()
    with pytest.raises(LimiterDown):
        await limiter.take(CHARGES)
    return time.monotonic() - began


async def test_a_paused_server_costs_five_callers_the_budget_and_the_others_nothing(valkey: EmbeddedValkey) -> None:
    async with redis_limiter(valkey.url, BUDGET_S) as limiter:
        valkey.child.send(signal.SIGSTOP)
        for _ in range(SLOW_CALLS_MAX):
            assert limiter.up
            assert BUDGET_S <= await failure_s(limiter) < BUDGET_S + 0.2
        await eventually(lambda: not limiter.up)
        for _ in range(20):
            assert await failure_s(limiter) < AT_ONCE_S
        valkey.child.send(signal.SIGCONT)
        await eventually(lambda: limiter.up)
        assert (await limiter.take(CHARGES)).admitted


async def test_many_callers_at_once_open_the_breaker_together(valkey: EmbeddedValkey) -> None:
    async with redis_limiter(valkey.url, BUDGET_S) as limiter:
        valkey.child.send(signal.SIGSTOP)
        began = time.monotonic()
        results = await asyncio.gather(*(limiter.take(CHARGES) for _ in range(50)), return_exceptions=True)
        assert {type(result) for result in results} == {LimiterDown}
        assert time.monotonic() - began < BUDGET_S + 0.2
        await eventually(lambda: not limiter.up)


async def test_a_killed_server_fails_at_once_and_is_found_again(valkey: EmbeddedValkey) -> None:
    async with redis_limiter(valkey.url) as limiter:
        assert (await limiter.take(CHARGES)).admitted
        valkey.child.kill()
        assert await valkey.child.ended(2)
        await eventually(lambda: not limiter.up)
        assert await failure_s(limiter) < AT_ONCE_S
        await valkey.start()
        await eventually(lambda: limiter.up, timeout_s=2.0)
        assert (await limiter.take(CHARGES)).standings[0].remaining == 999


async def test_a_server_that_comes_after_the_gateway_is_found(valkey: EmbeddedValkey) -> None:
    await valkey.stop()
    limiter = RedisLimiter(valkey.url, BUDGET_S)
    running = asyncio.create_task(limiter.run())
    assert await failure_s(limiter) < AT_ONCE_S
    await valkey.start()
    await eventually(lambda: limiter.up, timeout_s=2.0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not limiter.up


async def test_a_restarted_server_leaves_one_connection(valkey: EmbeddedValkey) -> None:
    async with redis_limiter(valkey.url) as limiter:
        for _ in range(3):
            await valkey.stop()
            await eventually(lambda: not limiter.up)
            await valkey.start()
            await eventually(lambda: limiter.up, timeout_s=2.0)
        async with Redis.from_url(valkey.url) as client:
            assert len(await client.client_list()) == 2


async def test_a_forgotten_script_is_loaded_again_without_a_failure(redis_url: str) -> None:
    async with redis_limiter(redis_url) as limiter:
        await limiter.take(CHARGES)
        await command(redis_url, "SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(limiter.take(CHARGES) for _ in range(50)))
        assert sorted(taken.standings[0].remaining for taken in answers) == list(range(949, 999))


async def test_a_flushed_server_gives_one_burst_more_and_no_failure(redis_url: str) -> None:
    few = Charges("key", (Limit("hourly", 3, HOUR_MS),))
    async with redis_limiter(redis_url) as limiter:
        first = [(await limiter.take(few)).admitted for _ in range(4)]
        await command(redis_url, "FLUSHALL")
        second = [(await limiter.take(few)).admitted for _ in range(4)]
    assert first == second == [True, True, True, False]


async def test_a_full_server_is_a_failed_call_that_takes_nothing(valkey: EmbeddedValkey) -> None:
    async with redis_limiter(valkey.url) as limiter:
        await limiter.take(CHARGES)
        await command(valkey.url, "CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(LimiterDown):
            await limiter.take(CHARGES)
        await command(valkey.url, "CONFIG", "SET", "maxmemory", "0")
        assert (await limiter.take(CHARGES)).standings[0].remaining == 998


async def test_a_read_only_server_is_a_failed_call(valkey: EmbeddedValkey) -> None:
    async with redis_limiter(valkey.url) as limiter:
        await limiter.take(CHARGES)
        await command(valkey.url, "REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(LimiterDown):
            await limiter.take(CHARGES)
        await command(valkey.url, "REPLICAOF", "NO", "ONE")
        assert (await limiter.take(CHARGES)).standings[0].remaining == 998


async def test_a_forgotten_script_on_a_server_that_cannot_write_is_a_failed_call(valkey: EmbeddedValkey) -> None:
    async with redis_limiter(valkey.url) as limiter:
        await command(valkey.url, "SCRIPT", "FLUSH")
        await command(valkey.url, "REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(LimiterDown):
            await limiter.take(CHARGES)


async def test_the_database_in_the_url_is_used(redis_url: str) -> None:
    third = redis_url.removesuffix("/0") + "/3"
    async with redis_limiter(third) as limiter:
        await limiter.take(CHARGES)
    async with Redis.from_url(third) as client:
        assert await client.dbsize() == 1
    async with Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0


async def test_a_wrong_password_is_told_without_the_password(
    valkey: EmbeddedValkey, capsys: pytest.CaptureFixture[str]
) -> None:
    limiter = RedisLimiter(f"redis://:sesame-open@127.0.0.1:{valkey.port}/0", 1.0)
    running = asyncio.create_task(limiter.run())
    shown = ""

    def told() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return "WRONGPASS" in shown

    await eventually(told)
    assert not limiter.up
    assert "sesame" not in shown
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_two_limiters_and_fifty_callers_get_what_the_bucket_allows_and_not_one_more(
    redis_url: str, algorithm: Algorithm
) -> None:
    charges = Charges("key", (Limit("hourly", 600, HOUR_MS, algorithm),))

    async def caller(limiter: RedisLimiter) -> int:
        return sum([(await limiter.take(charges)).admitted for _ in range(20)])

    async with redis_limiter(redis_url) as one, redis_limiter(redis_url) as other:
        began = time.monotonic()
        served = sum(await asyncio.gather(*(caller(limiter) for limiter in (one, other) for _ in range(50))))
        refilled = int((time.monotonic() - began) * 600 / 3600) + 1
    assert 600 <= served <= 600 + (refilled if algorithm is Algorithm.TOKEN_BUCKET else 0)


async def test_resets_never_take_more_from_a_bucket_than_was_asked(valkey: EmbeddedValkey) -> None:
    """F05: what fails may have taken its token or not, but nothing is asked twice."""
    asked = 0
    async with redis_limiter(valkey.url) as limiter:
        for _ in range(5):
            await eventually(lambda: limiter.up)
            answers = [asyncio.ensure_future(limiter.take(CHARGES)) for _ in range(10)]
            asked += 10
            await asyncio.sleep(0)
            await command(valkey.url, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.gather(*answers, return_exceptions=True)
        await eventually(lambda: limiter.up)
        assert 1000 - (await limiter.take(CHARGES)).standings[0].remaining <= asked + 1


async def test_the_bytes_of_calls_are_remembered_within_a_bound(redis_url: str) -> None:
    async with redis_limiter(redis_url) as limiter:
        for _ in range(3):
            await limiter.take(CHARGES)
        assert len(limiter._prepared) == 1
        limiter._prepared = dict.fromkeys(range(PREPARED_MAX), (CHARGES, b""))
        assert (await limiter.take(Charges("other", CHARGES.limits))).admitted
        assert len(limiter._prepared) == 1
