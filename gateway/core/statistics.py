"""Statistics: the periods that can be asked for, and what is made of summed-up usage (contract section 3).

A period begins with a whole minute or hour, so that what is counted never depends on which part of one is looked at.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

LATENCY_BOUNDS_US: Final = (
    *(100, 178, 316, 562, 1_000, 1_778, 3_162, 5_623, 10_000, 17_783, 31_623, 56_234),
    *(100_000, 177_828, 316_228, 562_341, 1_000_000, 1_778_279, 3_162_278, 5_623_413),
    *(10_000_000, 17_782_794, 31_622_777, 56_234_133),
)
"""Upper bounds of the latency histogram's counts, which has one more count for what is above (migration 0005)."""

LATENCY_COUNTS: Final = len(LATENCY_BOUNDS_US) + 1


class Step(enum.Enum):
    """The width of the sums that a period is made of, in seconds."""

    MINUTE = 60
    HOUR = 3600


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time that ends now."""

    name: str
    length: timedelta
    step: Step

    def start(self, now: float) -> datetime:
        """Give the beginning of the first whole step that the period, ending at *now*, reaches into."""
        earliest = now - self.length.total_seconds()
        return datetime.fromtimestamp(earliest - earliest % self.step.value, UTC)

    def days(self, now: float) -> list[date]:
        """List every UTC date that the period touches, in order."""
        first, last = self.start(now).date(), datetime.fromtimestamp(now, UTC).date()
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]


PERIODS: Final = {
    period.name: period
    for period in (
        Period("1h", timedelta(hours=1), Step.MINUTE),
        Period("24h", timedelta(hours=24), Step.MINUTE),
        Period("7d", timedelta(days=7), Step.HOUR),
        Period("30d", timedelta(days=30), Step.HOUR),
        Period("90d", timedelta(days=90), Step.HOUR),
    )
}
"""By the names on the API Keys page."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Requests added up. *latencies* counts them by LATENCY_BOUNDS_US; those below status 400 are *successes*.

    So are those that are *unknown*: another proxy carried them, and has not reported how they ended.
    """

    requests: int = 0
    successes: int = 0
    duration_us: int = 0
    latencies: tuple[int, ...] = (0,) * LATENCY_COUNTS
    unknown: int = 0

    @property
    def errors(self) -> int:
        """What did not succeed: total = successes + errors."""
        return self.requests - self.successes

    @property
    def average_ms(self) -> float:
        """The average time in milliseconds, to the microsecond; 0 without requests."""
        return round(self.duration_us / self.requests / 1000, 3) if self.requests else 0.0


def percentile_ms(latencies: Sequence[int], share: float) -> float | None:
    """Estimate below which time, in milliseconds, *share* of the requests were answered; None without requests.

    Within a count the times are taken to be spread evenly; what is above all bounds counts as the last bound.
    """
    total = sum(latencies)
    if not total:
        return None
    wanted = share * total
    lower = passed = 0
    for upper, count in zip(LATENCY_BOUNDS_US, latencies, strict=False):
        if count and passed + count >= wanted:
            return round((lower + (upper - lower) * (wanted - passed) / count) / 1000, 3)
        lower, passed = upper, passed + count
    return LATENCY_BOUNDS_US[-1] / 1000
