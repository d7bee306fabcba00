"""Buckets: what no sequence of requests, clocks and changed limits can get out of them (contract section 4, F43-F45)."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.bucket import UNITS_MAX, Algorithm, Bucket, Charges, Limit, Taken, level_at, slot_ms, take

HOUR_MS = 3_600_000
NOW = 1_800_000_000_000
HOURLY = Limit("hourly", 1000, HOUR_MS)
SLIDING = replace(HOURLY, algorithm=Algorithm.SLIDING_WINDOW)

steps = st.lists(st.integers(0, 40_000), min_size=1, max_size=150)
limits = st.builds(
    Limit,
    st.just("l"),
    st.integers(1, 30),
    st.integers(60, 200_000),
    st.sampled_from(Algorithm),
)


def ask(buckets: list[Bucket], limits: tuple[Limit, ...], now_ms: int) -> Taken:
    return take(buckets, Charges("key", limits), now_ms)


def ask_one(bucket: Bucket, limit: Limit, now_ms: int) -> Taken:
    return ask([bucket], (limit,), now_ms)


def admissions(limit: Limit, gaps: list[int]) -> list[int]:
    """Ask after each of the *gaps* (ms) and give the times of what was admitted."""
    bucket, now, admitted = Bucket(), NOW, []
    for gap in gaps:
        now += gap
        if ask_one(bucket, limit, now).admitted:
            admitted.append(now)
    return admitted


@given(limits, steps)
def test_a_token_bucket_never_admits_more_than_capacity_and_refill_in_any_span(limit: Limit, gaps: list[int]) -> None:
    limit = replace(limit, algorithm=Algorithm.TOKEN_BUCKET)
    admitted = admissions(limit, gaps)
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            span_ms = admitted[last] - start
            assert last - first + 1 <= limit.capacity + span_ms * limit.capacity // limit.window_ms


@given(limits, steps)
def test_a_token_bucket_refuses_nothing_that_it_could_give(limit: Limit, gaps: list[int]) -> None:
    limit = replace(limit, algorithm=Algorithm.TOKEN_BUCKET)
    bucket, now, units = Bucket(), NOW, limit.capacity * limit.window_ms
    for gap in gaps:
        now += gap
        units = min(units + gap * limit.capacity, limit.capacity * limit.window_ms)
        assert ask_one(bucket, limit, now).admitted == (units >= limit.window_ms)
        units -= limit.window_ms if units >= limit.window_ms else 0


@given(limits, steps)
def test_a_sliding_window_never_admits_more_than_capacity_in_any_window(limit: Limit, gaps: list[int]) -> None:
    limit = replace(limit, algorithm=Algorithm.SLIDING_WINDOW)
    admitted = admissions(limit, gaps)
    for first, start in enumerate(admitted):
        assert bisect_left(admitted, start + limit.window_ms) - first <= limit.capacity


@given(limits, steps)
def test_a_sliding_window_gives_a_token_back_a_slot_after_the_window_at_the_latest(
    limit: Limit, gaps: list[int]
) -> None:
    limit = replace(limit, algorithm=Algorithm.SLIDING_WINDOW)
    bucket, now = Bucket(), NOW
    admitted: list[int] = []
    for gap in gaps:
        now += gap
        still_counted = sum(at > now - (limit.window_ms + 2 * slot_ms(limit) + 60) for at in admitted)
        taken = ask_one(bucket, limit, now).admitted
        assert taken or still_counted >= limit.capacity
        admitted += [now] if taken else []


@given(st.lists(limits, min_size=1, max_size=4), steps)
def test_all_buckets_give_a_token_or_none_does(several: list[Limit], gaps: list[int]) -> None:
    buckets, now = [Bucket() for _ in several], NOW
    for gap in gaps:
        now += gap
        before = [
            ask_one(replace(bucket, spent=dict(bucket.spent)), limit, now)
            for bucket, limit in zip(buckets, several, strict=True)
        ]
        taken = ask(buckets, tuple(several), now)
        assert taken.admitted == all(alone.admitted for alone in before)
        for bucket, limit, alone, standing in zip(buckets, several, before, taken.standings, strict=True):
            after = ask_one(replace(bucket, spent=dict(bucket.spent)), limit, now)
            if taken.admitted:
                assert standing == alone.standings[0]
            else:
                assert after == alone


@given(limits, st.lists(st.integers(-3 * HOUR_MS, 3 * HOUR_MS), min_size=1, max_size=60))
def test_whatever_the_clock_does_figures_stay_in_their_bounds(limit: Limit, gaps: list[int]) -> None:
    bucket, now = Bucket(), NOW
    for gap in gaps:
        now += gap
        [standing] = ask_one(bucket, limit, now).standings
        assert 0 <= standing.remaining <= limit.capacity
        assert 0 <= standing.retry_in_ms <= limit.window_ms + 2 * slot_ms(limit) + 60
        assert 0 <= standing.full_in_ms <= limit.window_ms + 2 * slot_ms(limit) + 60


@given(limits, st.integers(1, 30 * HOUR_MS))
def test_after_a_step_back_nobody_waits_longer_than_a_window(limit: Limit, step: int) -> None:
    bucket = Bucket()
    while ask_one(bucket, limit, NOW).admitted:
        pass
    refused = ask_one(bucket, limit, NOW - step)
    assert not refused.admitted
    wait = refused.standings[0].retry_in_ms
    assert not ask_one(bucket, limit, NOW - step + wait - 1).admitted
    assert ask_one(bucket, limit, NOW - step + wait).admitted


@given(limits, st.integers(0, HOUR_MS), st.integers(0, 3 * HOUR_MS), st.integers(0, 60))
def test_a_clock_that_goes_back_and_then_forward_gives_one_burst_at_most(
    limit: Limit, back: int, forward: int, asked: int
) -> None:
    bucket = Bucket()
    admitted = sum(ask_one(bucket, limit, now).admitted for now in (NOW, NOW - back) for _ in range(asked))
    assert admitted <= limit.capacity
    assert sum(ask_one(bucket, limit, NOW + forward).admitted for _ in range(limit.capacity + 5)) <= limit.capacity


@pytest.mark.parametrize("limit", [HOURLY, SLIDING])
def test_exactly_the_capacity_is_admitted_at_once(limit: Limit) -> None:
    bucket = Bucket()
    remaining = [ask_one(bucket, limit, NOW).standings[0].remaining for _ in range(1000)]
    assert remaining == list(range(999, -1, -1))
    assert not ask_one(bucket, limit, NOW).admitted


def test_an_empty_bucket_says_when_the_next_token_is_there_and_when_it_is_full() -> None:
    bucket = Bucket(level=0, at_ms=NOW)
    [standing] = ask_one(bucket, HOURLY, NOW).standings
    assert (standing.remaining, standing.retry_in_ms, standing.full_in_ms) == (0, 3600, HOUR_MS)
    assert not ask_one(bucket, HOURLY, NOW + 3599).admitted
    assert ask_one(bucket, HOURLY, NOW + 3600).admitted


def test_a_token_of_a_sliding_window_comes_back_when_its_slot_is_a_window_old() -> None:
    bucket, limit = Bucket(), replace(SLIDING, capacity=2)
    first = NOW - NOW % 60_000 + 10_000
    assert ask_one(bucket, limit, first).admitted
    assert ask_one(bucket, limit, first + 60_000).admitted
    refused = ask_one(bucket, limit, first + 60_001)
    free = first - 10_000 + 61 * 60_000
    assert first + 60_001 + refused.standings[0].retry_in_ms == free
    assert first + 60_001 + refused.standings[0].full_in_ms == free + 60_000
    assert not ask_one(bucket, limit, free - 1).admitted
    assert ask_one(bucket, limit, free).admitted


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_lowered_limit_clamps_what_is_stored(algorithm: Algorithm) -> None:
    bucket, lowered = Bucket(), Limit("hourly", 10, HOUR_MS, algorithm)
    ask_one(bucket, replace(HOURLY, algorithm=algorithm), NOW)
    assert ask_one(bucket, lowered, NOW).standings[0].remaining in (8, 9)
    assert sum(ask_one(bucket, lowered, NOW).admitted for _ in range(20)) <= 9


def test_a_window_spent_far_beyond_a_lowered_limit_is_refused_until_enough_came_back() -> None:
    bucket, lowered = Bucket(), replace(SLIDING, capacity=10)
    start = NOW - NOW % 60_000
    for minute in range(4):
        for _ in range(5):
            ask_one(bucket, SLIDING, start + minute * 60_000)
    refused = ask_one(bucket, lowered, start + 180_000)
    assert refused.standings[0].remaining == 0
    assert refused.standings[0].retry_in_ms == (2 + 61) * 60_000 - 180_000


def test_a_raised_limit_keeps_the_tokens_and_gives_no_new_ones_at_once() -> None:
    bucket = Bucket(level=3 * HOUR_MS, at_ms=NOW)
    raised = replace(HOURLY, capacity=5000)
    assert level_at(bucket, raised, NOW) == 3 * HOUR_MS
    assert sum(ask_one(bucket, raised, NOW).admitted for _ in range(20)) == 3


def test_a_single_bucket_is_the_tightest() -> None:
    taken = ask_one(Bucket(), HOURLY, NOW)
    assert taken.tightest is taken.standings[0]


def test_the_tightest_bucket_is_the_one_with_the_fewest_tokens_or_the_longest_wait() -> None:
    minutely = Limit("minutely", 10, 60_000)
    buckets = [Bucket(), Bucket()]
    assert ask(buckets, (HOURLY, minutely), NOW).tightest.limit is minutely
    buckets = [Bucket(level=0, at_ms=NOW), Bucket(level=0, at_ms=NOW)]
    refused = ask(buckets, (HOURLY, minutely), NOW)
    assert refused.tightest.limit is minutely
    assert refused.tightest.retry_in_ms == 6000


@pytest.mark.parametrize(
    ("capacity", "window_ms"), [(0, HOUR_MS), (-1, HOUR_MS), (1, 59), (1, 0), (UNITS_MAX // HOUR_MS + 1, HOUR_MS)]
)
def test_a_limit_that_cannot_be_kept_exactly_is_refused(capacity: int, window_ms: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Limit("hourly", capacity, window_ms)


def test_the_largest_limit_of_the_contract_is_exact() -> None:
    bucket, largest = Bucket(), Limit("hourly", 1_000_000_000, HOUR_MS)
    assert ask_one(bucket, largest, NOW).standings[0].remaining == 999_999_999
    assert ask_one(bucket, largest, NOW).standings[0].full_in_ms == 1
