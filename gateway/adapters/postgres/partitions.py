"""Partitions: one of the event table for each UTC day, made ahead of it and dropped as a whole when it is too old."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from gateway.adapters.postgres.connection import Connection

TABLE: Final = "usage_events"
FIRST_DAY: Final = date(2000, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)

_DAY: Final = "%Y%m%d"


def partition_of(day: date) -> str:
    """Name the partition of *day*."""
    return f"{TABLE}_{day:{_DAY}}"


async def has_partition(connection: Connection, day: date) -> bool:
    """Say whether the partition of *day* is there."""
    return await connection.fetchval("SELECT to_regclass($1)", partition_of(day)) is not None


async def make_partition(connection: Connection, day: date) -> None:
    """Make the partition of *day* unless it is there; raises PostgresError."""
    # Asked first, because creating locks the whole table even when the partition exists.
    if await has_partition(connection, day):
        return
    try:
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {partition_of(day)} PARTITION OF {TABLE}"
            f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )
    except (asyncpg.DuplicateTableError, asyncpg.UniqueViolationError, asyncpg.InvalidObjectDefinitionError):
        # Another instance made it at the same moment; IF NOT EXISTS does not look that closely.
        if not await has_partition(connection, day):
            raise


async def drop_partitions_before(connection: Connection, first: date) -> list[date]:
    """Drop the partitions of all days before *first*, and give them; raises PostgresError.

    Each is detached concurrently first: readers and writers of the table never wait. One that was half detached when
    somebody died is finished.
    """
    rows = await connection.fetch(
        "SELECT relname, inhdetachpending FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = to_regclass($1)",
        TABLE,
    )
    dropped = []
    for row in sorted(rows, key=lambda row: str(row["relname"])):
        day = datetime.strptime(row["relname"].removeprefix(f"{TABLE}_"), _DAY).date()  # noqa: DTZ007  # a date
        if day < first:
            how = "FINALIZE" if row["inhdetachpending"] else "CONCURRENTLY"
            await connection.execute(f"ALTER TABLE {TABLE} DETACH PARTITION {row['relname']} {how}")
            await connection.execute(f"DROP TABLE {row['relname']}")
            dropped.append(day)
    return dropped
