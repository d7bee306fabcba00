"""Gauges: copies what other parts count for themselves into the worker's telemetry, once a second."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.jobs.publish_upstreams import publish_counts, publish_upstream
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.adapters.http.upkeep import Counts
    from gateway.adapters.http.upstream import Upstream
    from gateway.adapters.journal import Journal
    from gateway.adapters.memory.keycache import KeyCache
    from gateway.ports import UsageSink
    from gateway.telemetry.telemetry import Telemetry

INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures come from; functions for what is only a state."""

    keys: KeyCache
    journal: Journal
    upstreams: Callable[[], Mapping[str, Upstream]]
    upstream_counts: Counts
    connections: Callable[[], int]
    in_flight: Callable[[], int]
    tunnels: Callable[[], int]
    sinks: Mapping[str, UsageSink]
    limiter_up: Callable[[], bool]
    postgres_up: Callable[[], bool]
    listening: Callable[[], bool]
    ready: Callable[[], bool]


class GaugePublisher:
    """Publishes the sources' figures; counters are published by what they grew, since a worker's file outlives it."""

    def __init__(self, sources: Sources, telemetry: Telemetry) -> None:
        """Start from nothing counted."""
        self._sources = sources
        self._telemetry = telemetry
        self._published: dict[tuple[str, ...], int] = {}

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self.publish()
            await asyncio.sleep(INTERVAL_S)

    def publish(self) -> None:
        """Copy all figures now."""
        sources, telemetry = self._sources, self._telemetry
        telemetry.publish()
        for result in ("hit", "miss", "stale", "negative", "unavailable"):
            self._grow(metrics.CACHE_LOOKUPS, getattr(sources.keys.lookups, result), result)
        self._grow(metrics.KEY_CHANGES, sources.keys.changes)
        self._grow(metrics.EVENTS, sources.journal.appended)
        for name, sink in sources.sinks.items():
            self._grow(metrics.EVENTS_DROPPED, sources.journal.dropped + sink.refused, name)
        telemetry.set(metrics.CACHE_ENTRIES, len(sources.keys))
        telemetry.set(metrics.CONNECTIONS, sources.connections(), "public")
        telemetry.set(metrics.IN_FLIGHT, sources.in_flight())
        telemetry.set(metrics.TUNNELS, sources.tunnels())
        telemetry.set(metrics.LIMITER_UP, sources.limiter_up())
        telemetry.set(metrics.POSTGRES_UP, sources.postgres_up())
        telemetry.set(metrics.KEY_CHANGES_CONNECTED, sources.listening())
        telemetry.set(metrics.READY, sources.ready())
        for name, upstream in sources.upstreams().items():
            publish_upstream(name, upstream, telemetry)
        publish_counts(sources.upstream_counts, telemetry)

    def _grow(self, metric: metrics.Metric, total: int, *values: str) -> None:
        key = (metric.name, *values)
        grown = total - self._published.get(key, 0)
        self._published[key] = total
        self._telemetry.add(metric, grown, *values)
