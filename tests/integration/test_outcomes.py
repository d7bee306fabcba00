"""Reported outcomes: each completes its event once, whichever comes first, and statistics follow."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.outcomes import PostgresOutcomes, Settled
from gateway.adapters.postgres.pool import Database
from gateway.core.events import uuid7, uuid7_start
from gateway.core.outcomes import Outcome, encode
from tests import usage_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
_serial = itertools.count(1)


def new_id(at: datetime = NOW) -> str:
    return uuid7(uuid7_start(int(at.timestamp() * 1000)), f"{next(_serial):032x}")


def decided(event_id: str, at: datetime = NOW, **members: Any) -> bytes:
    """The event of a request that another proxy carries."""
    shown = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    plain = {"id": event_id, "at": shown, "mode": "sidecar", "status": None, "durationUs": 40, "keyId": "k"}
    return usage_events.event(**plain | members)


def outcome(event_id: str, status: int = 200, **members: Any) -> bytes:
    plain = {"duration_us": 5_000, "bytes_in": 10, "bytes_out": 1_000, "upstream_us": 4_000}
    return encode(Outcome(event_id, status, **plain | members))


class Usage:
    """What two workers store, and what is there then."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sinks = PostgresUsageSink(database), PostgresUsageSink(database)

    async def store(self, *records: bytes, worker: int = 0) -> None:
        sink, journal = self.sinks[worker], f"worker-{worker}-1.journal"
        position = await sink.position(journal)
        assert await sink.write(journal, position, position + 1, records) == position + 1
        assert sink.refused == 0

    async def settle(self) -> Settled:
        return await self.sinks[0].outcomes.settle()

    async def event(self, event_id: str) -> dict[str, Any]:
        async with self.database.connection() as connection:
            return dict(await connection.fetchrow("SELECT * FROM usage_events WHERE id = $1", event_id))

    async def sums(self, table: str) -> list[tuple[Any, ...]]:
        """Status, requests, duration, bytes and the histogram of what is not empty."""
        query = "SELECT status, requests, duration_us, bytes_in, bytes_out, latencies FROM %s WHERE requests <> 0"
        async with self.database.connection() as connection:
            rows = await connection.fetch(f"{query % table} ORDER BY key_id, status")
            empty = await connection.fetch(query.replace("<>", "=") % table)
        assert not any(any((*row[1:5], *row["latencies"])) for row in empty)
        return [tuple(row) for row in rows]

    async def sums_are_those_of_the_events(self) -> None:
        """The sums are what they would be if the events had been stored as they are now."""
        told = [await self.sums("usage_minutes"), await self.sums("usage_hours")]
        async with self.database.connection() as connection, connection.transaction():
            await connection.execute(
                "CREATE TEMPORARY TABLE stored_now (LIKE usage_events) ON COMMIT DROP;"
                "CREATE TRIGGER usage_stored_now AFTER INSERT ON stored_now"
                " REFERENCING NEW TABLE AS stored FOR EACH STATEMENT EXECUTE FUNCTION sum_up_usage();"
                "DELETE FROM usage_minutes; DELETE FROM usage_hours; INSERT INTO stored_now SELECT * FROM usage_events"
            )
        assert told == [await self.sums("usage_minutes"), await self.sums("usage_hours")]


@pytest.fixture
async def usage(postgres_dsn: str) -> AsyncIterator[Usage]:
    async with Database(postgres_dsn) as database:
        yield Usage(database)


async def test_an_outcome_completes_its_event_and_moves_its_request_in_the_sums(usage: Usage) -> None:
    event_id, other = new_id(), new_id()
    await usage.store(decided(event_id), decided(other), outcome(event_id, 502, bytes_in=None))
    assert await usage.settle() == Settled(completed=1)
    told = await usage.event(event_id)
    assert (told["status"], told["duration_us"], told["upstream_us"]) == (502, 5_000, 4_000)
    assert (told["bytes_in"], told["bytes_out"]) == (0, 1_000)
    assert (await usage.event(other))["status"] is None
    assert [row[:5] for row in await usage.sums("usage_hours")] == [(0, 1, 40, 0, 0), (502, 1, 5_000, 0, 1_000)]
    await usage.sums_are_those_of_the_events()


