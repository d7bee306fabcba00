"""The database: bounded waits whatever Postgres does, and a pool that comes back by itself."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from gateway.adapters.postgres.migrate import migrate
from gateway.adapters.postgres.pool import Database, DatabaseDown, PoolSettings
from gateway.adapters.postgres.schema import Fit
from gateway.embedded.polling import until
from tests.servers import execute

if TYPE_CHECKING:
    from gateway.embedded.postgres import EmbeddedPostgres

RECOVERY_S = 5.0
NOTICED_S = 3.0
"""Sooner than the keeper looks by itself: a caller's bad experience makes it look."""


async def answer(database: Database, timeout_s: float | None = None) -> int:
    """Ask the simplest question there is."""
    async with database.connection(timeout_s) as connection:
        value: int = await connection.fetchval("SELECT 42")
    return value


async def refusal(database: Database) -> tuple[DatabaseDown, float]:
    """Ask, expecting no answer; gives the fault and how many seconds it took."""
    began = time.monotonic()
    with pytest.raises(DatabaseDown) as caught:
        await answer(database)
    return caught.value, time.monotonic() - began


async def ready(database: Database) -> bool:
    return database.ready


def why(database: Database) -> str | None:
    return database.why


def fit(database: Database) -> Fit | None:
    return database.schema.fit if database.schema else None


async def away(database: Database) -> bool:
    return not database.ready


@pytest.mark.timeout(30)
async def test_it_starts_while_postgres_is_away_and_connects_when_it_comes(own_postgres: EmbeddedPostgres) -> None:
    await own_postgres.stop()
    async with Database(own_postgres.dsn) as database:
        fault, _ = await refusal(database)
        assert "cannot connect" in str(fault)
        assert why(database) == str(fault)
        _, seconds = await refusal(database)
        assert seconds < 0.05, "known to be away: nobody waits"
        await own_postgres.start()
        assert await until(lambda: ready(database), RECOVERY_S)
        assert why(database) is None
        assert await answer(database) == 42


@pytest.mark.timeout(30)
async def test_a_killed_and_replaced_server_is_found_again(own_postgres: EmbeddedPostgres) -> None:
    async with Database(own_postgres.dsn, PoolSettings(size_min=3)) as database:
        assert await answer(database) == 42
        own_postgres.send_to_all(signal.SIGKILL)
        fault, _ = await refusal(database)
        assert own_postgres.password not in str(fault)
        assert await until(lambda: away(database), NOTICED_S)
        await own_postgres.stop()
        await own_postgres.start()
        assert await until(lambda: ready(database), RECOVERY_S)
        assert await asyncio.gather(*(answer(database) for _ in range(20))) == [42] * 20


@pytest.mark.timeout(30)
async def test_a_silent_server_costs_a_caller_its_own_bound_and_then_nothing(own_postgres: EmbeddedPostgres) -> None:
    async with Database(own_postgres.dsn) as database:
        assert await answer(database) == 42
        own_postgres.send_to_all(signal.SIGSTOP)
        try:
            waits = await asyncio.gather(*(refusal(database) for _ in range(20)))
            assert max(seconds for _, seconds in waits) < 1.3
            assert await until(lambda: away(database), NOTICED_S)
            _, seconds = await refusal(database)
            assert seconds < 0.05
        finally:
            own_postgres.send_to_all(signal.SIGCONT)
        assert await until(lambda: ready(database), RECOVERY_S)
        assert await answer(database) == 42


async def test_a_slow_statement_is_cut_off_in_a_transaction_too(postgres_dsn: str) -> None:
    async with Database(postgres_dsn, PoolSettings(size_max=1)) as database:
        assert await answer(database) == 42
        began = time.monotonic()
        with pytest.raises(DatabaseDown, match="no answer from Postgres in time"):
            async with database.connection(0.2) as connection, connection.transaction():
                await connection.execute("SELECT pg_sleep(30)")
        assert time.monotonic() - began < 0.5
        assert database.ready, "one slow statement does not make the server away"
        assert await answer(database) == 42, "the only place in the pool is free again"


