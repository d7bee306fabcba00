"""Token buckets in whole numbers: the arithmetic that the Lua scripts must agree with.

A bucket of *capacity* tokens that refills in *window_ms* is kept in units: one token is ``window_ms`` units, and
``capacity`` units come back every millisecond. Both are integers, so nothing is rounded, ever; ``capacity *
window_ms`` stays below 2**53, which Lua's numbers hold exactly (contract section 4).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from itertools import accumulate

from msgspec import Struct

UNITS_MAX = 2**53
SLOTS = 60


class Algorithm(enum.StrEnum):
    """How spent tokens come back: continuously, or an exact window after they were spent."""

    TOKEN_BUCKET = "token_bucket"  # noqa: S105  # a bucket, not a password
    SLIDING_WINDOW = "sliding_window"


class LimitBy(enum.StrEnum):
    """Whose bucket a limit is: the key's, or the client address's."""

    KEY = "key"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Limit:
    """*capacity* tokens per *window_ms*; *name* tells a subject's buckets apart.

    One that is *announced* is told of in the `RateLimit` fields too; *policy* is what `RateLimit-Policy` says of it.
    *lines* are the header lines in which answers tell of what does not change.
    """

    name: str
    capacity: int
    window_ms: int
    algorithm: Algorithm = Algorithm.TOKEN_BUCKET
    by: LimitBy = LimitBy.KEY
    announced: bool = False
    policy: str = field(init=False, repr=False, compare=False, default="")
    lines: bytes = field(init=False, repr=False, compare=False, default=b"")

    def __post_init__(self) -> None:
        """Refuse limits that are not exact in double precision."""
        if self.capacity < 1 or self.window_ms < SLOTS or self.capacity * self.window_ms >= UNITS_MAX:
            message = f"limit {self.name}: {self.capacity} per {self.window_ms} ms is out of range"
            raise ValueError(message)
        window_s = _ceil_div(self.window_ms, 1000)
        lines = f"X-RateLimit-Limit: {self.capacity}\r\nX-RateLimit-Window: {window_s}\r\n"
        object.__setattr__(self, "lines", lines.encode("ascii"))
        if self.announced:
            policy = f'"{self.name}";q={self.capacity};w={window_s}'
            object.__setattr__(self, "policy", policy)


@dataclass(frozen=True, slots=True)
class Charges:
    """One token from each of *limits*, all of one *subject*: all are taken, or none."""

    subject: str
    limits: tuple[Limit, ...]


class Standing(Struct):
    """What a bucket says after it was asked: whole tokens left, when it is full, how long until a token is there."""

    limit: Limit
    remaining: int
    full_in_ms: int
    retry_in_ms: int = 0


class Taken(Struct):
    """The answer to charges: *admitted* when every bucket gave its token. *now_ms* is the limiter's own clock."""

    admitted: bool
    now_ms: int
    standings: tuple[Standing, ...]

    @property
    def tightest(self) -> Standing:
        """The bucket to tell the client of: on refusal the longest wait, otherwise the fewest tokens left."""
        if len(self.standings) == 1:
            return self.standings[0]
        if self.admitted:
            return min(self.standings, key=lambda standing: standing.remaining)
        return max(self.standings, key=lambda standing: standing.retry_in_ms)


@dataclass(slots=True)
class Bucket:
    """The state of one bucket: *level* units at *at_ms* (token bucket), or tokens spent by slot (sliding window)."""

    level: int | None = None
    at_ms: int = 0
    spent: dict[int, int] = field(default_factory=dict)


def _ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)


def level_at(bucket: Bucket, limit: Limit, now_ms: int) -> int:
    """Give the units in a token bucket at *now_ms*, which is not before its own time; a new bucket is full."""
    full = limit.capacity * limit.window_ms
    if bucket.level is None:
        return full
    elapsed = min(now_ms - bucket.at_ms, limit.window_ms)
    return min(min(bucket.level, full) + elapsed * limit.capacity, full)


def _standing(limit: Limit, level: int) -> Standing:
    full = limit.capacity * limit.window_ms
    retry = 0 if level >= limit.window_ms else _ceil_div(limit.window_ms - level, limit.capacity)
    return Standing(limit, level // limit.window_ms, _ceil_div(full - level, limit.capacity), retry)


def slot_ms(limit: Limit) -> int:
    """Give the length of one slot of a sliding window: a sixtieth of it, rounded up."""
    return _ceil_div(limit.window_ms, SLOTS)


def _window(bucket: Bucket, limit: Limit, now_ms: int) -> dict[int, int]:
    """Give what was spent in the slots that still count.

    A slot counts until a whole window has passed since its *end*, so never more than the capacity is spent in any
    window. After a clock step back, slots of the future count as the current one.
    """
    slot = now_ms // slot_ms(limit)
    spent: dict[int, int] = {}
    for at, count in bucket.spent.items():
        if at >= slot - SLOTS:
            spent[min(at, slot)] = spent.get(min(at, slot), 0) + count
    return spent


def _window_standing(limit: Limit, spent: dict[int, int], now_ms: int) -> Standing:
    size = slot_ms(limit)
    used = sum(spent.values())
    remaining = max(limit.capacity - used, 0)

    def frees_in(at: int) -> int:
        return max((at + SLOTS + 1) * size - now_ms, 1)

    full = frees_in(max(spent)) if spent else 0
    if remaining:
        return Standing(limit, remaining, full)
    slots = sorted(spent)
    freed = accumulate(spent[at] for at in slots)
    enough = next(at for at, count in zip(slots, freed, strict=True) if count > used - limit.capacity)
    return Standing(limit, 0, full, frees_in(enough))


def take(buckets: list[Bucket], charges: Charges, now_ms: int) -> Taken:
    """Take one token from each bucket of *charges* at *now_ms*, or none from any; *buckets* change in place.

    A clock step back moves what lies in the future to now, also on refusal: nobody waits for the old time to come.
    """
    asked: list[Standing] = []
    for bucket, limit in zip(buckets, charges.limits, strict=True):
        if limit.algorithm is Algorithm.TOKEN_BUCKET:
            bucket.at_ms = min(bucket.at_ms, now_ms)
            asked.append(_standing(limit, level_at(bucket, limit, now_ms)))
        else:
            bucket.spent = _window(bucket, limit, now_ms)
            asked.append(_window_standing(limit, bucket.spent, now_ms))
    if any(standing.remaining == 0 for standing in asked):
        return Taken(admitted=False, now_ms=now_ms, standings=tuple(asked))
    after: list[Standing] = []
    for bucket, limit in zip(buckets, charges.limits, strict=True):
        if limit.algorithm is Algorithm.TOKEN_BUCKET:
            bucket.level = level_at(bucket, limit, now_ms) - limit.window_ms
            bucket.at_ms = now_ms
            after.append(_standing(limit, bucket.level))
        else:
            slot = now_ms // slot_ms(limit)
            bucket.spent[slot] = bucket.spent.get(slot, 0) + 1
            after.append(_window_standing(limit, bucket.spent, now_ms))
    return Taken(admitted=True, now_ms=now_ms, standings=tuple(after))
