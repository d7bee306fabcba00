"""Lua = Python: the script gives the very answers of core/bucket.py, on a clock that the test sets."""

from __future__ import annotations

import random
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from gateway.adapters.redis.limiter import bucket_key, pack, unpack
from gateway.core.bucket import Algorithm, Bucket, Charges, Limit, Taken, take

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.commands.core import AsyncScript

NOW = 1_800_000_000_000
CLOCK = "local time = redis.call('TIME')\n"
SET_CLOCK = "local time = { ARGV[#KEYS * 3 + 1], ARGV[#KEYS * 3 + 2] }\n"
# A key that expires in the middle of a sequence would be full again; Valkey's clock is not the test's.
WINDOWS_MS = (60_000, 61_001, 100_000, 3_600_000, 86_399_999)


@pytest.fixture
async def script(redis_url: str) -> AsyncIterator[AsyncScript]:
    source = files("gateway.adapters.redis").joinpath("bucket.lua").read_text("utf-8")
    assert source.count(CLOCK) == 1
    async with Redis.from_url(redis_url) as client:
        yield client.register_script(source.replace(CLOCK, SET_CLOCK))


async def ask(script: AsyncScript, charges: Charges, now_ms: int) -> Taken:
    kinds = {Algorithm.TOKEN_BUCKET: "t", Algorithm.SLIDING_WINDOW: "w"}
    keys = [bucket_key(charges.subject, limit.name, limit.algorithm, limit.window_ms) for limit in charges.limits]
    arguments = [
        argument for limit in charges.limits for argument in (kinds[limit.algorithm], limit.capacity, limit.window_ms)
    ]
    # TIME answers two strings, of which the second is microseconds.
    clock = [str(now_ms // 1000), str(now_ms % 1000 * 1000 + 999)]
    return unpack(charges, await script(keys=keys, args=[*arguments, *clock]))


class Chooser:
    """Draws limits and times at random from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.windows = {name: self._random.choice(WINDOWS_MS) for name in "abc"}
        self.algorithms = {name: self._random.choice(list(Algorithm)) for name in "abc"}
        self.names = self._random.sample("abc", self._random.randint(1, 3))

    def limits(self) -> tuple[Limit, ...]:
        """Give one to three limits whose capacities change now and then."""
        return tuple(
            Limit(name, self._random.choice((1, 3, 3, 3, 7)), self.windows[name], self.algorithms[name])
            for name in self.names
        )

    def gap_ms(self) -> int:
        """Give the time to the next call: mostly little, sometimes a window, sometimes backwards."""
        return self._random.choice(
            (
                0,
                0,
                1,
                self._random.randint(0, 30_000),
                self._random.randint(0, 4_000_000),
                -self._random.randint(0, 200_000),
            )
        )


@pytest.mark.parametrize("seed", range(60))
async def test_the_script_agrees_with_the_reference_on_any_sequence(script: AsyncScript, seed: int) -> None:
    chooser, now, buckets = Chooser(seed), NOW, {name: Bucket() for name in "abc"}
    for _ in range(40):
        now += chooser.gap_ms()
        charges = Charges("key", chooser.limits())
        expected = take([buckets[limit.name] for limit in charges.limits], charges, now)
        assert await ask(script, charges, now) == expected


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_the_script_agrees_on_the_largest_limit(script: AsyncScript, algorithm: Algorithm) -> None:
    charges, bucket = Charges("key", (Limit("hourly", 1_000_000_000, 3_600_000, algorithm),)), Bucket()
    for gap in (0, 1, 0, 3_599_999, 86_400_000):
        assert await ask(script, charges, NOW + gap) == take([bucket], charges, NOW + gap)


async def test_a_bucket_is_kept_until_it_is_full_and_not_much_longer(script: AsyncScript, redis_url: str) -> None:
    charges = Charges("key", tuple(Limit("hourly", 5, 3_600_000, algorithm) for algorithm in Algorithm))
    await ask(script, charges, NOW)
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        keys = [bucket_key("key", "hourly", algorithm, 3_600_000) for algorithm in Algorithm]
        for key in keys:
            assert 3_600_000 < await client.pttl(key) <= 3_600_000 + 2 * 60_000
        assert sorted(str(key) for key in await client.keys()) == sorted(keys)


def test_all_buckets_of_a_call_are_named_for_one_cluster_slot_and_by_nothing_else_of_the_client() -> None:
    charges = Charges("api_key_1", (Limit("hourly", 5, 3_600_000), Limit("budgets:1", 5, 60_000)))
    command = pack(charges)
    assert b"gateway:bucket:1:t:{api_key_1}:hourly:3600000" in command
    assert b"gateway:bucket:1:t:{api_key_1}:budgets:1:60000" in command


@pytest.mark.parametrize("subject", ["api_key_1", "address:2001:db8::/56", "failed:127.0.0.1", "a{b}c"])
def test_all_buckets_of_a_subject_share_a_slot_of_a_cluster(subject: str) -> None:
    keys = [bucket_key(subject, name, algorithm, 60_000) for name in ("hourly", "b") for algorithm in Algorithm]
    assert len(set(keys)) == 4
    assert len({key_slot(key.encode()) for key in keys}) == 1
