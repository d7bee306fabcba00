"""`make bench-usage`: the figures of deploy/SCALING.md, measured on this machine in one run."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from gateway.adapters.postgres.migrate import migrate
from gateway.embedded import placement
from gateway.embedded.postgres import EmbeddedPostgres
from tests.bench.usage import buckets, journal, retention, rollups, sink

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SMALL = 100_000
TIMEOUT_S = 600.0


async def measure_rollups(dsn: str, events: int, rounds: int) -> None:
    connection = await asyncpg.connect(dsn, command_timeout=TIMEOUT_S)
    try:
        await rollups.fill(connection, events)
        await rollups.measure(connection, rounds)
        sizes = await connection.fetchrow(
            "SELECT (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
            " WHERE inhparent = 'usage_events'::regclass)::float / (SELECT count(*) FROM usage_events) AS event,"
            " pg_total_relation_size('usage_hours')::float / (SELECT count(*) FROM usage_hours) AS hour,"
            " (SELECT count(*) FROM usage_hours) AS hours"
        )
        assert sizes is not None
        rollups.print_row(
            "on disk: event, sum by hour; sums",
            *(f"{sizes[name]:.0f} B" for name in ("event", "hour")),
            f"{sizes['hours']:,} rows",
        )
    finally:
        await connection.close()


async def main(options: argparse.Namespace) -> None:
    directory = Path(tempfile.mkdtemp(prefix="gateway-bench-"))
    postgres = EmbeddedPostgres(directory / "postgres", log=directory / "postgres.log", durable=False)
    parts: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
        "rollups-small": lambda dsn: measure_rollups(dsn, SMALL, options.rounds),
        "rollups": lambda dsn: measure_rollups(dsn, options.events, options.rounds),
        "sink": lambda dsn: sink.measure(dsn, options.batches),
        "retention": lambda dsn: retention.measure(dsn, options.day),
    }
    try:
        # The sink tells of its connections, which are many here.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        await postgres.start()
        for name, measure in parts.items():
            if options.part and not name.startswith(options.part):
                continue
            admin = await asyncpg.connect(postgres.dsn, command_timeout=TIMEOUT_S)
            await admin.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
            await admin.execute("CREATE DATABASE bench")
            await admin.close()
            dsn = postgres.dsn_of("bench")
            await migrate(dsn)
            print(name, flush=True)
            await measure(dsn)
    finally:
        await postgres.stop()
        placement.forget(directory / "postgres")
        shutil.rmtree(directory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench-usage", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000, help="raw events that statistics are asked about")
    parser.add_argument("--day", type=int, default=1_000_000, help="events of the day that is dropped")
    parser.add_argument("--rounds", type=int, default=200, help="how often each question is asked")
    parser.add_argument("--batches", type=int, default=200, help="batches of events for the sink")
    parser.add_argument("--keys", type=int, default=200_000, help="buckets in Valkey")
    parser.add_argument("--part", help="only rollups, sink, retention, journal or buckets")
    options = parser.parse_args()
    if options.part in {None, "journal"}:
        print("journal")
        journal.measure(100_000)
    if options.part in {None, "buckets"}:
        print("buckets")
        asyncio.run(buckets.measure(options.keys))
    if options.part not in {"journal", "buckets"}:
        asyncio.run(main(options))
