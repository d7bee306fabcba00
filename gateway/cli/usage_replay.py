"""`gateway usage replay`: sends events again, from Postgres to an outside sink, or from a journal file to any."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import uuid
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import click
import structlog

from gateway.adapters.journal import read_batch
from gateway.adapters.positions import PUBLISH_TIMEOUT_S
from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.pool import Database
from gateway.adapters.postgres.stored_events import encoded, read_events
from gateway.cli.database import checked_connection
from gateway.cli.run import config_option, load_or_exit
from gateway.core.envelopes import NotAnEvent, envelope
from gateway.jobs.deliver_usage import POSTGRES, usage_publishers
from gateway.ports import SinkDown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from gateway.ports import EventPublisher
    from gateway.settings.schema import Config

OUTSIDE: Final = ("redis_stream", "json_lines")
_AGO: Final = re.compile("([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_JOURNAL: Final = re.compile(r"(.+\.journal)(?::([0-9]{1,18}))?")


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """A journal file, and the byte in it where to begin."""

    path: Path
    position: int


Beginning = JournalPlace | datetime


class _Moment(click.ParamType[Beginning]):
    """A time such as 2030-12-31T23:59:59Z, or as long ago as 90m, 24h or 7d; a journal file where one may be."""

    name = "time"

    def __init__(self, *, or_journal: bool = False) -> None:
        self._or_journal = or_journal

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Beginning:
        """Give the moment, or the place in a journal."""
        if self._or_journal and (found := _JOURNAL.fullmatch(value)):
            return JournalPlace(Path(found[1]), int(found[2] or 0))
        if found := _AGO.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; expected e.g. 2030-12-31T23:59:59Z, or 24h for a day ago", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone; expected e.g. {value}Z", param, ctx)
        return moment


class _Sender(Protocol):
    """What events are sent again to."""

    async def send(self, events: Sequence[bytes]) -> int:
        """Send *events*, and give how many were passed over; raises SinkDown."""
        ...


class _ToPublisher:
    """Sends to an outside sink."""

    def __init__(self, publisher: EventPublisher, source: str) -> None:
        self._publisher = publisher
        self._source = source

    async def send(self, events: Sequence[bytes]) -> int:
        """Send *events* as CloudEvents."""
        envelopes = []
        for event in events:
            with suppress(NotAnEvent):
                envelopes.append(envelope(event, self._source))
        async with asyncio.timeout(PUBLISH_TIMEOUT_S):
            await self._publisher.publish(envelopes)
        return len(events) - len(envelopes)


class _ToPostgres:
    """Sends to Postgres, where an event that is there already changes nothing, not even a sum."""

    def __init__(self, database: Database, retention_days: int) -> None:
        self._sink = PostgresUsageSink(database)
        # A journal of its own, so that no position hides what is missing.
        self._journal = f"replay-{uuid.uuid4()}"
        self._sent = 0
        self._kept_from = (datetime.now(UTC) - timedelta(days=retention_days)).date().isoformat()

    async def send(self, events: Sequence[bytes]) -> int:
        """Store *events*, but for those whose day has been dropped: their sums may be there still."""
        kept = [event for event in events if self._is_kept(event)]
        refused_before = self._sink.refused
        self._sent = await self._sink.write(self._journal, self._sent, self._sent + len(events), kept)
        return len(events) - len(kept) + self._sink.refused - refused_before

    def _is_kept(self, event: bytes) -> bool:
        try:
            return str(json.loads(event)["at"]) >= self._kept_from
        except (ValueError, KeyError, TypeError):
            return True  # The sink refuses it, and counts.


@click.command("replay")
@click.option(
    "--from",
    "beginning",
    type=_Moment(or_journal=True),
    required=True,
    metavar="TIME|FILE[:BYTE]",
    help="From when, e.g. 2030-12-31T23:59:59Z or 24h ago; or a journal file, and from which byte of it.",
)
@click.option("--to", "until", type=_Moment(), metavar="TIME", help="Until before when.  [default: now]")
@click.option(
    "--sink",
    type=click.Choice([POSTGRES, *OUTSIDE]),
    help="Where to.  [default: the one of usage.sinks that is not Postgres]",
)
@config_option
def replay(beginning: Beginning, until: datetime | None, sink: str | None, config_file: Path) -> None:
    """Send usage events again.

    By time they come from Postgres, which keeps them for usage.retention_days, and go to an outside sink, whose
    readers know them by their ids. A journal file, one that was saved from a machine that is gone, may go to Postgres
    too: what is there already changes nothing.
    """
    config = load_or_exit(config_file)
    # Standard output may be where the events go.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    publishers = usage_publishers(config)
    chosen = sink or _only(list(publishers))
    if isinstance(beginning, JournalPlace):
        if until is not None:
            raise click.UsageError("--to goes with a time; a journal file is sent to its end")
        if not beginning.path.is_file():
            raise click.ClickException(f"there is no file {beginning.path}")
    elif chosen == POSTGRES:
        raise click.ClickException("by time, events come from Postgres; give a journal file, or another --sink")
    if chosen != POSTGRES and chosen not in publishers:
        raise click.ClickException(f"usage.sinks has no {chosen}; add it to the settings, or choose another --sink")
    sent, passed_over = asyncio.run(_replay(config, publishers, chosen, beginning, until or datetime.now(UTC)))
    more = f"; {passed_over} passed over: damaged, refused, or older than usage.retention_days" if passed_over else ""
    click.echo(f"sent {sent} events to {chosen}{more}", err=True)


def _only(names: list[str]) -> str:
    if len(names) != 1:
        raise click.ClickException("say where to with --sink" if names else "usage.sinks has nothing but Postgres")
    return names[0]


async def _replay(
    config: Config, publishers: dict[str, EventPublisher], sink: str, beginning: Beginning, until: datetime
) -> tuple[int, int]:
    """Send, and give how many events were sent and how many passed over."""
    batches = _from_journal(beginning) if isinstance(beginning, JournalPlace) else _by_time(config, beginning, until)
    try:
        async with aclosing(batches) as reading:
            if sink == POSTGRES:
                async with Database(config.postgres.dsn.get_secret_value()) as database:
                    await database.tried()
                    return await _send(reading, _ToPostgres(database, config.usage.retention_days))
            return await _send(reading, _ToPublisher(publishers[sink], config.usage.sinks.source))
    finally:
        for publisher in publishers.values():
            await publisher.close()


async def _send(batches: AsyncIterator[_Batch], to: _Sender) -> tuple[int, int]:
    sent = passed_over = 0
    async for batch in batches:
        try:
            missing = await to.send(batch.events) if batch.events else 0
        except (SinkDown, TimeoutError) as fault:
            reason = str(fault) or "the sink does not answer"
            raise click.ClickException(f"{reason}; {sent} events were sent, go on with --from {batch.place}") from None
        sent += len(batch.events) - missing
        passed_over += missing + batch.corrupt
    return sent, passed_over


@dataclass(frozen=True, slots=True)
class _Batch:
    """Events to send, and where to begin again when that fails."""

    events: list[bytes]
    place: str
    corrupt: int = 0


async def _by_time(config: Config, since: datetime, until: datetime) -> AsyncGenerator[_Batch]:
    async with checked_connection(config) as connection:
        async for events in read_events(connection, since, until):
            yield _Batch([encoded(event) for event in events], min(event["at"] for event in events))


async def _from_journal(place: JournalPlace) -> AsyncGenerator[_Batch]:
    position = place.position
    while True:
        batch = await asyncio.to_thread(read_batch, place.path, position)
        if batch.end == position:
            return
        yield _Batch(batch.records, f"{place.path}:{position}", batch.corrupt)
        position = batch.end