async def test_an_exhausted_pool_makes_callers_wait_within_their_bound(postgres_dsn: str) -> None:
    async with Database(postgres_dsn, PoolSettings(size_max=1, query_timeout_s=0.3)) as database:
        async with database.connection(5):
            fault, seconds = await refusal(database)
            assert "free in time" in str(fault)
            assert 0.2 < seconds < 0.6
        assert database.ready
        assert await answer(database) == 42


async def test_an_answer_that_is_an_error_passes_through(postgres_dsn: str) -> None:
    async with Database(postgres_dsn) as database:
        with pytest.raises(asyncpg.UndefinedTableError):
            async with database.connection() as connection:
                await connection.execute("SELECT * FROM nowhere")
        assert database.ready


async def test_a_caller_that_is_cancelled_gives_its_connection_back(postgres_dsn: str) -> None:
    async with Database(postgres_dsn, PoolSettings(size_max=1)) as database:
        assert await answer(database) == 42

        async def sleep() -> None:
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(30)")

        sleeping = asyncio.create_task(sleep())
        await asyncio.sleep(0.05)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert await answer(database) == 42


async def test_an_older_schema_is_refused_until_somebody_migrates(postgres_dsn: str) -> None:
    await execute(postgres_dsn, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    async with Database(postgres_dsn) as database:
        fault, _ = await refusal(database)
        assert "gateway migrate" in str(fault)
        assert fit(database) is Fit.OLDER
        await migrate(postgres_dsn)
        assert await until(lambda: ready(database), RECOVERY_S)
        assert fit(database) is Fit.CURRENT


async def test_an_older_schema_is_migrated_where_that_is_wanted(postgres_dsn: str) -> None:
    await execute(postgres_dsn, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    async with Database(postgres_dsn, PoolSettings(migrate=True)) as database:
        assert await until(lambda: ready(database), RECOVERY_S)
        assert fit(database) is Fit.CURRENT


async def test_a_wrong_password_is_reported_without_any(own_postgres: EmbeddedPostgres) -> None:
    dsn = own_postgres.dsn.replace(own_postgres.password, "not-the-password")
    async with Database(dsn) as database:
        fault, _ = await refusal(database)
    assert "password authentication failed" in str(fault)
    assert "not-the-password" not in str(fault)


@pytest.mark.timeout(30)
async def test_a_server_without_a_free_slot_is_waited_for(own_postgres: EmbeddedPostgres) -> None:
    others: list[asyncpg.Connection[asyncpg.Record]] = []
    await execute(own_postgres.dsn, "ALTER SYSTEM SET max_connections = 5")
    await execute(own_postgres.dsn, "ALTER SYSTEM SET superuser_reserved_connections = 0")
    await execute(own_postgres.dsn, "ALTER SYSTEM SET max_wal_senders = 0")
    await own_postgres.stop()
    await own_postgres.start()
    try:
        while len(others) < 5:
            others.append(await asyncpg.connect(own_postgres.dsn))
        async with Database(own_postgres.dsn) as database:
            fault, _ = await refusal(database)
            assert "too many clients" in str(fault)
            while others:
                await others.pop().close()
            assert await until(lambda: ready(database), RECOVERY_S)
    finally:
        for other in others:
            await other.close()


async def test_leaving_closes_every_connection(postgres_dsn: str) -> None:
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with Database(postgres_dsn, PoolSettings(size_min=3)) as database:
        assert await answer(database) == 42
        async with database.connection() as connection:
            assert await connection.fetchval(count) == 2
    observer = await asyncpg.connect(postgres_dsn)
    try:

        async def alone() -> bool:
            return bool(await observer.fetchval(count) == 0)

        assert await until(alone, RECOVERY_S)
    finally:
        await observer.close()
