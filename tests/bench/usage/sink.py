"""What storing an event costs Postgres, with sums and without, and what many instances with one busy key make of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg

from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.pool import Database, PoolSettings
from tests.bench.usage.measuring import cpu_us, event, print_row

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 500
TIMEOUT_S = 30.0
WRITERS = (1, 4, 16)

# All keys that the events name, so that each learns when it was used.
_KEYS = f"""
WITH account AS (INSERT INTO accounts (id, name) VALUES ('account_0', 'Bench') RETURNING id)
INSERT INTO api_keys (id, account_id, name, scopes, rate_limit_per_hour)
SELECT 'api_key_' || name, account.id, 'Bench', '{{READ_BUDGETS}}', 1000
FROM account, (SELECT n::text FROM generate_series(0, {BATCH}) AS n UNION ALL SELECT 'hot') AS names (name)
"""  # noqa: S608  # all of it is constant


async def measure(dsn: str, batches: int) -> None:
    """Print CPU time and bytes of an event, and events a second with one key for all writers and with one each."""
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        await connection.execute(_KEYS)
        await connection.execute("ALTER TABLE usage_events DISABLE TRIGGER usage_stored")
        bare = await _cost(connection, dsn, batches, "without sums")
        await connection.execute("ALTER TABLE usage_events ENABLE TRIGGER usage_stored")
        summed = await _cost(connection, dsn, batches, "with sums")
        print_row("sums, of an event's cost", f"{(summed - bare) / summed:.0%}")
        await _cost(connection, dsn, batches, "with sums, a key for each event", keys=BATCH)
    finally:
        await connection.close()
    for writers in WRITERS:
        one = await _together(dsn, batches, writers, lambda _: "api_key_hot")
        each = await _together(dsn, batches, writers, lambda number: f"api_key_{number}")
        print_row(f"{writers} writers: one key, a key each", f"{one:,.0f} events/s", f"{each:,.0f} events/s")


async def _cost(
    connection: asyncpg.Connection[asyncpg.Record], dsn: str, batches: int, name: str, keys: int = 5
) -> float:
    """Measure one backend's CPU time for an event, in microseconds, and the log it writes."""
    made = [
        [event(number, f"api_key_{number % keys}") for number in range(batch * BATCH, (batch + 1) * BATCH)]
        for batch in range(batches + 1)
    ]
    async with Database(dsn, PoolSettings(size_min=1, size_max=1)) as database:
        sink = PostgresUsageSink(database)
        journal = f"cost-{name}"
        await sink.write(journal, 0, 1, made[0])
        async with database.connection(TIMEOUT_S) as own:
            pid = await own.fetchval("SELECT pg_backend_pid()")
        log, used, began = await _log_position(connection), cpu_us(pid), time.perf_counter()
        for number, events in enumerate(made[1:], 1):
            await sink.write(journal, number, number + 1, events)
        took, used = time.perf_counter() - began, cpu_us(pid) - used
    count = batches * BATCH
    written = await _log_position(connection) - log
    print_row(
        f"{name}: CPU, WAL, a core's worth",
        f"{used / count:.1f} µs/event",
        f"{written / count:.0f} B/event",
        f"{1e6 * count / used:,.0f}/s",
        f"seen {count / took:,.0f}/s",
    )
    return used / count


async def _log_position(connection: asyncpg.Connection[asyncpg.Record]) -> int:
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def _together(dsn: str, batches: int, writers: int, key_of: Callable[[int], str]) -> float:
    """Measure the events a second that *writers* get stored at once; what they write is made before."""
    each = max(batches // writers, 2)
    made = [
        [[event(number, key_of(writer)) for number in range(BATCH)] for _ in range(each)] for writer in range(writers)
    ]
    async with Database(dsn, PoolSettings(size_min=writers, size_max=writers)) as database:
        sink = PostgresUsageSink(database)

        async def write(writer: int) -> None:
            journal = f"together-{time.time_ns()}-{writer}"
            for number, events in enumerate(made[writer]):
                await sink.write(journal, number, number + 1, events)

        began = time.perf_counter()
        await asyncio.gather(*(write(writer) for writer in range(writers)))
        return writers * each * BATCH / (time.perf_counter() - began)
