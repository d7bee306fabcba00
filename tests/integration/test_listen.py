"""Key changes: heard at once, and never trusted when they may have been missed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import asyncpg
import pytest

from gateway.adapters.memory.keycache import KeyCache
from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.adapters.postgres.keys import NewKey, create_key, delete_key, rotate_key, set_status
from gateway.adapters.postgres.listen import KeyChangeListener
from gateway.adapters.postgres.pool import Database
from gateway.core.credentials import digest
from gateway.core.keys import KeyStatus
from gateway.embedded.polling import until
from gateway.jobs.invalidate import Invalidator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.keys import CreatedKey
    from gateway.embedded.postgres import EmbeddedPostgres

DEADLINE_S = 5.0
LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%gateway_heartbeat%' AND pid <> pg_backend_pid() AND datname = current_database()"


class Recorder:
    """Writes down what a listener says."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_change(self, payload: str) -> None:
        self.heard.append(payload)

    def on_resync(self) -> None:
        self.heard.append("resync")

    def on_lost(self) -> None:
        self.heard.append("lost")


@contextlib.asynccontextmanager
async def running(listener: KeyChangeListener) -> AsyncIterator[None]:
    """Run *listener* beside the block, from when it has connected."""
    task = asyncio.create_task(listener.run())
    try:
        await eventually(lambda: listener.connected)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    assert await until(holds, DEADLINE_S)


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres_dsn)
    yield connection
    await connection.close()


async def made(connection: Connection) -> CreatedKey:
    account = await create_account(connection, "Acme")
    return await create_key(connection, NewKey(account_id=account, name="A key", scopes=("READ",)))


async def test_every_change_of_a_key_is_heard_by_its_id(postgres_dsn: str, connection: Connection) -> None:
    recorder = Recorder()
    async with running(KeyChangeListener(postgres_dsn, recorder)):
        assert recorder.heard == ["resync"]
        created = await made(connection)
        key = f"key:{created.stored.id}"
        await eventually(lambda: set(recorder.heard[1:]) == {key, f"secret:{digest(created.key).hex()}"})
        for change in (
            set_status(connection, created.stored.id, KeyStatus.SUSPENDED),
            connection.execute("UPDATE api_keys SET scopes = '{OTHER}'"),
            delete_key(connection, created.stored.id),
            connection.execute("UPDATE key_secrets SET valid_until = now()"),
            connection.execute("DELETE FROM api_keys"),
        ):
            recorder.heard.clear()
            await change
            await eventually(lambda: recorder.heard == [key])


async def test_a_rotation_is_heard_for_the_key_and_for_its_new_secret(
    postgres_dsn: str, connection: Connection
) -> None:
    created = await made(connection)
    recorder = Recorder()
    async with running(KeyChangeListener(postgres_dsn, recorder)):
        rotated = await rotate_key(connection, created.stored.id, prefix="bk_live_", grace_s=60)
        assert rotated is not None
        await eventually(
            lambda: set(recorder.heard[1:]) == {f"key:{created.stored.id}", f"secret:{digest(rotated.key).hex()}"}
        )


async def test_a_use_of_a_key_is_no_change(postgres_dsn: str, connection: Connection) -> None:
    await made(connection)
    recorder = Recorder()
    async with running(KeyChangeListener(postgres_dsn, recorder)):
        await connection.execute("UPDATE api_keys SET last_used_at = now()")
        await connection.execute("NOTIFY gateway_keys, 'key:marker'")
        await eventually(lambda: recorder.heard == ["resync", "key:marker"])


@pytest.mark.timeout(30)
async def test_ten_thousand_changes_in_one_transaction_commit_and_are_heard(
    postgres_dsn: str, connection: Connection
) -> None:
    created = await made(connection)
    await connection.execute(
        "INSERT INTO api_keys (id, account_id, name, description, scopes, rate_limit_per_hour)"
        # One is larger than the payload of a notification may be.
        " SELECT 'api_key_' || n, $1, 'many', repeat('x', CASE n WHEN 1 THEN 9000 ELSE 0 END), '{READ}', 1"
        " FROM generate_series(1, 9999) AS n",
        created.stored.account_id,
    )
    recorder = Recorder()
    async with running(KeyChangeListener(postgres_dsn, recorder)):
        await connection.execute("UPDATE api_keys SET name = 'changed'")
        await eventually(lambda: len(set(recorder.heard)) == 10_001)


@pytest.mark.timeout(30)
async def test_a_lost_connection_is_told_and_made_again(postgres_dsn: str, connection: Connection) -> None:
    recorder = Recorder()
    listener = KeyChangeListener(postgres_dsn, recorder)
    async with running(listener):
        await connection.execute(LISTENERS.replace("SELECT count(*)", "SELECT pg_terminate_backend(pid)"))
        await eventually(lambda: recorder.heard == ["resync", "lost", "resync"])
        await connection.execute("NOTIFY gateway_keys, 'key:again'")
        await eventually(lambda: recorder.heard[-1] == "key:again")


