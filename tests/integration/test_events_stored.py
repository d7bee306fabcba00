"""Usage events in Postgres: each once, with its journal's position, whatever else is in the batch."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.keys import NewKey, create_key, get_key
from gateway.adapters.postgres.pool import Database
from gateway.embedded.polling import until
from gateway.ports import SinkDown
from tests.servers import execute
from tests.usage_events import event, members_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from gateway.embedded.postgres import EmbeddedPostgres

JOURNAL = "worker-0-1.journal"
RECOVERY_S = 5.0


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with Database(postgres_dsn) as database:
        yield database


@pytest.fixture
def sink(database: Database) -> PostgresUsageSink:
    return PostgresUsageSink(database)


async def rows(database: Database) -> list[asyncpg.Record]:
    async with database.connection() as connection:
        return await connection.fetch("SELECT * FROM usage_events ORDER BY id")


async def test_an_event_keeps_every_member(database: Database, sink: PostgresUsageSink) -> None:
    members = {
        "accountId": "account_1",
        "keyId": "api_key_1",
        "upstream": "budgets",
        "target": "http://budgets:8000",
        "durationUs": 2**40,
        "upstreamUs": 7,
        "bytesIn": 1,
        "bytesOut": 2**40,
        "status": None,
        "notKnownYet": {"passed": "over"},
    }
    written = members_of(**members)
    assert await sink.position(JOURNAL) == 0
    assert await sink.write(JOURNAL, 0, 100, [json.dumps(written).encode()]) == 100
    assert await sink.position(JOURNAL) == 100
    (row,) = await rows(database)
    assert str(row["id"]) == written["id"]
    assert row["at"] == datetime(2026, 11, 24, 12, 0, 0, 123_000, UTC)
    assert row["day"] == date(2026, 11, 24)
    assert (row["request_id"], row["route"], row["client_ip"]) == (
        "req_0123456789abcdef",
        "budgets.read",
        "203.0.113.7",
    )
    assert (row["account_id"], row["key_id"], row["target"]) == ("account_1", "api_key_1", "http://budgets:8000")
    assert (row["duration_us"], row["upstream_us"], row["bytes_in"], row["bytes_out"]) == (2**40, 7, 1, 2**40)
    assert (row["status"], row["outcome"], row["mode"], row["schema"]) == (None, "admitted", "proxy", 1)


async def test_a_batch_that_is_sent_again_is_written_once(database: Database, sink: PostgresUsageSink) -> None:
    first, second = [event(), event()], [event()]
    await sink.write(JOURNAL, 0, 100, first)
    assert await sink.write(JOURNAL, 0, 150, [*first, *second]) == 100, "the stored position, and nothing written"
    assert await sink.write(JOURNAL, 100, 150, second) == 150
    assert len(await rows(database)) == 3


async def test_a_position_from_nowhere_writes_nothing(database: Database, sink: PostgresUsageSink) -> None:
    assert await sink.write(JOURNAL, 50, 100, [event()]) == 0
    assert await rows(database) == []


async def test_two_shippers_of_one_journal_write_it_once(database: Database) -> None:
    sinks = [PostgresUsageSink(database) for _ in range(5)]
    for start in (0, 100, 200):
        batch = [event() for _ in range(50)]
        reached = await asyncio.gather(*(sink.write(JOURNAL, start, start + 100, batch) for sink in sinks))
        assert set(reached) == {start + 100}
    assert len(await rows(database)) == 150


async def test_a_shipper_waits_for_one_that_is_further_and_then_writes_nothing(
    database: Database, sink: PostgresUsageSink
) -> None:
    await sink.write(JOURNAL, 0, 100, [event()])
    async with database.connection(5) as other, database.connection(5) as observer:

        async def waiting() -> bool:
            return bool(await observer.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)

        async with other.transaction():
            await other.execute("SELECT FROM journal_offsets FOR UPDATE")
            behind = asyncio.create_task(sink.write(JOURNAL, 100, 200, [event()]))
            assert await until(waiting, 2)
            await other.execute("UPDATE journal_offsets SET position = 300")
        assert await behind == 300
    assert await sink.position(JOURNAL) == 300
    assert len(await rows(database)) == 1


async def test_instances_that_make_the_same_partitions_at_once_all_succeed(database: Database) -> None:
    days = [f"2026-12-{day:02d}T23:59:59.999Z" for day in range(1, 9)]
    await asyncio.gather(
        *(
            PostgresUsageSink(database).write(f"worker-{number}.journal", 0, 10, [event(at=at) for at in days])
            for number in range(6)
        )
    )
    assert len(await rows(database)) == 48


@pytest.mark.parametrize(
    "members",
    [
        {"id": "not-a-uuid"},
        {"at": "yesterday"},
        {"at": "2026-11-24T12:00:00+99:00"},
        {"at": "2026-11-24T00:00:00+12:00"},
        {"at": "9999-12-31T23:59:59.999Z"},
        {"at": None},
        {"path": "/nul\0"},
        {"path": "/lone\ud800"},
        {"status": 2**15},
        {"durationUs": 2**63},
        {"bytesIn": True},
        {"route": None},
        {"schema": {}},
    ],
)
async def test_an_event_that_cannot_be_stored_is_counted_and_blocks_nothing(
    database: Database, sink: PostgresUsageSink, members: dict[str, Any]
) -> None:
    assert await sink.write(JOURNAL, 0, 100, [event(), event(**members), event()]) == 100
    assert len(await rows(database)) == 2
    assert sink.refused == 1


@pytest.mark.parametrize("text", [b"[1]", b"{", b"5", b"nonsense", b"\xff"])
async def test_a_text_that_is_no_event_is_counted_and_blocks_nothing(
    database: Database, sink: PostgresUsageSink, text: bytes
) -> None:
    assert await sink.write(JOURNAL, 0, 100, [event(), event(), text, event()]) == 100
    assert len(await rows(database)) == 3
    assert sink.refused == 1


async def test_an_event_that_is_there_already_is_left_alone(database: Database, sink: PostgresUsageSink) -> None:
    known = event()
    await sink.write(JOURNAL, 0, 100, [known])
    assert await sink.write("copied.journal", 0, 100, [known, event()]) == 100
    assert len(await rows(database)) == 2


async def test_keys_learn_when_they_were_used_last(database: Database, sink: PostgresUsageSink) -> None:
    async with database.connection() as connection:
        account = await create_account(connection, "Acme")
        key_id = (await create_key(connection, NewKey(account_id=account, name="A", scopes=("READ",)))).stored.id
    times = ["2026-11-24T12:00:00.001Z", "2026-11-24T12:00:00.003Z", "2026-11-24T12:00:00.002Z"]
    await sink.write(JOURNAL, 0, 1, [event(keyId=key_id, at=at) for at in times] + [event(keyId="api_key_gone")])
    await sink.write(JOURNAL, 1, 2, [event(keyId=key_id, at=times[0])])
    async with database.connection() as connection:
        stored = await get_key(connection, key_id)
    assert stored is not None
    assert stored.last_used_at == datetime(2026, 11, 24, 12, 0, 0, 3000, UTC)
    assert stored.updated_at == stored.created_at


async def test_a_partition_that_was_dropped_is_made_again(
    postgres_dsn: str, database: Database, sink: PostgresUsageSink
) -> None:
    await sink.write(JOURNAL, 0, 1, [event()])
    await execute(postgres_dsn, "DROP TABLE usage_events_20261124")
    with pytest.raises(SinkDown):
        await sink.write(JOURNAL, 1, 2, [event()])
    assert await sink.write(JOURNAL, 1, 2, [event()]) == 2
    assert len(await rows(database)) == 1


@pytest.mark.timeout(30)
async def test_what_a_killed_server_did_not_confirm_is_written_once(own_postgres: EmbeddedPostgres) -> None:
    batches = [[event() for _ in range(200)] for _ in range(40)]
    async with Database(own_postgres.dsn) as database:
        sink = PostgresUsageSink(database)
        await sink.write(JOURNAL, 0, 1, batches[0])
        asyncio.get_running_loop().call_later(0.05, own_postgres.send_to_all, signal.SIGKILL)
        position = 1
        faults = 0
        while position < len(batches):
            try:
                position = await sink.write(JOURNAL, position, position + 1, batches[position])
            except SinkDown:
                faults += 1
                position = await _position_once_back(own_postgres, sink)
        assert faults > 0, "the server was killed in the middle"
        assert {str(row["id"]) for row in await rows(database)} == {
            json.loads(one)["id"] for batch in batches for one in batch
        }


async def _position_once_back(postgres: EmbeddedPostgres, sink: PostgresUsageSink) -> int:
    """Start the server again as soon as it is dead, which may be a moment after its connections are."""
    position = 0

    async def answers() -> bool:
        nonlocal position
        if not postgres.child.alive:
            await postgres.stop()
            await postgres.start()
        try:
            position = await sink.position(JOURNAL)
        except SinkDown:
            return False
        return True

    assert await until(answers, RECOVERY_S)
    return position


async def test_what_a_server_confirmed_outlives_it_even_where_commits_are_asynchronous(
    own_postgres: EmbeddedPostgres,
) -> None:
    await execute(own_postgres.dsn, "ALTER DATABASE gateway SET synchronous_commit = off")
    async with Database(own_postgres.dsn) as database:
        sink = PostgresUsageSink(database)
        # One after the other, since whatever makes Postgres write its log out makes an earlier commit last, too.
        for number in range(3):
            await sink.write(JOURNAL, number, number + 1, [event()])
        own_postgres.send_to_all(signal.SIGKILL)
        await own_postgres.child.ended(5)
        await own_postgres.start()
        assert await _position_once_back(own_postgres, sink) == 3
        assert len(await rows(database)) == 3
