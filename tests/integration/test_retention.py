"""Retention: days are made ahead and dropped by age, by one instance at a time, and no reader waits for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from gateway.adapters.postgres.partitions import drop_partitions_before, has_partition, make_partition
from gateway.adapters.postgres.pool import Database
from gateway.adapters.postgres.retention import BATCH, Cleared, look_after_usage
from gateway.embedded.polling import until
from gateway.jobs.look_after_usage import UsageCaretaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.connection import Connection

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SOME_SUMS = "'', '', 'r', '/e', 'GET', 200, 'admitted', 1, 1, 0, 0, array_fill(0::bigint, ARRAY[25])"


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with Database(postgres_dsn) as database:
        yield database


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.connection(20) as connection:
        yield connection


async def days(connection: Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'usage_events'::regclass"
    )
    return sorted(row["name"].removeprefix("usage_events_") for row in rows)


async def test_days_are_made_ahead_and_old_ones_dropped(database: Database, connection: Connection) -> None:
    for age in (91, 90, 89, 400):
        await make_partition(connection, (NOW - timedelta(days=age)).date())
    cleared = await look_after_usage(database, NOW.timestamp(), 90)
    assert cleared == Cleared(partitions=2)
    assert await days(connection) == ["20260826", "20260827", "20261124", "20261125", "20261126"]
    assert await look_after_usage(database, NOW.timestamp(), 90) == Cleared()


async def test_sums_are_kept_as_long_as_statistics_need_them(database: Database, connection: Connection) -> None:
    for table, ages in (("usage_minutes", (0, 47, 49)), ("usage_hours", (0, 99 * 24, 101 * 24))):
        for age in ages:
            await connection.execute(f"INSERT INTO {table} SELECT $1, {SOME_SUMS}", NOW - timedelta(hours=age))
    cleared = await look_after_usage(database, NOW.timestamp(), 90)
    assert cleared == Cleared(minutes=1, hours=1)
    assert await connection.fetchval("SELECT count(*) FROM usage_minutes") == 2
    assert await connection.fetchval("SELECT count(*) FROM usage_hours") == 2


async def test_more_than_a_batch_is_deleted_in_one_round(database: Database, connection: Connection) -> None:
    await connection.execute(
        f"INSERT INTO usage_minutes SELECT $1::timestamptz - number * interval '1 minute', {SOME_SUMS}"
        " FROM generate_series(1, $2) number",
        NOW - timedelta(days=3),
        BATCH + 10,
    )
    assert await look_after_usage(database, NOW.timestamp(), 90) == Cleared(minutes=BATCH + 10)


async def test_positions_of_journals_outlive_the_events_that_they_could_double(
    database: Database, connection: Connection
) -> None:
    for name, age in (("new", 0), ("young", 90), ("old", 92)):
        await connection.execute("INSERT INTO journal_offsets VALUES ($1, 1, $2)", name, NOW - timedelta(days=age))
    assert await look_after_usage(database, NOW.timestamp(), 90) == Cleared(offsets=1)
    assert await connection.fetch("SELECT journal FROM journal_offsets ORDER BY 1") == [("new",), ("young",)]


async def test_one_instance_at_a_time_is_at_it(database: Database, connection: Connection) -> None:
    await connection.execute("SELECT pg_advisory_lock($1)", 0x6761_7465_0002)
    assert await look_after_usage(database, NOW.timestamp(), 90) is None
    await connection.execute("SELECT pg_advisory_unlock($1)", 0x6761_7465_0002)
    for _ in range(2):
        assert await look_after_usage(database, NOW.timestamp(), 90) == Cleared()


async def test_readers_of_other_days_never_wait_while_a_day_is_dropped(
    postgres_dsn: str, connection: Connection
) -> None:
    old = (NOW - timedelta(days=100)).date()
    await make_partition(connection, old)
    await make_partition(connection, NOW.date())
    reader, late_reader = [await asyncpg.connect(postgres_dsn) for _ in range(2)]
    async with reader.transaction():
        await reader.fetchval("SELECT count(*) FROM usage_events")
        dropping = asyncio.create_task(drop_partitions_before(connection, NOW.date()))

        async def waits() -> bool:
            return bool(await late_reader.fetchval("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"))

        assert await until(waits, 5)
        assert await late_reader.fetchval("SELECT count(*) FROM usage_events", timeout=1) == 0
        assert not dropping.done()
    assert await dropping == [old]
    await reader.close()
    await late_reader.close()


async def test_a_day_that_was_half_dropped_is_dropped(postgres_dsn: str, connection: Connection) -> None:
    old = (NOW - timedelta(days=100)).date()
    await make_partition(connection, old)
    reader, dying = [await asyncpg.connect(postgres_dsn) for _ in range(2)]
    async with reader.transaction():
        await reader.fetchval("SELECT count(*) FROM usage_events")
        await dying.execute("SET statement_timeout = '200ms'")
        with pytest.raises(asyncpg.QueryCanceledError):
            await drop_partitions_before(dying, NOW.date())
    assert await drop_partitions_before(connection, NOW.date()) == [old]
    assert not await has_partition(connection, old)
    await reader.close()
    await dying.close()


async def test_the_caretaker_goes_round_again_after_a_failure(database: Database, connection: Connection) -> None:
    today = datetime.now(UTC).date()
    await connection.execute("ALTER TABLE usage_minutes RENAME TO hidden")
    caretaker = asyncio.create_task(UsageCaretaker(database, 90, interval_s=0.05).run())
    assert await until(lambda: has_partition(connection, today), 5)
    await connection.execute("ALTER TABLE hidden RENAME TO usage_minutes")
    old = today - timedelta(days=91)
    await make_partition(connection, old)

    async def gone() -> bool:
        return not await has_partition(connection, old)

    assert await until(gone, 5)
    assert not caretaker.done()
    caretaker.cancel()
    await asyncio.gather(caretaker, return_exceptions=True)
