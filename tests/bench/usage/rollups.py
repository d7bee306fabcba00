"""Answers about 90 days: with 100,000 events and with 10 million, what is read and how long it takes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateway.adapters.postgres.partitions import make_partition
from gateway.adapters.postgres.statistics import account_usage, key_usage
from gateway.core.statistics import PERIODS
from tests.bench.usage.measuring import ENDPOINTS, STATUSES, cpu_us, plan_figures, print_row, quantile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    import asyncpg

DAYS = 90
KEYS = 5
ACCOUNT, KEY = "account_0", "api_key_0"

# Each hour's events lie in one of its minutes, which spares the time for sums by minute that nobody asks for here.
_FILL = f"""
INSERT INTO usage_events
SELECT $1::date, ('0199b2f0' || lpad(to_hex($3::bigint + n), 24, '0'))::uuid,
    $1::date::timestamp AT TIME ZONE 'UTC' + n * 24 / $2::bigint * interval '1 hour' + n % 60000 * interval '1 ms',
    'req_' || lpad(to_hex($3::bigint + n), 16, '0'), '{ACCOUNT}', 'api_key_' || r % {KEYS}, 'budgets.read',
    '/api/public/budgets/{{id}}/part-' || r / {KEYS} % {ENDPOINTS}, 'GET', '/api/public/budgets/' || n % 1000,
    '203.0.113.7', (ARRAY{list(STATUSES)})[1 + r / {KEYS * ENDPOINTS} % {len(STATUSES)}], 'admitted', 'budgets',
    'http://budgets:8000', 1000 + n * 7919 % 90000, 900, 0, 1024, 'proxy', '0123456789ab', 1
FROM (SELECT n, hashint8($3::bigint + n) & 65535 AS r FROM generate_series(0, $2::bigint - 1) AS n) AS numbers
"""


async def fill(connection: asyncpg.Connection[asyncpg.Record], events: int) -> None:
    """Store *events* evenly over the days, through the trigger that sums them up."""
    await connection.execute("SET work_mem = '256MB'")
    today = datetime.now(UTC).date()
    began, each = time.perf_counter(), events // DAYS
    for number in range(DAYS):
        await fill_day(connection, today - timedelta(days=number), each, number * each)
    await connection.execute("RESET work_mem")
    await connection.execute("VACUUM ANALYZE usage_hours")
    print_row(f"{each * DAYS:,} events stored", f"{time.perf_counter() - began:.0f} s")


async def fill_day(connection: asyncpg.Connection[asyncpg.Record], day: date, events: int, first: int) -> None:
    """Store *events* of one day; *first* is the number of the first."""
    await make_partition(connection, day)
    await connection.execute(_FILL, day, events, first)


async def measure(connection: asyncpg.Connection[asyncpg.Record], rounds: int) -> None:
    """Print how the questions are answered, with what is read for it."""
    period = PERIODS["90d"]
    since = period.start(time.time())

    async def of_key(asked: Any) -> None:
        await key_usage(asked, KEY, since, period.step)

    async def by_key(asked: Any) -> None:
        await account_usage(asked, ACCOUNT, since, period.step, "key")

    questions: list[tuple[str, Callable[[Any], Awaitable[None]]]] = [
        ("stats?period=90d", of_key),
        ("usage?groupBy=key&period=90d", by_key),
    ]
    for name, ask in questions:
        took, used = [], cpu_us(connection.get_server_pid())
        for _ in range(rounds):
            began = time.perf_counter()
            await ask(connection)
            took.append((time.perf_counter() - began) * 1000)
        used = (cpu_us(connection.get_server_pid()) - used) / rounds / 1000
        explained = Explained(connection)
        await ask(explained)
        print_row(
            f"{name}: p50, p99, CPU, rows, pages",
            *(f"{figure:.1f} ms" for figure in (quantile(took, 0.5), quantile(took, 0.99), used)),
            *(f"{figure:,}" for figure in (explained.rows, explained.pages)),
        )


class Explained:
    """A connection that explains a statement instead of answering it."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection
        self.rows = self.pages = 0

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Add up what the plan read, and give the answer."""
        plan = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments)
        rows, pages = plan_figures(plan)
        self.rows += rows
        self.pages += pages
        return await self._connection.fetch(statement, *arguments)