async def test_what_is_reported_again_changes_nothing(usage: Usage) -> None:
    event_id = new_id()
    await usage.store(decided(event_id), outcome(event_id, 201), outcome(event_id, 500))
    await usage.store(outcome(event_id, 503), worker=1)
    assert (await usage.settle()).completed == 1
    await usage.store(outcome(event_id, 504), worker=1)
    assert await usage.settle() == Settled(repeated=1)
    assert (await usage.event(event_id))["status"] == 201
    await usage.sums_are_those_of_the_events()


async def test_an_outcome_waits_for_an_event_that_another_worker_ships_later(usage: Usage) -> None:
    event_id = new_id(NOW - timedelta(days=1))
    await usage.store(outcome(event_id), worker=1)
    assert await usage.settle() == Settled(waiting=True)
    await usage.store(decided(event_id, NOW - timedelta(days=1)))
    assert await usage.settle() == Settled(completed=1)
    assert (await usage.event(event_id))["status"] == 200


@pytest.mark.parametrize(
    "members", [{"mode": "proxy", "status": 200}, {"mode": "proxy"}, {"status": 403, "outcome": "ip"}]
)
async def test_what_the_gateway_knows_itself_is_not_changed(usage: Usage, members: dict[str, Any]) -> None:
    event_id = new_id()
    await usage.store(decided(event_id, **members), outcome(event_id, 418))
    assert await usage.settle() == Settled(repeated=1)
    assert (await usage.event(event_id))["status"] == members.get("status")


async def test_an_outcome_of_no_event_is_given_up_and_counted(usage: Usage) -> None:
    event_id = new_id()
    await usage.store(decided(event_id), outcome(new_id()))
    assert await usage.settle() == Settled(waiting=True)
    assert await PostgresOutcomes(usage.database, patience=timedelta()).settle() == Settled(unknown=1)
    assert (await usage.event(event_id))["status"] is None


async def test_a_batch_that_is_shipped_again_brings_its_outcomes_once(usage: Usage) -> None:
    event_id = new_id()
    batch = [decided(event_id), outcome(event_id)]
    sink = usage.sinks[0]
    assert await sink.write("j.journal", 0, 10, batch) == 10
    assert await sink.write("j.journal", 0, 10, batch) == 10
    assert await usage.settle() == Settled(completed=1)
    assert await usage.settle() == Settled()
    assert [row[1] for row in await usage.sums("usage_minutes")] == [1]


async def test_instances_that_store_and_settle_at_once_count_each_request_once(usage: Usage) -> None:
    moments = [NOW + timedelta(seconds=number) for number in range(120)]
    ids = [new_id(at) for at in moments]
    events = [decided(id_, at, keyId=f"k{at.second % 5}") for id_, at in zip(ids, moments, strict=True)]

    async def ship(worker: int) -> int:
        completed = 0
        for number in range(0, len(ids), 20):
            part = slice(number, number + 20)
            reported = [outcome(id_, 200 + 100 * (number % 4)) for number, id_ in enumerate(reversed(ids[part]))]
            await usage.store(*(events[part] if worker == 0 else ()), *reported, worker=worker)
            completed += (await usage.sinks[worker].outcomes.settle()).completed
        return completed

    completed = sum(await asyncio.gather(ship(0), ship(1))) + (await usage.settle()).completed
    assert completed == len(ids)
    assert sum(row[1] for row in await usage.sums("usage_hours")) == len(ids)
    await usage.sums_are_those_of_the_events()
    assert json.loads(events[0])["status"] is None