@pytest.mark.timeout(30)
async def test_a_silent_server_is_noticed_by_the_heartbeat(own_postgres: EmbeddedPostgres) -> None:
    recorder = Recorder()
    listener = KeyChangeListener(own_postgres.dsn, recorder, heartbeat_s=0.1)
    async with running(listener):
        await asyncio.sleep(0.5)
        assert recorder.heard == ["resync"], "heartbeats that come back are not told"
        own_postgres.send_to_all(signal.SIGSTOP)
        try:
            await eventually(lambda: recorder.heard == ["resync", "lost"])
            assert not listener.connected
        finally:
            own_postgres.send_to_all(signal.SIGCONT)
        await eventually(lambda: listener.connected)


async def test_a_connection_that_carries_no_notifications_is_noticed(postgres_dsn: str) -> None:
    recorder = Recorder()
    listener = KeyChangeListener(postgres_dsn, recorder, heartbeat_s=0.05)
    async with running(listener):
        # The connection answers as before, but its heartbeats now go where it does not listen.
        listener._private_channel = "gateway_heartbeat_elsewhere"
        await eventually(lambda: recorder.heard == ["resync", "lost", "resync"])


async def test_it_leaves_no_connection_behind(postgres_dsn: str, connection: Connection) -> None:
    async with running(KeyChangeListener(postgres_dsn, Recorder())):
        assert await connection.fetchval(LISTENERS) == 1

    async def gone() -> bool:
        return bool(await connection.fetchval(LISTENERS) == 0)

    assert await until(gone, DEADLINE_S)


async def test_a_revocation_reaches_the_key_cache(postgres_dsn: str, connection: Connection) -> None:
    created = await made(connection)
    async with (
        Database(postgres_dsn) as database,
        cache_on(database) as cache,
        running(KeyChangeListener(postgres_dsn, Invalidator(cache))),
    ):
        assert await cache.find(digest(created.key)) is not None
        await set_status(connection, created.stored.id, KeyStatus.REVOKED)
        await eventually(lambda: cache.fresh(digest(created.key)) is None)
        found = await cache.find(digest(created.key))
        assert found is not None
        assert found.record.status is KeyStatus.REVOKED


async def test_a_new_key_works_though_it_was_asked_for_before(postgres_dsn: str, connection: Connection) -> None:
    created = await made(connection)
    wanted = digest(created.key)
    await connection.execute("DELETE FROM key_secrets")
    async with (
        Database(postgres_dsn) as database,
        cache_on(database) as cache,
        running(KeyChangeListener(postgres_dsn, Invalidator(cache))),
    ):
        assert await cache.find(wanted) is None
        await connection.execute(
            "INSERT INTO key_secrets (digest, key_id, prefix) VALUES ($1, $2, '')", wanted, created.stored.id
        )

        async def found() -> bool:
            return await cache.find(wanted) is not None

        assert await until(found, DEADLINE_S)


async def test_a_missed_revocation_is_seen_after_the_connection_came_back(
    postgres_dsn: str, connection: Connection
) -> None:
    created = await made(connection)
    async with Database(postgres_dsn) as database, cache_on(database) as cache:
        invalidator = Invalidator(cache)
        async with running(KeyChangeListener(postgres_dsn, invalidator)):
            assert await cache.find(digest(created.key)) is not None
            assert cache.fresh(digest(created.key)) is not None
        assert cache.fresh(digest(created.key)) is None, "not heard, so not trusted"
        await set_status(connection, created.stored.id, KeyStatus.REVOKED)
        async with running(KeyChangeListener(postgres_dsn, invalidator)):
            found = await cache.find(digest(created.key))
            assert found is not None
            assert found.record.status is KeyStatus.REVOKED


@pytest.mark.parametrize("payload", ["", "key", "secret:not-hex", "everything:changed"])
async def test_a_change_that_is_not_understood_costs_all_trust(
    postgres_dsn: str, connection: Connection, payload: str
) -> None:
    created = await made(connection)
    async with Database(postgres_dsn) as database, cache_on(database) as cache:
        assert await cache.find(digest(created.key)) is not None
        Invalidator(cache).on_change(payload)
        assert cache.fresh(digest(created.key)) is None


@contextlib.asynccontextmanager
async def cache_on(database: Database) -> AsyncIterator[KeyCache]:
    cache = KeyCache(
        PostgresKeySource(database),
        asyncio.get_running_loop().time,
        ttl_s=25,
        max_stale_s=900,
        absent_ttl_s=5,
        entries_max=100,
    )
    yield cache
    await cache.close()
