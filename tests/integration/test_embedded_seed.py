"""The demo's credentials: the same after a restart, and never others than the database knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from gateway.adapters.postgres.accounts import find_user
from gateway.core.credentials import digest
from gateway.embedded.seed import seeded

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.embedded.seed import Seed


async def known(dsn: str, seed: Seed) -> list[int]:
    """How many scopes each of the seed's keys has in the database."""
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        query = "SELECT cardinality(scopes) FROM api_keys JOIN key_secrets ON key_id = id WHERE digest = $1"
        user = await find_user(connection, seed.email)
        assert user
        assert (user.account_id, user.role) == (seed.account_id, "admin")
        return [await connection.fetchval(query, digest(key)) for key in (seed.key, seed.readonly_key)]
    finally:
        await connection.close()


async def test_seeding_twice_gives_the_same_credentials(postgres_dsn: str, tmp_path: Path) -> None:
    seed = await seeded(postgres_dsn, tmp_path / "demo.json")
    assert await seeded(postgres_dsn, tmp_path / "demo.json") == seed
    assert await known(postgres_dsn, seed) == [7, 1]
    assert (tmp_path / "demo.json").stat().st_mode & 0o777 == 0o600


async def test_file_that_was_deleted_is_replaced_by_credentials_that_work(postgres_dsn: str, tmp_path: Path) -> None:
    before = await seeded(postgres_dsn, tmp_path / "demo.json")
    (tmp_path / "demo.json").unlink()
    after = await seeded(postgres_dsn, tmp_path / "demo.json")
    assert after.account_id == before.account_id
    assert after.password != before.password
    assert await known(postgres_dsn, after) == [7, 1]


async def test_file_of_a_database_that_is_gone_is_replaced(postgres_dsn: str, tmp_path: Path) -> None:
    before = await seeded(postgres_dsn, tmp_path / "demo.json")
    connection = await asyncpg.connect(postgres_dsn, timeout=5)
    await connection.execute("TRUNCATE accounts CASCADE")
    await connection.close()
    after = await seeded(postgres_dsn, tmp_path / "demo.json")
    assert after.account_id != before.account_id
    assert await known(postgres_dsn, after) == [7, 1]
