"""What storing an event costs Postgres, with sums and without, and what many instances with one busy key make of it."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.pool import Database, PoolSettings
from tests.bench.usage.measuring import cpu_us, event, print_row

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 500
ROUNDS = 5
TIMEOUT_S = 30.0
WRITERS = (1, 4, 16)

# All keys that the events name, so that each learns when it was used.
_KEYS = f"""
WITH account AS (INSERT INTO accounts (id, name) VALUES ('account_0', 'Bench') RETURNING id)
INSERT INTO api_keys (id, account_id, name, scopes, rate_limit_per_hour)
SELECT 'api_key_' || name, account.id, 'Bench', '{{READ_BUDGETS}}', 1000
FROM account, (SELECT n::text FROM generate_series(0, {BATCH}) AS n UNION ALL SELECT 'hot') AS names (name)
"""


@dataclass
class Case:
    """How events are stored, and what each round of it came to, for an event."""

    name: str
    sums: bool
    keys: int
    cpu_us: list[float] = field(default_factory=list)
    log_bytes: list[float] = field(default_factory=list)


async def measure(dsn: str, batches: int) -> None:
    """Print CPU time and bytes of an event, and events a second with one key for all writers and with one each."""
    cases = [
        Case("without sums, 5 keys", sums=False, keys=5),
        Case("with sums, 5 keys", sums=True, keys=5),
        Case("without sums, a key for each event", sums=False, keys=BATCH),
        Case("with sums, a key for each event", sums=True, keys=BATCH),
    ]
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        await connection.execute(_KEYS)
        for number in range(ROUNDS + 1):  # The first round warms up.
            for case in cases:
                await _run(connection, dsn, case, max(batches // ROUNDS, 1), counted=number > 0)
    finally:
        await connection.close()
    for case in cases:
        cost = statistics.median(case.cpu_us)
        log = f"{statistics.median(case.log_bytes):.0f} B/event"
        print_row(f"{case.name}: CPU, WAL, of a core", f"{cost:.1f} µs/event", log, f"{1e6 / cost:,.0f}/s")
    for writers in WRITERS:
        one = await _together(dsn, batches, writers, lambda _: "api_key_hot")
        each = await _together(dsn, batches, writers, lambda number: f"api_key_{number}")
        print_row(f"{writers} writers: one key, a key each", f"{one:,.0f} events/s", f"{each:,.0f} events/s")


async def _run(
    connection: asyncpg.Connection[asyncpg.Record], dsn: str, case: Case, batches: int, *, counted: bool
) -> None:
    """Store some batches on one connection; what its backend's core and the log had of it is noted if *counted*."""
    await connection.execute(f"ALTER TABLE usage_events {'ENABLE' if case.sums else 'DISABLE'} TRIGGER usage_stored")
    made = [
        [event(number, f"api_key_{number % case.keys}") for number in range(batch * BATCH, (batch + 1) * BATCH)]
        for batch in range(batches + 1)
    ]
    async with Database(dsn, PoolSettings(size_min=1, size_max=1)) as database:
        sink = PostgresUsageSink(database)
        journal = f"cost-{time.time_ns()}"
        await sink.write(journal, 0, 1, made[0])
        async with database.connection(TIMEOUT_S) as own:
            pid = await own.fetchval("SELECT pg_backend_pid()")
        log, used = await _log_position(connection), cpu_us(pid)
        for number, events in enumerate(made[1:], 1):
            await sink.write(journal, number, number + 1, events)
        used, log = cpu_us(pid) - used, await _log_position(connection) - log
    if counted:
        case.cpu_us.append(used / batches / BATCH)
        case.log_bytes.append(log / batches / BATCH)


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
