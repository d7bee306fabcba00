"""Statistics: periods of whole minutes and hours, averages, and percentiles of a histogram."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.statistics import LATENCY_BOUNDS_US, LATENCY_COUNTS, PERIODS, Sums, percentile_ms

NOW = datetime(2026, 11, 24, 12, 34, 56, 789_000, UTC)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("1h", datetime(2026, 11, 24, 11, 34, tzinfo=UTC)),
        ("24h", datetime(2026, 11, 23, 12, 34, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 17, 12, tzinfo=UTC)),
        ("30d", datetime(2026, 10, 25, 12, tzinfo=UTC)),
        ("90d", datetime(2026, 8, 26, 12, tzinfo=UTC)),
    ],
)
def test_a_period_begins_with_the_whole_minute_or_hour_that_it_reaches_into(name: str, start: datetime) -> None:
    assert PERIODS[name].start(NOW.timestamp()) == start


def test_a_period_touches_every_date_from_its_first_to_today() -> None:
    assert PERIODS["1h"].days(NOW.timestamp()) == [date(2026, 11, 24)]
    assert PERIODS["24h"].days(NOW.timestamp()) == [date(2026, 11, 23), date(2026, 11, 24)]
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    assert PERIODS["1h"].days(midnight.timestamp()) == [date(2026, 11, 23), date(2026, 11, 24)]
    days = PERIODS["90d"].days(NOW.timestamp())
    assert days == [date(2026, 8, 26) + timedelta(days=number) for number in range(91)]


def test_errors_are_what_did_not_succeed_and_the_average_keeps_microseconds() -> None:
    sums = Sums(requests=3, successes=2, duration_us=1000)
    assert sums.errors == 1
    assert sums.average_ms == 0.333
    assert Sums().average_ms == 0


def counts_of(*times_us: int) -> list[int]:
    counts = [0] * LATENCY_COUNTS
    for time_us in times_us:
        counts[sum(bound <= time_us for bound in LATENCY_BOUNDS_US)] += 1
    return counts


def test_no_request_has_no_percentile() -> None:
    assert percentile_ms(counts_of(), 0.5) is None


def test_what_is_above_all_bounds_counts_as_the_last_bound() -> None:
    assert percentile_ms(counts_of(10**9), 0.99) == LATENCY_BOUNDS_US[-1] / 1000


def test_times_are_taken_to_be_spread_evenly_between_two_bounds() -> None:
    lower, upper = LATENCY_BOUNDS_US[0], LATENCY_BOUNDS_US[1]
    assert percentile_ms(counts_of(lower, lower), 0.5) == (lower + upper) / 2000
    assert percentile_ms(counts_of(0, lower, lower), 1) == upper / 1000


@given(
    st.lists(st.integers(0, LATENCY_BOUNDS_US[-1] - 1), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99])
)
def test_a_percentile_lies_in_the_bucket_of_the_true_one(times_us: list[int], share: float) -> None:
    times_us.sort()
    rank = next(number for number in range(1, len(times_us) + 1) if number >= share * len(times_us))
    true_us = times_us[rank - 1]
    upper = next(bound for bound in LATENCY_BOUNDS_US if bound > true_us)
    lower = max((bound for bound in LATENCY_BOUNDS_US if bound <= true_us), default=0)
    estimated = percentile_ms(counts_of(*times_us), share)
    assert estimated is not None
    assert lower / 1000 <= estimated <= upper / 1000
