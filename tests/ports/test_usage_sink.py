"""The UsageSink port: one suite for every place that usage events go to."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from redis.asyncio import Redis

from gateway.adapters.json_lines import JsonLinesPublisher
from gateway.adapters.positions import PositionedSink
from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.pool import Database
from gateway.adapters.redis.event_stream import RedisStreamPublisher
from gateway.embedded.listening import free_port
from gateway.ports import SinkDown
from tests.usage_events import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.ports import UsageSink

JOURNAL = "worker-0-1.journal"
OTHER = "worker-1-1.journal"
STREAM = "usage"
EVERY_SINK = ["postgres", "redis_stream", "json_lines"]


class Place(Protocol):
    """One sink of a test, and a look behind it."""

    def sink(self) -> UsageSink:
        """Give a new sink of the same place, as a restarted worker has it."""
        ...

    def away(self) -> UsageSink:
        """Give a sink whose place cannot be reached."""
        ...

    async def ids(self) -> list[str]:
        """Give the ids of the events that have arrived, in their order."""
        ...

    async def close(self) -> None:
        """Close everything."""
        ...


class PostgresPlace:
    def __init__(self, database: Database, away: Database) -> None:
        self._database, self._away = database, away

    def sink(self) -> UsageSink:
        return PostgresUsageSink(self._database)

    def away(self) -> UsageSink:
        return PostgresUsageSink(self._away)

    async def ids(self) -> list[str]:
        async with self._database.connection() as connection:
            return [str(row["id"]) for row in await connection.fetch("SELECT id FROM usage_events ORDER BY id")]

    async def close(self) -> None:
        pass


class OutsidePlace:
    """What positions beside the journal have in common."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._opened: list[PositionedSink] = []
        for journal in (JOURNAL, OTHER):
            (directory / journal).touch()

    def positioned(self, publisher: Any) -> PositionedSink:
        self._opened.append(PositionedSink("outside", publisher, self.directory, "/tests"))
        return self._opened[-1]

    async def close(self) -> None:
        for sink in self._opened:
            await sink.close()


class RedisPlace(OutsidePlace):
    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory)
        self._url = url

    def sink(self) -> UsageSink:
        return self.positioned(RedisStreamPublisher(self._url, STREAM, 1_000))

    def away(self) -> UsageSink:
        return self.positioned(RedisStreamPublisher(f"redis://:secret@127.0.0.1:{free_port()}/0", STREAM, 1_000))

    async def ids(self) -> list[str]:
        async with Redis.from_url(self._url, socket_timeout=10) as client:
            return [json.loads(fields[b"event"])["id"] for _, fields in await client.xrange(STREAM)]


class LinesPlace(OutsidePlace):
    def sink(self) -> UsageSink:
        return self.positioned(JsonLinesPublisher(str(self.directory / "lines")))

    def away(self) -> UsageSink:
        return self.positioned(JsonLinesPublisher(str(self.directory / "nowhere" / "lines")))

    async def ids(self) -> list[str]:
        path = self.directory / "lines"
        return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(params=EVERY_SINK)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_dsn: str, redis_url: str
) -> AsyncIterator[Place]:
    if request.param == "postgres":
        nowhere = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/nothing"
        async with Database(postgres_dsn) as database, Database(nowhere) as away:
            yield PostgresPlace(database, away)
        return
    place: Any = LinesPlace(tmp_path)
    if request.param == "redis_stream":
        place = RedisPlace(tmp_path, redis_url)
    yield place
    await place.close()


def batch(count: int) -> tuple[list[bytes], list[str]]:
    """Events, and their ids."""
    events = [event() for _ in range(count)]
    return events, [json.loads(text)["id"] for text in events]


async def test_a_journal_that_was_never_written_is_at_its_beginning(place: Place) -> None:
    assert await place.sink().position(JOURNAL) == 0


async def test_events_arrive_in_order_and_the_position_moves(place: Place) -> None:
    sink = place.sink()
    (first, first_ids), (second, second_ids) = batch(100), batch(100)
    assert await sink.write(JOURNAL, 0, 1_000, first) == 1_000
    assert await sink.write(JOURNAL, 1_000, 2_000, second) == 2_000
    assert await sink.position(JOURNAL) == 2_000
    assert await place.ids() == first_ids + second_ids


async def test_a_write_that_is_repeated_is_not_sent_again(place: Place) -> None:
    events, ids = batch(3)
    await place.sink().write(JOURNAL, 0, 300, events)
    more, more_ids = batch(1)
    restarted = place.sink()
    assert await restarted.write(JOURNAL, 0, 400, [*events, *more]) == 300, "the stored position"
    assert await restarted.write(JOURNAL, 300, 400, more) == 400
    assert await place.ids() == ids + more_ids


async def test_a_write_from_nowhere_sends_nothing(place: Place) -> None:
    events, ids = batch(2)
    sink = place.sink()
    await sink.write(JOURNAL, 0, 200, events)
    assert await sink.write(JOURNAL, 700, 900, events) == 200
    assert await place.ids() == ids


async def test_each_journal_has_a_position_of_its_own(place: Place) -> None:
    sink = place.sink()
    await sink.write(JOURNAL, 0, 100, batch(1)[0])
    assert await sink.position(OTHER) == 0
    await sink.write(OTHER, 0, 50, batch(1)[0])
    assert (await sink.position(JOURNAL), await sink.position(OTHER)) == (100, 50)


async def test_a_piece_without_events_moves_the_position(place: Place) -> None:
    sink = place.sink()
    assert await sink.write(JOURNAL, 0, 70, []) == 70
    assert await sink.position(JOURNAL) == 70
    assert await place.ids() == []


async def test_what_is_no_event_is_counted_and_never_holds_up_the_others(place: Place) -> None:
    sink = place.sink()
    events, ids = batch(2)
    nonsense = [b'{"id": "nonsense"}', b"[]"]
    assert await sink.write(JOURNAL, 0, 300, [events[0], nonsense[0], events[1]]) == 300
    assert sink.refused == 1
    assert await place.ids() == ids


async def test_workers_that_write_the_same_piece_at_once_send_it_once(place: Place) -> None:
    events, ids = batch(50)
    sinks = [place.sink() for _ in range(4)]
    reached = await asyncio.gather(*(sink.write(JOURNAL, 0, 5_000, events) for sink in sinks))
    assert set(reached) == {5_000}
    assert await place.ids() == ids


async def test_a_place_that_is_away_is_a_sink_down_that_shows_no_secret(place: Place) -> None:
    sink = place.away()
    with pytest.raises(SinkDown) as raised:
        await sink.write(JOURNAL, 0, 100, batch(1)[0])
    assert str(raised.value)
    assert "secret" not in str(raised.value)


async def test_after_a_failed_write_the_position_is_where_it_was(place: Place) -> None:
    sink = place.sink()
    await sink.write(JOURNAL, 0, 100, batch(1)[0])
    with pytest.raises(SinkDown):
        await place.away().write(JOURNAL, 100, 200, batch(1)[0])
    assert await sink.position(JOURNAL) == 100
