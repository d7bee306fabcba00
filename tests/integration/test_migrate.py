"""Migrations: applied once whoever starts first, refused when edited, judged when newer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from gateway.adapters.postgres.migrate import MigrationError, migrate
from gateway.adapters.postgres.schema import MIGRATIONS, Fit, Migration, SchemaState, check_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.embedded.postgres import EmbeddedPostgres

FIRST = Migration(1, "first", 1, "CREATE TABLE first (id int)")
SECOND = Migration(2, "second", 1, "CREATE TABLE second (id int)")
THIRD = Migration(3, "third", 3, "CREATE TABLE third (id int)")


@pytest.fixture
async def empty_dsn(postgres_dsn: str) -> str:
    """The address of a database without any schema."""
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        await connection.close()
    return postgres_dsn


async def state_of(dsn: str, migrations: Sequence[Migration]) -> SchemaState:
    """Judge the schema at *dsn* as a gateway with these *migrations* would."""
    connection = await asyncpg.connect(dsn)
    try:
        return await check_schema(connection, migrations)
    finally:
        await connection.close()


async def tables(dsn: str) -> set[str]:
    """Name the tables of the database at *dsn*."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


async def test_an_empty_database_gets_everything_once(empty_dsn: str) -> None:
    """The first run applies all migrations, the second none."""
    assert await migrate(empty_dsn) == [migration.version for migration in MIGRATIONS]
    assert await migrate(empty_dsn) == []
    assert (await state_of(empty_dsn, MIGRATIONS)).fit is Fit.CURRENT
    assert {"accounts", "users", "api_keys", "key_secrets", "usage_events"} <= await tables(empty_dsn)


async def test_instances_that_start_at_once_apply_each_migration_once(empty_dsn: str) -> None:
    """Eight instances race; together they apply every version exactly once, and all of them succeed."""
    applied = await asyncio.gather(*(migrate(empty_dsn, (FIRST, SECOND)) for _ in range(8)))
    assert sorted(version for versions in applied for version in versions) == [1, 2]


async def test_an_edited_migration_is_refused(empty_dsn: str) -> None:
    """What was applied is history: an edit is an error that says where the change belongs."""
    await migrate(empty_dsn, (FIRST,))
    edited = replace(FIRST, sql="CREATE TABLE first (id bigint)")
    with pytest.raises(MigrationError, match="0001_first was edited after it had been applied"):
        await migrate(empty_dsn, (edited, SECOND))
    assert "second" not in await tables(empty_dsn)


async def test_a_failing_migration_leaves_the_ones_before_it(empty_dsn: str) -> None:
    """A migration is undone as a whole; those before it stay, and a corrected one can follow."""
    broken = replace(SECOND, sql="CREATE TABLE second (id int); SELECT 1 / 0")
    with pytest.raises(MigrationError, match="0002_second failed and was undone: division by zero"):
        await migrate(empty_dsn, (FIRST, broken))
    assert await tables(empty_dsn) == {"schema_migrations", "first"}
    assert await migrate(empty_dsn, (FIRST, SECOND)) == [2]


async def test_an_older_schema_says_what_to_run(empty_dsn: str) -> None:
    """A database without a schema, or with too little of it, names the command."""
    assert (await state_of(empty_dsn, (FIRST,))).fit is Fit.OLDER
    await migrate(empty_dsn, (FIRST,))
    state = await state_of(empty_dsn, (FIRST, SECOND))
    assert state.fit is Fit.OLDER
    assert not state.usable
    assert "gateway migrate" in state.message


async def test_a_newer_schema_is_usable_when_its_migrations_say_so(empty_dsn: str) -> None:
    """During a rolling upgrade the old version works on, and leaves the newer schema as it is."""
    await migrate(empty_dsn, (FIRST, SECOND))
    state = await state_of(empty_dsn, (FIRST,))
    assert state.fit is Fit.NEWER_COMPATIBLE
    assert state.usable
    assert await migrate(empty_dsn, (FIRST,)) == []


async def test_a_newer_schema_that_declares_itself_incompatible_is_refused(empty_dsn: str) -> None:
    """One incompatible migration among the newer ones is enough."""
    await migrate(empty_dsn, (FIRST, SECOND, THIRD))
    state = await state_of(empty_dsn, (FIRST, SECOND))
    assert state.fit is Fit.INCOMPATIBLE
    assert "upgrade the gateway" in state.message
    with pytest.raises(MigrationError, match="upgrade the gateway"):
        await migrate(empty_dsn, (FIRST, SECOND))


async def test_a_server_that_is_away_is_reported_without_the_password(own_postgres: EmbeddedPostgres) -> None:
    """The error says what to check and never quotes the connection string."""
    dsn, password = own_postgres.dsn, own_postgres.password
    await own_postgres.stop()
    with pytest.raises(MigrationError, match=r"cannot reach Postgres: .*check postgres\.dsn") as caught:
        await migrate(dsn)
    assert password not in str(caught.value)
