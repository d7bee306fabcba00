"""The usage sink: events go to Postgres in batches, together with how far their journal has been read.

Both are in one transaction, so a batch that is sent again after a crash is recognised and written once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog

from gateway.adapters.postgres.connection import reason
from gateway.adapters.postgres.event_rows import AT, COLUMNS, DAY, KEY_ID, event_row
from gateway.adapters.postgres.pool import DatabaseDown
from gateway.ports import SinkDown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.event_rows import Row
    from gateway.adapters.postgres.pool import Database

TABLE: Final = "usage_events"
WRITE_TIMEOUT_S: Final = 10.0
"""No request waits for a batch, so it may take longer than a look-up."""

_INSERT: Final = (
    f"INSERT INTO {TABLE} ({', '.join(COLUMNS)})"  # noqa: S608  # all of it is constant
    f" VALUES ({', '.join(f'${number}' for number in range(1, len(COLUMNS) + 1))}) ON CONFLICT DO NOTHING"
)

# In the order of the ids, so that two instances cannot wait for each other.
_TOUCH: Final = """
WITH used AS (SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS used (id, at)),
     held AS (SELECT id FROM api_keys WHERE id IN (SELECT id FROM used) ORDER BY id FOR NO KEY UPDATE)
UPDATE api_keys k SET last_used_at = used.at
FROM used JOIN held USING (id)
WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.at)
"""

log = structlog.get_logger()


class PostgresUsageSink:
    """Writes usage events to Postgres; implements the UsageSink port.

    *refused* counts events that can never be stored: they are passed over, and never block the others.
    """

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database
        self._days: set[date] = set()
        self.refused = 0

    async def position(self, journal: str) -> int:
        """Give the byte up to which *journal* has been written; raises SinkDown."""
        try:
            async with self._database.connection() as connection:
                position = await connection.fetchval("SELECT position FROM journal_offsets WHERE journal = $1", journal)
        except (DatabaseDown, asyncpg.PostgresError) as error:
            raise _down(error) from error
        return position or 0

    async def write(self, journal: str, start: int, end: int, events: Sequence[Mapping[str, Any]]) -> int:
        """Write what lies between bytes *start* and *end* of *journal*, and give the position after; raises SinkDown.

        When the stored position is not *start* nothing is written, and the stored position is given.
        """
        rows = [row for row in map(event_row, events) if row is not None]
        try:
            async with self._database.connection(WRITE_TIMEOUT_S) as connection:
                await self._make_partitions(connection, {row[DAY] for row in rows})
                async with connection.transaction():
                    stored = await _lock_position(connection, journal)
                    if stored != start:
                        return stored
                    await _store(connection, rows)
                    await _touch_keys(connection, rows)
                    await connection.execute(
                        "UPDATE journal_offsets SET position = $2, updated_at = now() WHERE journal = $1", journal, end
                    )
        except (DatabaseDown, asyncpg.PostgresError) as error:
            # A partition that was dropped since is made again at the next attempt.
            self._days.clear()
            raise _down(error) from error
        self._note_refused(journal, len(events) - len(rows))
        return end

    async def _make_partitions(self, connection: Connection, days: set[date]) -> None:
        """Make the partitions of *days* and their next ones, ahead of the rush at midnight."""
        wanted = days | {day + timedelta(days=1) for day in days}
        for day in sorted(wanted - self._days):
            name = f"{TABLE}_{day:%Y%m%d}"
            # Asked first, because creating locks the whole table even when the partition exists.
            if await connection.fetchval("SELECT to_regclass($1)", name) is None:
                await _make_partition(connection, name, day)
            self._days.add(day)

    def _note_refused(self, journal: str, count: int) -> None:
        if count:
            self.refused += count
            log.error("usage events refused", journal=journal, events=count)


def _down(error: DatabaseDown | asyncpg.PostgresError) -> SinkDown:
    if isinstance(error, DatabaseDown):
        return SinkDown(str(error))
    return SinkDown(f"Postgres refuses usage events: {reason(error)}; check the schema and the rights of its user")


async def _make_partition(connection: Connection, name: str, day: date) -> None:
    try:
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {TABLE}"
            f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )
    except (asyncpg.DuplicateTableError, asyncpg.UniqueViolationError, asyncpg.InvalidObjectDefinitionError):
        # Another instance made it at the same moment; IF NOT EXISTS does not look that closely.
        if await connection.fetchval("SELECT to_regclass($1)", name) is None:
            raise


async def _lock_position(connection: Connection, journal: str) -> int:
    """Give the stored position, and keep others from moving it until the transaction ends."""
    await connection.execute(
        "INSERT INTO journal_offsets (journal, position) VALUES ($1, 0) ON CONFLICT DO NOTHING", journal
    )
    position: int = await connection.fetchval(
        "SELECT position FROM journal_offsets WHERE journal = $1 FOR UPDATE", journal
    )
    return position


async def _store(connection: Connection, rows: Sequence[Row]) -> None:
    """Store *rows*; those that are there already, because a journal was copied, are left as they are."""
    if not rows:
        return
    try:
        async with connection.transaction():
            await connection.copy_records_to_table(TABLE, records=rows, columns=COLUMNS)
    except asyncpg.UniqueViolationError:
        await connection.executemany(_INSERT, rows)


async def _touch_keys(connection: Connection, rows: Sequence[Row]) -> None:
    """Note when each key was used last."""
    last: dict[str, datetime] = {}
    for row in rows:
        key_id = row[KEY_ID]
        if key_id is not None:
            last[key_id] = max(row[AT], last.get(key_id, row[AT]))
    if last:
        await connection.execute(_TOUCH, list(last), list(last.values()))
