"""Shipping: every journalled event reaches Postgres once, whoever dies, races or is away (F10, F30, F31)."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from gateway.adapters.journal import Journal, abandoned
from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.pool import Database
from gateway.core.events import encode
from gateway.jobs.ship_events import EventShipper
from gateway.ports import SinkDown
from gateway.telemetry.telemetry import Telemetry
from tests.limiters import eventually
from tests.unit.telemetry.pages import samples
from tests.usage_events import usage_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from gateway.embedded.postgres import EmbeddedPostgres

SEGMENT_BYTES = 5_000


def record(number: int) -> bytes:
    return encode(usage_event(id=str(UUID(int=number)), request_id=f"req_{number}"))


class DyingSink:
    """A sink in front of a real one that dies before or after the write of each batch but every third."""

    def __init__(self, sink: PostgresUsageSink, *, after: bool) -> None:
        self._sink = sink
        self._after = after
        self._calls = 0

    async def position(self, journal: str) -> int:
        return await self._sink.position(journal)

    async def write(self, journal: str, start: int, end: int, events: Sequence[bytes]) -> int:
        self._calls += 1
        dies = self._calls % 3 != 0
        if dies and not self._after:
            raise SinkDown("died before the write")
        reached = await self._sink.write(journal, start, end, events)
        if dies:
            raise SinkDown("died after the write")
        return reached


class Site:
    """One directory of journals, one database, and the workers that a test opens on them."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory / "journal"
        self.counters = directory / "counters"
        self.database = database
        self.sink = PostgresUsageSink(database)
        self._open: list[Journal] = []
        self._telemetries: list[Telemetry] = []

    def journal(self, name: str, segment_max_bytes: int = SEGMENT_BYTES) -> Journal:
        journal = Journal(self.directory, name, segment_max_bytes=segment_max_bytes)
        self._open.append(journal)
        return journal

    def shipper(self, journal: Journal, sink: Any = None, interval_s: float = 0.02) -> EventShipper:
        telemetry = Telemetry(self.counters / f"worker-{len(self._telemetries)}.counters")
        self._telemetries.append(telemetry)
        return EventShipper(journal, self.directory, sink or self.sink, telemetry, interval_s=interval_s)

    def leave(self, journal: Journal) -> None:
        """Let go of *journal*, as its worker's death would."""
        self._open.remove(journal)
        journal.close()

    def close(self) -> None:
        for journal in self._open:
            journal.close()
        for telemetry in self._telemetries:
            telemetry.close()

    async def stored(self) -> list[int]:
        async with self.database.connection() as connection:
            rows = await connection.fetch("SELECT request_id FROM usage_events")
        return sorted(int(row["request_id"].removeprefix("req_")) for row in rows)


async def write(journal: Journal, numbers: range) -> None:
    for number in numbers:
        journal.append(record(number))
        if number % 10 == 0:
            await asyncio.sleep(0)
    journal.flush()


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with Database(postgres_dsn) as database:
        yield database


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
    site = Site(tmp_path, database)
    yield site
    site.close()


async def test_what_is_journalled_is_stored_once_however_often_it_is_shipped(site: Site) -> None:
    journal = site.journal("w0")
    shipper = site.shipper(journal)
    for turn in range(4):
        await write(journal, range(turn * 50, turn * 50 + 50))
        await shipper.drain()
        await site.shipper(journal).drain()
        assert await site.stored() == list(range(turn * 50 + 50))
    page = samples(site.counters)
    assert page["gateway_usage_events_shipped_total", "postgres"] == 200
    assert page["gateway_usage_journal_bytes", "postgres"] == 0


async def test_segments_that_were_shipped_are_deleted_and_the_own_one_is_kept(site: Site) -> None:
    journal = site.journal("w0")
    await write(journal, range(100))
    assert abandoned(site.directory, journal.segment)
    await site.shipper(journal).drain()
    assert list(site.directory.iterdir()) == [journal.segment]


async def test_a_dead_workers_journal_is_shipped_by_another_and_a_living_ones_is_not(site: Site) -> None:
    dead, living, mine = site.journal("w0"), site.journal("w1"), site.journal("w2")
    await write(dead, range(100))
    await write(living, range(100, 110))
    await write(mine, range(110, 120))
    site.leave(dead)
    await site.shipper(mine).drain()
    assert await site.stored() == [*range(100), *range(110, 120)]
    assert sorted(site.directory.iterdir()) == [living.segment, mine.segment]


