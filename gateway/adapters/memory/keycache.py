"""Cached keys by digest: bounded, with single flight, negative entries, and a bound on how stale one may be.

An entry is fresh for *ttl_s* (jittered, so that entries do not expire together), then read again before use. While the
store does not answer, an entry that is no longer fresh serves on until *max_stale_s* after it was read. When changes
may have been missed every entry is suspect: not fresh, whatever its age. Unknown digests are remembered for
*absent_ttl_s* in a cache of their own, so that strangers cannot evict the known (contract section 3).
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.ports import KeySourceDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.keys import KeyRecord
    from gateway.ports import KeySource

JITTER: Final = 0.1


@dataclass(slots=True)
class CachedKey:
    """A record, until when it is fresh and usable (clock of the cache), and room for what is derived from it."""

    record: KeyRecord
    fresh_until: float
    usable_until: float
    derived: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Lookups:
    """How look-ups ended, counted since the start."""

    hit: int = 0
    miss: int = 0
    stale: int = 0
    negative: int = 0
    unavailable: int = 0


@dataclass(slots=True)
class _Flight:
    """A read under way: which keys changed meanwhile, and whether it must be made again whatever it finds."""

    task: asyncio.Task[CachedKey | None]
    changed: set[str] = field(default_factory=set)
    overtaken: bool = False


class KeyCache:
    """Keys by digest, read through from *source*."""

    def __init__(
        self,
        source: KeySource,
        clock: Callable[[], float],
        *,
        ttl_s: float,
        max_stale_s: float,
        absent_ttl_s: float,
        entries_max: int,
    ) -> None:
        """Start empty; *clock* is monotonic, in seconds."""
        self._source = source
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_stale_s = max_stale_s
        self._absent_ttl_s = absent_ttl_s
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, CachedKey] = OrderedDict()
        self._absent: OrderedDict[bytes, float] = OrderedDict()
        self._digests_by_key: dict[str, set[bytes]] = {}
        self._flights: dict[bytes, _Flight] = {}
        self.lookups = Lookups()
        self.changes = 0

    def __len__(self) -> int:
        """How many keys are cached."""
        return len(self._entries)

    def fresh(self, digest: bytes) -> CachedKey | None:
        """Give the entry if it is fresh: the path that most requests take."""
        entry = self._entries.get(digest)
        if entry is not None and self._clock() < entry.fresh_until:
            self.lookups.hit += 1
            return entry
        return None

    async def find(self, digest: bytes) -> CachedKey | None:
        """Give the entry, reading it from the source unless it is fresh; None when no key has this digest.

        Raises KeySourceDown when the source does not answer and no usable entry is here.
        """
        entry = self.fresh(digest)
        if entry is not None:
            return entry
        if self._clock() < self._absent.get(digest, 0.0):
            self.lookups.negative += 1
            return None
        try:
            found = await self._read(digest)
        except KeySourceDown:
            entry = self._entries.get(digest)
            if entry is None or self._clock() >= entry.usable_until:
                self.lookups.unavailable += 1
                raise
            self.lookups.stale += 1
            return entry
        self.lookups.miss += 1
        return found

    def drop_key(self, key_id: str) -> None:
        """Forget all secrets of a key: it changed."""
        self.changes += 1
        for digest in self._digests_by_key.pop(key_id, ()):
            self._entries.pop(digest, None)
        # A read that is under way may have seen the row as it was before.
        for flight in self._flights.values():
            flight.changed.add(key_id)

    def drop_secret(self, digest: bytes) -> None:
        """Forget that no key has *digest*: one has just been made."""
        self.changes += 1
        self._absent.pop(digest, None)
        if digest in self._flights:
            self._flights[digest].overtaken = True

    def drop_absent(self) -> None:
        """Forget which keys are unknown: very many have just been made. Those that are known stay as they are."""
        self.changes += 1
        self._absent.clear()
        for flight in self._flights.values():
            flight.overtaken = True

    def suspect_all(self) -> None:
        """Trust nothing until it was read again: changes may have been missed."""
        for entry in self._entries.values():
            entry.fresh_until = 0.0
        self._absent.clear()
        for flight in self._flights.values():
            flight.overtaken = True

    def forget_derived(self) -> None:
        """Forget what was derived from the records: what it was derived for is gone, and must not be kept alive."""
        for entry in self._entries.values():
            entry.derived.clear()

    async def _read(self, digest: bytes) -> CachedKey | None:
        """Read through, once however many ask; a caller that goes away does not take the others' answer with it."""
        flight = self._flights.get(digest)
        if flight is None:
            task = asyncio.get_running_loop().create_task(self._fly(digest))
            # Marks a failure as seen even when every caller has gone away.
            task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
            flight = self._flights[digest] = _Flight(task)
        return await asyncio.shield(flight.task)

    async def _fly(self, digest: bytes) -> CachedKey | None:
        flight = self._flights[digest]
        try:
            while True:
                flight.changed.clear()
                flight.overtaken = False
                began = self._clock()
                record = await self._source.find(digest)
                if not flight.overtaken and (record is None or record.id not in flight.changed):
                    return self._keep(digest, record, began)
        finally:
            del self._flights[digest]

    def _keep(self, digest: bytes, record: KeyRecord | None, read_at: float) -> CachedKey | None:
        if record is None:
            self._forget(digest)
            self._absent[digest] = read_at + self._absent_ttl_s
            if len(self._absent) > self._entries_max:
                self._absent.popitem(last=False)
            return None
        fresh_s = self._ttl_s * (1 - random.random() * JITTER)
        entry = CachedKey(record, read_at + fresh_s, read_at + self._max_stale_s)
        self._entries[digest] = entry
        self._entries.move_to_end(digest)
        self._digests_by_key.setdefault(record.id, set()).add(digest)
        if len(self._entries) > self._entries_max:
            self._forget(next(iter(self._entries)))
        return entry

    def _forget(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None:
            digests = self._digests_by_key.get(entry.record.id, set())
            digests.discard(digest)
            if not digests:
                self._digests_by_key.pop(entry.record.id, None)

    async def close(self) -> None:
        """End the reads that are under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
