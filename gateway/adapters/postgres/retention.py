"""Retention: what Postgres keeps of usage, and for how long. One instance at a time looks after it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from gateway.adapters.postgres.connection import reason
from gateway.adapters.postgres.partitions import drop_partitions_before, make_partition
from gateway.adapters.postgres.pool import DatabaseDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database

ROUND_TIMEOUT_S: Final = 60.0
DAYS_AHEAD: Final = 2
MINUTES_KEPT: Final = timedelta(days=2)
HOURS_KEPT: Final = timedelta(days=100)
BATCH: Final = 5_000
"""Rows that are deleted at once, so that nobody waits long for their locks."""

_LOCK: Final = 0x6761_7465_0002
"""Names the advisory lock; any number that nobody else uses would do."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What one round of `look_after_usage` took away: partitions of events, and rows of sums and of journal offsets."""

    partitions: int = 0
    minutes: int = 0
    hours: int = 0
    offsets: int = 0


async def look_after_usage(database: Database, now: float, retention_days: int) -> Cleared | None:
    """Make the partitions of the days to come, and take away what is too old; raises DatabaseDown.

    Events are kept for *retention_days*, their sums by minute and hour as long as statistics need them. None when
    another instance is at it.
    """
    try:
        async with database.connection(ROUND_TIMEOUT_S) as connection, _alone(connection) as alone:
            return await _go_round(connection, datetime.fromtimestamp(now, UTC), retention_days) if alone else None
    except asyncpg.PostgresError as error:
        raise DatabaseDown(reason(error)) from error


async def _go_round(connection: Connection, now: datetime, retention_days: int) -> Cleared:
    kept_from = now - timedelta(days=retention_days)
    for number in range(DAYS_AHEAD + 1):
        await make_partition(connection, (now + timedelta(days=number)).date())
    return Cleared(
        partitions=len(await drop_partitions_before(connection, kept_from.date())),
        minutes=await _delete(connection, "usage_minutes", "at", now - MINUTES_KEPT),
        hours=await _delete(connection, "usage_hours", "at", now - HOURS_KEPT),
        # By then no event of the journal has a partition that a second shipping could double it in.
        offsets=await _delete(connection, "journal_offsets", "updated_at", kept_from - timedelta(days=1)),
    )


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncIterator[bool]:
    """Say whether nobody else is at it, and keep others from it meanwhile."""
    alone = await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
    try:
        yield alone
    finally:
        if alone and not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _delete(connection: Connection, table: str, column: str, before: datetime) -> int:
    """Delete the rows of *table* whose *column* is before that moment, a batch at a time; give how many."""
    deleted = 0
    while True:
        tag = await connection.execute(
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608  # all of it is constant
            f"SELECT ctid FROM {table} WHERE {column} < $1 LIMIT {BATCH} FOR UPDATE SKIP LOCKED))",
            before,
        )
        count = int(tag.rpartition(" ")[2])
        deleted += count
        if count < BATCH:
            return deleted
