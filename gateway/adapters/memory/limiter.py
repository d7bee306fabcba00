"""The local limiter: buckets of one worker, used while Redis is away.

It runs the reference arithmetic of core/bucket.py. A bucket starts from what Redis last said of it, so that losing
Redis gives nobody a second helping; nothing is carried back (contract section 4).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.core.bucket import Algorithm, Bucket, Charges, Taken, slot_ms, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.bucket import Limit


class MemoryLimiter:
    """Takes charges from at most *capacity* buckets in memory, the least recently used forgotten first."""

    def __init__(self, clock_ms: Callable[[], int], capacity: int = 100_000) -> None:
        """Start with no buckets; *clock_ms* gives Unix milliseconds."""
        self._clock_ms = clock_ms
        self._capacity = capacity
        self._buckets: OrderedDict[tuple[str, str, int, Algorithm], Bucket] = OrderedDict()
        self._last_known: dict[str, Taken] = {}

    async def take(self, charges: Charges) -> Taken:
        """Take *charges*, all or none."""
        return self.take_now(charges)

    def take_now(self, charges: Charges) -> Taken:
        """Take *charges*, all or none, without waiting."""
        now_ms = self._clock_ms()
        buckets = [self._bucket(charges, limit) for limit in charges.limits]
        return take(buckets, charges, now_ms)

    def note(self, charges: Charges, taken: Taken) -> None:
        """Remember what the exact limiter said, for the time when it is gone."""
        self._last_known[charges.subject] = taken
        if len(self._last_known) > self._capacity:
            del self._last_known[next(iter(self._last_known))]

    def forget_buckets(self) -> None:
        """Forget what was taken locally: the exact limiter is back and its word counts again."""
        self._buckets.clear()

    def _bucket(self, charges: Charges, limit: Limit) -> Bucket:
        name = (charges.subject, limit.name, limit.window_ms, limit.algorithm)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._from_last_known(charges, limit)
            self._buckets[name] = bucket
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
        return bucket

    def _from_last_known(self, charges: Charges, limit: Limit) -> Bucket:
        known = self._last_known.get(charges.subject)
        if known is None:
            return Bucket()
        for standing in known.standings:
            if standing.limit.name != limit.name or standing.limit.window_ms != limit.window_ms:
                continue
            if limit.algorithm is Algorithm.TOKEN_BUCKET:
                return Bucket(standing.remaining * limit.window_ms, known.now_ms)
            spent = max(limit.capacity - standing.remaining, 0)
            return Bucket(spent={known.now_ms // slot_ms(limit): spent})
        return Bucket()