@pytest.mark.parametrize("after", [False, True])
async def test_dying_before_or_after_a_write_neither_loses_nor_doubles(site: Site, after: bool) -> None:
    journal = site.journal("w0", 2_000)
    await write(journal, range(200))
    dying = DyingSink(site.sink, after=after)
    failures = 0
    while True:
        try:
            # A new shipper each time: what the old one remembered died with it.
            await site.shipper(journal, dying).drain()
            break
        except SinkDown:
            failures += 1
            assert failures < 200
    assert failures > 5
    assert await site.stored() == list(range(200))


async def test_shippers_that_race_for_abandoned_journals_store_each_event_once(site: Site) -> None:
    for name in ("w0", "w1", "w2"):
        journal = site.journal(name)
        start = int(name[1]) * 100
        await write(journal, range(start, start + 100))
        site.leave(journal)
    mine = [site.journal(f"mine{number}") for number in range(3)]
    await asyncio.gather(*(site.shipper(journal).drain() for journal in mine))
    assert await site.stored() == list(range(300))
    assert sorted(site.directory.iterdir()) == sorted(journal.segment for journal in mine)


async def test_a_segment_that_is_followed_while_it_is_shipped_loses_nothing(site: Site) -> None:
    journal = site.journal("w0", 1_500)
    shipper = site.shipper(journal)
    shipping = asyncio.create_task(shipper.run())
    for turn in range(30):
        await write(journal, range(turn * 20, turn * 20 + 20))
        await asyncio.sleep(0.005)
    shipping.cancel()
    await asyncio.gather(shipping, return_exceptions=True)
    await shipper.drain()
    assert await site.stored() == list(range(600))


async def test_what_a_full_disk_is_about_to_take_back_is_not_shipped(site: Site) -> None:
    journal = site.journal("w0")
    await write(journal, range(3))
    with journal.segment.open("ab") as segment:
        segment.write(b"00000000 half of a record\n")
    await site.shipper(journal).drain()
    assert await site.sink.position(journal.segment.name) == journal.size
    assert samples(site.counters)["gateway_usage_events_dropped_total", "postgres"] == 0


async def test_corrupt_records_are_counted_once_and_passed_over(site: Site) -> None:
    dead, mine = site.journal("w0"), site.journal("w1")
    await write(dead, range(10))
    site.leave(dead)
    with dead.segment.open("ab") as segment:
        segment.write(bytes(1 << 20))
    await site.shipper(mine).drain()
    await site.shipper(mine).drain()
    assert await site.stored() == list(range(10))
    assert samples(site.counters)["gateway_usage_events_dropped_total", "postgres"] == 1
    assert not dead.segment.exists()


async def test_an_event_that_cannot_be_stored_does_not_hold_up_the_others(site: Site) -> None:
    journal = site.journal("w0")
    await write(journal, range(3))
    journal.append(json.dumps({"id": "nonsense"}).encode())
    await write(journal, range(3, 6))
    await site.shipper(journal).drain()
    assert await site.stored() == list(range(6))


@pytest.mark.timeout(30)
async def test_a_sink_that_is_away_only_delays(tmp_path: Path, own_postgres: EmbeddedPostgres) -> None:
    async with Database(own_postgres.dsn) as database:
        site = Site(tmp_path, database)
        journal = site.journal("w0")
        shipper = site.shipper(journal)
        await write(journal, range(50))
        await shipper.drain()
        shipping = asyncio.create_task(shipper.run())
        own_postgres.child.send(signal.SIGKILL)
        assert await own_postgres.child.ended(2)
        await write(journal, range(50, 100))
        await eventually(
            lambda: samples(site.counters)["gateway_usage_ship_failures_total", "postgres"] >= 2, timeout_s=10
        )
        assert samples(site.counters)["gateway_usage_events_shipped_total", "postgres"] == 50
        assert not shipping.done()
        await own_postgres.start()
        await eventually(
            lambda: samples(site.counters)["gateway_usage_events_shipped_total", "postgres"] == 100, timeout_s=15
        )
        shipping.cancel()
        await asyncio.gather(shipping, return_exceptions=True)
        assert await site.stored() == list(range(100))
        site.close()


async def test_a_directory_that_cannot_be_read_only_delays(site: Site) -> None:
    journal = site.journal("w0")
    shipper = site.shipper(journal)
    dead = site.directory / "dead-000001.journal"
    dead.mkdir()
    await write(journal, range(10))
    shipping = asyncio.create_task(shipper.run())
    await eventually(lambda: samples(site.counters)["gateway_usage_ship_failures_total", "postgres"] >= 1)
    assert not shipping.done()
    dead.rmdir()
    await eventually(lambda: samples(site.counters)["gateway_usage_events_shipped_total", "postgres"] == 10)
    shipping.cancel()
    await asyncio.gather(shipping, return_exceptions=True)
