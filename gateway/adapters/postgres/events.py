"""The usage sink: events go to Postgres in batches, together with how far their journal has been read.

Both are in one transaction, so a batch that is sent again after a crash is recognised and written once. Postgres reads
the events' JSON itself: no core that serves requests is spent on it. Webhook events, which stand in the same journal,
go to their outbox in the same transaction.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from gateway.adapters.postgres.connection import reason
from gateway.adapters.postgres.outcomes import PostgresOutcomes
from gateway.adapters.postgres.partitions import FIRST_DAY, LAST_DAY, TABLE, has_partition, make_partition
from gateway.adapters.postgres.pool import DatabaseDown
from gateway.adapters.postgres.webhook_events import WEBHOOK_SCOPE, store_webhook_events
from gateway.core.outcomes import is_outcome
from gateway.core.webhook_events import is_webhook_event
from gateway.ports import SinkDown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database

WRITE_TIMEOUT_S: Final = 10.0
"""No request waits for a batch, so it may take longer than a look-up."""
_DAY: Final = re.compile(rb'"at":\s*"(\d{4}-\d\d-\d\d)T')

MEMBERS: Final = (
    ("id", "id", "uuid"),
    ("at", "at", "timestamptz"),
    ("requestId", "request_id", "text"),
    ("accountId", "account_id", "text"),
    ("keyId", "key_id", "text"),
    ("route", "route", "text"),
    ("endpoint", "endpoint", "text"),
    ("method", "method", "text"),
    ("path", "path", "text"),
    ("clientIp", "client_ip", "text"),
    ("status", "status", "smallint"),
    ("outcome", "outcome", "text"),
    ("upstream", "upstream", "text"),
    ("target", "target", "text"),
    ("durationUs", "duration_us", "bigint"),
    ("upstreamUs", "upstream_us", "bigint"),
    ("bytesIn", "bytes_in", "bigint"),
    ("bytesOut", "bytes_out", "bigint"),
    ("mode", "mode", "text"),
    ("configVersion", "config_version", "text"),
    ("schema", "schema", "smallint"),
)
"""Member of the event (contract section 9), column and type. Members that are not known are passed over."""

# An event that is there already, because a journal was copied, is left as it is. Keys are held in the order of their
# ids, so that two instances cannot wait for each other.
_STORE: Final = f"""
WITH batch AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1::json)
    AS event ({", ".join(f'"{member}" {kind}' for member, _, kind in MEMBERS)})
), stored AS (
    INSERT INTO {TABLE} (day, {", ".join(column for _, column, _ in MEMBERS)})
    SELECT ("at" AT TIME ZONE 'UTC')::date, {", ".join(f'"{member}"' for member, _, _ in MEMBERS)} FROM batch
    ON CONFLICT DO NOTHING
), used AS (
    SELECT "keyId" AS id, max("at") AS at FROM batch WHERE "keyId" IS NOT NULL GROUP BY 1
), held AS (
    SELECT k.id, used.at FROM api_keys k JOIN used USING (id)
    WHERE k.last_used_at IS NULL OR k.last_used_at < used.at
    ORDER BY k.id FOR NO KEY UPDATE OF k
)
UPDATE api_keys k SET last_used_at = held.at FROM held WHERE k.id = held.id
"""  # noqa: S608  # all of it is constant

# The journal is deleted once its events are here: a commit that Postgres may still forget would lose them.
_LOCK_POSITION: Final = """
SELECT position, set_config(
    'synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true
) FROM journal_offsets WHERE journal = $1 FOR UPDATE
"""

log = structlog.get_logger()


class PostgresUsageSink:
    """Writes usage events to Postgres; implements the UsageSink port.

    *refused* counts events that can never be stored: they are passed over, and never block the others.
    """

    def __init__(self, database: Database, webhook_scope: str = WEBHOOK_SCOPE) -> None:
        """Take the database, and the scope that keys need to be told of webhook events."""
        self._database = database
        self._webhook_scope = webhook_scope
        self._days: set[date] = set()
        self.outcomes = PostgresOutcomes(database)
        self.refused = 0

    async def position(self, journal: str) -> int:
        """Give the byte up to which *journal* has been written; raises SinkDown."""
        try:
            async with self._database.connection() as connection:
                position = await connection.fetchval("SELECT position FROM journal_offsets WHERE journal = $1", journal)
        except (DatabaseDown, asyncpg.PostgresError) as error:
            raise _down(error) from error
        return position or 0

    async def write(self, journal: str, start: int, end: int, events: Sequence[bytes]) -> int:
        """Write what lies between bytes *start* and *end* of *journal*, and give the position after; raises SinkDown.

        When the stored position is not *start* nothing is written, and the stored position is given.
        """
        outcomes = [record for record in events if is_outcome(record)]
        announced = [record for record in events if is_webhook_event(record)]
        if outcomes or announced:
            events = [record for record in events if not (is_outcome(record) or is_webhook_event(record))]
        try:
            async with self._database.connection(WRITE_TIMEOUT_S) as connection:
                await self._make_partitions(connection, _days(events))
                async with connection.transaction():
                    stored = await _lock_position(connection, journal)
                    if stored != start:
                        return stored
                    refused = await _store(connection, events)
                    if outcomes:
                        await self.outcomes.keep(connection, outcomes)
                    if announced:
                        refused += await store_webhook_events(connection, announced, self._webhook_scope)
                    await connection.execute(
                        "UPDATE journal_offsets SET position = $2, updated_at = now() WHERE journal = $1", journal, end
                    )
        except (DatabaseDown, asyncpg.PostgresError) as error:
            # A partition that was dropped since is made again at the next attempt.
            self._days.clear()
            raise _down(error) from error
        self._note_refused(journal, refused)
        return end

    async def _make_partitions(self, connection: Connection, days: set[date]) -> None:
        """Make the partitions of *days* and their next ones, ahead of the rush at midnight."""
        wanted = days | {day + timedelta(days=1) for day in days}
        for day in sorted(wanted - self._days):
            await make_partition(connection, day)
            self._days.add(day)

    def _note_refused(self, journal: str, count: int) -> None:
        if count:
            self.refused += count
            log.error("usage events refused", journal=journal, events=count)


def _days(events: Sequence[bytes]) -> set[date]:
    """Give the days of *events* (UTC), so far as they can have a partition."""
    days = set()
    for text in set(_DAY.findall(b",".join(events))):
        try:
            day = date.fromisoformat(text.decode())
        except ValueError:
            continue
        if FIRST_DAY <= day <= LAST_DAY:
            days.add(day)
    return days


def _down(error: DatabaseDown | asyncpg.PostgresError) -> SinkDown:
    if isinstance(error, DatabaseDown):
        return SinkDown(str(error))
    return SinkDown(f"Postgres refuses usage events: {reason(error)}; check the schema and the rights of its user")


async def _lock_position(connection: Connection, journal: str) -> int:
    """Give the stored position, and keep others from moving it until the transaction, a lasting one, ends."""
    await connection.execute(
        "INSERT INTO journal_offsets (journal, position) VALUES ($1, 0) ON CONFLICT DO NOTHING", journal
    )
    position: int = await connection.fetchval(_LOCK_POSITION, journal)
    return position


async def _store(connection: Connection, events: Sequence[bytes]) -> int:
    """Store *events*, and give how many cannot be stored, found by halves. A day without its partition raises."""
    if not events:
        return 0
    try:
        async with connection.transaction():
            await connection.execute(_STORE, f"[{b','.join(events).decode(errors='replace')}]")
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
        if len(events) == 1:
            for day in _days(events):
                if not await has_partition(connection, day):
                    raise
            return 1
        half = len(events) // 2
        return await _store(connection, events[:half]) + await _store(connection, events[half:])
    return 0
