"""A day of a million events is dropped while somebody reads and somebody writes: the longest that either waits."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from gateway.adapters.postgres.partitions import drop_partitions_before, make_partition
from tests.bench.usage.measuring import print_row, quantile
from tests.bench.usage.rollups import fill_day

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAUSE_S = 0.01
TIMEOUT_S = 600.0
QUIET_S = 3.0


async def measure(dsn: str, events: int) -> None:
    """Print waits before and meanwhile."""
    today = datetime.now(UTC).date()
    day = today - timedelta(days=200)
    admin, reader, writer = [await asyncpg.connect(dsn, command_timeout=TIMEOUT_S) for _ in range(3)]
    try:
        await make_partition(admin, today)
        await fill_day(admin, day, events, 2**40)
        stopping = asyncio.Event()
        read = asyncio.create_task(_poll(stopping, lambda: reader.fetchval(_READ)))
        written = asyncio.create_task(_poll(stopping, lambda: writer.execute(_WRITE)))
        await asyncio.sleep(QUIET_S)
        began = time.perf_counter()
        dropped = await drop_partitions_before(admin, day + timedelta(days=1))
        over = time.perf_counter()
        stopping.set()
        print_row(f"{len(dropped)} day of {events:,} events dropped in", f"{(over - began) * 1000:.0f} ms")
        for name, waits in (("reader", await read), ("writer", await written)):
            quiet = [took for moment, took in waits if moment + took < began]
            meanwhile = [took for moment, took in waits if moment + took >= began]
            print_row(
                f"{name}: p50, longest before; longest meanwhile",
                *(f"{took * 1000:.1f} ms" for took in (quantile(quiet, 0.5), max(quiet), max(meanwhile))),
            )
    finally:
        for connection in (admin, reader, writer):
            await connection.close()


_READ = "SELECT count(*) FROM usage_events WHERE key_id = 'api_key_0' AND at > now() - interval '1 minute'"
_WRITE = """
INSERT INTO usage_events SELECT (now() AT TIME ZONE 'UTC')::date, gen_random_uuid(), now(), 'req_0', NULL, NULL,
    'budgets.read', '/', 'GET', '/', '203.0.113.7', 200, 'admitted', NULL, NULL, 1, 1, 0, 0, 'proxy', '0', 1
"""


async def _poll(stopping: asyncio.Event, ask: Callable[[], Awaitable[object]]) -> list[tuple[float, float]]:
    """Ask again and again; give when each began and how long it took, in seconds."""
    waits = []
    while not stopping.is_set():
        began = time.perf_counter()
        await ask()
        waits.append((began, time.perf_counter() - began))
        await asyncio.sleep(PAUSE_S)
    return waits
