"""Delivering: the sinks that the settings name, with a shipper for each, and the bound on what waits for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.json_lines import JsonLinesPublisher
from gateway.adapters.positions import PositionedSink
from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.redis.event_stream import RedisStreamPublisher
from gateway.jobs.bound_journal import JournalBound
from gateway.jobs.release_segments import SegmentRelease
from gateway.jobs.settle_outcomes import OutcomeSettler
from gateway.jobs.ship_events import EventShipper
from gateway.ports import SinkDown

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from typing import Any

    from gateway.adapters.journal import Journal
    from gateway.adapters.postgres.pool import Database
    from gateway.ports import EventPublisher, UsageSink
    from gateway.settings.schema import Config
    from gateway.telemetry.telemetry import Telemetry

POSTGRES: Final = "postgres"
LAST_SHIPPING_S: Final = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """All sinks by name, and what brings events to them."""

    sinks: Mapping[str, UsageSink]
    shippers: tuple[EventShipper, ...]
    bound: JournalBound
    publishers: Mapping[str, EventPublisher]
    settler: OutcomeSettler | None = None

    def jobs(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Give what has to run, by name."""
        jobs = {"bound": self.bound.run()} | {f"ship_{shipper.name}": shipper.run() for shipper in self.shippers}
        return jobs if self.settler is None else jobs | {"outcomes": self.settler.run()}

    async def ship_the_rest(self) -> None:
        """Bring the last events to the sinks that answer at once; the next start finds the others in the journal."""
        await asyncio.gather(*(_ship_the_rest(shipper) for shipper in self.shippers))

    async def close(self) -> None:
        """Let go of the ways out."""
        for publisher in self.publishers.values():
            await publisher.close()


def usage_publishers(config: Config) -> dict[str, EventPublisher]:
    """Make the ways out of the gateway that *config* wants, by the names of their sinks."""
    sinks = config.usage.sinks
    publishers: dict[str, EventPublisher] = {}
    if sinks.redis_stream is not None:
        url = (sinks.redis_stream.url or config.redis.url).get_secret_value()
        publishers["redis_stream"] = RedisStreamPublisher(url, sinks.redis_stream.stream, sinks.redis_stream.max_length)
    if sinks.json_lines is not None:
        publishers["json_lines"] = JsonLinesPublisher(sinks.json_lines.path)
    return publishers


def usage_delivery(config: Config, database: Database, journal: Journal, telemetry: Telemetry) -> Delivery:
    """Build what brings the events of *journal*, and those that nobody else does, to where *config* wants them."""
    directory, usage = config.journal_directory, config.usage
    publishers = usage_publishers(config)
    sinks: dict[str, UsageSink] = {}
    settler = None
    interval_s = usage.ship_interval_ms / 1000
    if usage.sinks.postgres:
        sinks[POSTGRES] = sink = PostgresUsageSink(database, config.webhooks.scope)
        settler = OutcomeSettler(sink.outcomes, telemetry, interval_s=interval_s)
    for name, publisher in publishers.items():
        sinks[name] = PositionedSink(name, publisher, directory, usage.sinks.source)
    release = SegmentRelease(sinks)
    shippers = tuple(
        EventShipper(journal, directory, sink, telemetry, interval_s=interval_s, name=name, release=release)
        for name, sink in sinks.items()
    )
    bound = JournalBound(
        *(journal, directory, telemetry, {shipper.name: shipper.shipped for shipper in shippers}),
        max_bytes=usage.journal.max_bytes,
        on_full=usage.journal.on_full,
    )
    return Delivery(sinks, shippers, bound, publishers, settler)


async def _ship_the_rest(shipper: EventShipper) -> None:
    try:
        async with asyncio.timeout(LAST_SHIPPING_S):
            await shipper.drain()
    except (SinkDown, OSError) as fault:  # One of them is TimeoutError.
        log.warning("usage events left in the journal", sink=shipper.name, reason=str(fault) or "no time")
