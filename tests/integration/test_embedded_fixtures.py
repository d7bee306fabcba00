"""The fixtures themselves: what one test leaves behind, the next one must not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from redis.asyncio import Redis

if TYPE_CHECKING:
    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_a_fresh_database(postgres_dsn: str, turn: int) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("CREATE TABLE left_behind (turn int)")
    await connection.execute("INSERT INTO left_behind VALUES ($1)", turn)
    assert await connection.fetchval("SELECT count(*) FROM left_behind") == 1
    await connection.close()


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_an_empty_valkey(redis_url: str, turn: int) -> None:
    async with Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        await client.set("left behind", turn)


async def test_a_test_may_kill_and_restart_a_postgres_of_its_own(own_postgres: EmbeddedPostgres) -> None:
    own_postgres.child.kill()
    assert await own_postgres.child.ended(2)
    await own_postgres.start()
    connection = await asyncpg.connect(own_postgres.dsn)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_a_test_may_kill_and_restart_a_valkey_of_its_own(valkey: EmbeddedValkey) -> None:
    valkey.child.kill()
    assert await valkey.child.ended(2)
    await valkey.start()
    async with Redis.from_url(valkey.url) as client:
        assert await client.ping()
