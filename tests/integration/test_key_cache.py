"""The key cache: one read however many ask, no stale record past a change, no error taken for an absence (F11, F20)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.adapters.memory.keycache import KeyCache
from gateway.core.keys import KeyRecord, KeyStatus
from gateway.ports import KeySourceDown
from tests.fakes.key_source import Clock, StallingSource
from tests.limiters import eventually

TTL_S, MAX_STALE_S, ABSENT_TTL_S = 25.0, 900.0, 5.0
ENTRIES_MAX = 100

DIGEST = b"\x01" * 32
KEY = KeyRecord("api_key_1", "acc_1", "bk_live_1234", frozenset({"READ"}), 1000)
SUSPENDED = replace(KEY, status=KeyStatus.SUSPENDED)


@pytest.fixture
def source() -> StallingSource:
    source = StallingSource()
    source.records[DIGEST] = KEY
    return source


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(source: StallingSource, clock: Clock) -> KeyCache:
    return KeyCache(
        source, clock, ttl_s=TTL_S, max_stale_s=MAX_STALE_S, absent_ttl_s=ABSENT_TTL_S, entries_max=ENTRIES_MAX
    )


async def record(cache: KeyCache, digest: bytes = DIGEST) -> KeyRecord | None:
    found = await cache.find(digest)
    return None if found is None else found.record


async def reading(cache: KeyCache, source: StallingSource, digest: bytes = DIGEST) -> asyncio.Task[KeyRecord | None]:
    """Begin to look *digest* up and return once the source is being read."""
    already = len(source.reads)
    task = asyncio.create_task(record(cache, digest))
    await eventually(lambda: len(source.reads) > already)
    return task


async def test_two_hundred_callers_at_once_are_one_read(cache: KeyCache, source: StallingSource) -> None:
    source.stall()
    callers = [asyncio.create_task(record(cache)) for _ in range(200)]
    await eventually(lambda: bool(source.reads))
    source.go_on()
    assert await asyncio.gather(*callers) == [KEY] * 200
    assert source.reads == [DIGEST]


async def test_a_key_is_read_again_when_its_time_is_over_and_not_before(
    cache: KeyCache, source: StallingSource, clock: Clock
) -> None:
    await record(cache)
    source.records[DIGEST] = SUSPENDED
    clock.now += TTL_S * 0.89
    assert await record(cache) == KEY
    clock.now += TTL_S * 0.11
    assert cache.fresh(DIGEST) is None
    assert await record(cache) == SUSPENDED
    assert (cache.lookups.hit, cache.lookups.miss) == (1, 2)


async def test_keys_read_together_do_not_expire_together(cache: KeyCache, source: StallingSource) -> None:
    digests = [bytes([number]) * 32 for number in range(50)]
    for number, digest in enumerate(digests):
        source.records[digest] = replace(KEY, id=f"api_key_{number}")
        await record(cache, digest)
    ends = [cache._entries[digest].fresh_until for digest in digests]
    assert max(ends) - min(ends) > TTL_S * 0.02


async def test_what_is_derived_from_a_record_goes_with_it(
    cache: KeyCache, source: StallingSource, clock: Clock
) -> None:
    entry = await cache.find(DIGEST)
    assert entry is not None
    entry.derived["route"] = "charges"
    assert cache.fresh(DIGEST) is entry
    cache.drop_key(KEY.id)
    again = await cache.find(DIGEST)
    assert again is not None
    assert again.derived == {}


async def test_a_changed_key_is_read_again_at_once(cache: KeyCache, source: StallingSource) -> None:
    await record(cache)
    source.records[DIGEST] = SUSPENDED
    cache.drop_key(KEY.id)
    assert cache.fresh(DIGEST) is None
    assert await record(cache) == SUSPENDED


async def test_a_change_drops_all_secrets_of_the_key_and_no_other_key(cache: KeyCache, source: StallingSource) -> None:
    old, other = b"\x02" * 32, b"\x03" * 32
    source.records |= {old: replace(KEY, retired_at=5000.0), other: replace(KEY, id="api_key_2")}
    for digest in (DIGEST, old, other):
        await record(cache, digest)
    cache.drop_key(KEY.id)
    assert [cache.fresh(digest) is None for digest in (DIGEST, old, other)] == [True, True, False]


async def test_a_change_during_a_read_makes_the_read_again(cache: KeyCache, source: StallingSource) -> None:
    source.stall()
    caller = await reading(cache, source)
    source.records[DIGEST] = SUSPENDED
    cache.drop_key(KEY.id)
    source.go_on()
    assert await caller == SUSPENDED
    assert source.reads == [DIGEST, DIGEST]


async def test_a_change_of_another_key_during_a_read_does_not(cache: KeyCache, source: StallingSource) -> None:
    source.stall()
    caller = await reading(cache, source)
    cache.drop_key("api_key_2")
    source.go_on()
    assert await caller == KEY
    assert source.reads == [DIGEST]


async def test_changes_missed_during_a_read_make_it_again(cache: KeyCache, source: StallingSource) -> None:
    source.stall()
    caller = await reading(cache, source)
    source.records[DIGEST] = SUSPENDED
    cache.suspect_all()
    source.go_on()
    assert await caller == SUSPENDED


async def test_an_unknown_digest_is_remembered_for_a_short_time(
    cache: KeyCache, source: StallingSource, clock: Clock
) -> None:
    stranger = b"\x09" * 32
    assert await record(cache, stranger) is None
    clock.now += ABSENT_TTL_S - 0.1
    assert await record(cache, stranger) is None
    assert source.reads == [stranger]
    clock.now += 0.1
    assert await record(cache, stranger) is None
    assert source.reads == [stranger] * 2
    assert cache.lookups.negative == 1


async def test_a_key_just_made_is_found_at_once(cache: KeyCache, source: StallingSource) -> None:
    del source.records[DIGEST]
    assert await record(cache) is None
    source.records[DIGEST] = KEY
    cache.drop_secret(DIGEST)
    assert await record(cache) == KEY


async def test_a_key_made_while_it_is_looked_up_is_found(cache: KeyCache, source: StallingSource) -> None:
    del source.records[DIGEST]
    source.stall()
    caller = await reading(cache, source)
    source.records[DIGEST] = KEY
    cache.drop_secret(DIGEST)
    source.go_on()
    assert await caller == KEY


async def test_a_deleted_key_is_absent(cache: KeyCache, source: StallingSource) -> None:
    await record(cache)
    del source.records[DIGEST]
    cache.drop_key(KEY.id)
    assert await record(cache) is None
    assert len(cache) == 0


async def test_when_changes_may_have_been_missed_nothing_is_trusted(cache: KeyCache, source: StallingSource) -> None:
    stranger = b"\x09" * 32
    await record(cache)
    await record(cache, stranger)
    source.records |= {DIGEST: SUSPENDED, stranger: KEY}
    cache.suspect_all()
    assert await record(cache) == SUSPENDED
    assert await record(cache, stranger) == KEY


async def test_while_the_source_is_away_a_known_key_serves_until_it_is_too_old(
    cache: KeyCache, source: StallingSource, clock: Clock
) -> None:
    await record(cache)
    source.down = True
    cache.suspect_all()
    assert await record(cache) == KEY
    clock.now += MAX_STALE_S - 0.1
    assert await record(cache) == KEY
    clock.now += 0.1
    with pytest.raises(KeySourceDown):
        await cache.find(DIGEST)
    assert (cache.lookups.stale, cache.lookups.unavailable) == (2, 1)


async def test_serving_a_stale_key_does_not_make_it_younger(
    cache: KeyCache, source: StallingSource, clock: Clock
) -> None:
    await record(cache)
    source.down = True
    for _ in range(10):
        clock.now += MAX_STALE_S / 10 - 0.1
        await record(cache)
    clock.now += 1.1
    with pytest.raises(KeySourceDown):
        await cache.find(DIGEST)


async def test_a_key_changed_while_the_source_is_away_is_not_served(cache: KeyCache, source: StallingSource) -> None:
    await record(cache)
    source.down = True
    cache.drop_key(KEY.id)
    with pytest.raises(KeySourceDown):
        await cache.find(DIGEST)


async def test_an_error_is_never_remembered_as_an_absence(cache: KeyCache, source: StallingSource) -> None:
    source.down = True
    for _ in range(3):
        with pytest.raises(KeySourceDown):
            await cache.find(DIGEST)
    source.down = False
    assert await record(cache) == KEY
    assert len(source.reads) == 4


async def test_all_callers_of_a_read_that_fails_are_told(cache: KeyCache, source: StallingSource) -> None:
    source.stall()
    source.down = True
    callers = [asyncio.create_task(record(cache)) for _ in range(20)]
    await eventually(lambda: bool(source.reads))
    source.go_on()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(result) for result in results} == {KeySourceDown}
    assert len(source.reads) == 1


async def test_a_caller_that_goes_away_takes_nothing_from_the_others(cache: KeyCache, source: StallingSource) -> None:
    source.stall()
    first = await reading(cache, source)
    others = [asyncio.create_task(record(cache)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    source.go_on()
    assert await asyncio.gather(*others) == [KEY] * 5
    assert len(source.reads) == 1


async def test_a_read_whose_callers_all_went_away_ends_in_silence(cache: KeyCache, source: StallingSource) -> None:
    source.stall()
    source.down = True
    caller = await reading(cache, source)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    source.go_on()
    await eventually(lambda: not cache._flights)
    source.down = False
    assert await record(cache) == KEY


async def test_strangers_cannot_evict_the_known(cache: KeyCache, source: StallingSource) -> None:
    await record(cache)
    for number in range(3 * ENTRIES_MAX):
        assert await record(cache, number.to_bytes(32, "big")) is None
    assert cache.fresh(DIGEST) is not None
    assert len(cache._absent) == ENTRIES_MAX


async def test_the_known_are_bounded_and_the_oldest_read_goes_first(cache: KeyCache, source: StallingSource) -> None:
    digests = [number.to_bytes(32, "big") for number in range(ENTRIES_MAX + 10)]
    for number, digest in enumerate(digests):
        source.records[digest] = replace(KEY, id=f"api_key_{number}")
        await record(cache, digest)
    assert len(cache) == ENTRIES_MAX == len(cache._digests_by_key)
    assert [cache.fresh(digest) is None for digest in digests] == [True] * 10 + [False] * ENTRIES_MAX


async def test_closing_ends_the_reads_under_way(cache: KeyCache, source: StallingSource) -> None:
    source.stall()
    caller = await reading(cache, source)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not cache._flights
