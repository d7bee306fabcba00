"""Lists of keys when there are very many: the same pages and totals, found in other ways."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from gateway.adapters.postgres import key_lists
from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.key_lists import list_keys
from gateway.adapters.postgres.keys import NewKey, create_key, delete_key, set_status
from gateway.adapters.postgres.schema import MIGRATIONS
from gateway.core.keys import KeyStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.connection import Connection

NAMES = ("Shop Berlin", "Shop Paris", "till", "100 % wool", "under_score", "back\\slash", "Shop Rome", "Warehouse")
SEARCHES = (
    "shop",
    "SHOP",
    "Shop P",
    "ill",
    "100 %",
    "%",
    "_",
    "r_s",
    "\\",
    "k\\s",
    "bk_live_",
    "BK_LIVE_",
    "nobody",
    "e",
)


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[Connection]:
    made = await asyncpg.connect(postgres_dsn, timeout=10, command_timeout=10)
    yield made
    await made.close(timeout=10)


async def account_with(connection: Connection, *names: str) -> str:
    account = await create_account(connection, "Acme")
    for name in names:
        await create_key(connection, NewKey(account_id=account, name=name, scopes=["READ"]))
    return account


async def names_of(connection: Connection, account: str | None, **narrowed: Any) -> tuple[list[str], int]:
    page = await list_keys(connection, account, **narrowed)
    return [key.name for key in page.keys], page.total


@pytest.mark.parametrize("found_max", [0, 2, 5, 100])
async def test_a_search_finds_the_same_whether_the_index_is_asked_or_all_keys_are_read(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, found_max: int
) -> None:
    account = await account_with(connection, *NAMES)
    await account_with(connection, "Shop of somebody else", *["till"] * 3)
    expected = {search: await names_of(connection, account, search=search) for search in SEARCHES}
    monkeypatch.setattr(key_lists, "FOUND_MAX", found_max)
    for search, (names, total) in expected.items():
        assert await names_of(connection, account, search=search) == (names, min(total, found_max)), search


async def test_what_a_search_means(connection: Connection) -> None:
    account = await account_with(connection, *NAMES)
    assert await names_of(connection, account, search="SHOP") == (["Shop Rome", "Shop Paris", "Shop Berlin"], 3)
    assert await names_of(connection, account, search="%") == (["100 % wool"], 1)
    assert await names_of(connection, account, search="_") == (list(reversed(NAMES)), 8), "every prefix has one"
    assert await names_of(connection, account, search="Sh_p") == ([], 0)
    assert await names_of(connection, account, search="Shop%e") == ([], 0)
    assert await names_of(connection, account, search="k\\s") == (["back\\slash"], 1)
    assert await names_of(connection, account, search="bk_live_", limit=2) == (["Warehouse", "Shop Rome"], 8)
    (key,) = (await list_keys(connection, account, search="Paris")).keys
    assert await names_of(connection, account, search=key.prefix) == (["Shop Paris"], 1)
    assert await names_of(connection, account, search="BK_LIVE_") == ([], 0)


async def test_totals_follow_every_change(connection: Connection) -> None:
    account = await account_with(connection, *NAMES)
    await account_with(connection, "Another's")
    keys = (await list_keys(connection, account)).keys
    await set_status(connection, keys[0].id, KeyStatus.SUSPENDED)
    await set_status(connection, keys[1].id, KeyStatus.REVOKED)
    await delete_key(connection, keys[1].id)
    await delete_key(connection, keys[2].id)
    await connection.execute("DELETE FROM api_keys WHERE id = ANY($1)", [keys[2].id, keys[3].id])
    await connection.execute("UPDATE api_keys SET last_used_at = now(), name = 'x' WHERE id = $1", keys[4].id)
    for status, total in ((None, 5), (KeyStatus.ACTIVE, 4), (KeyStatus.SUSPENDED, 1), (KeyStatus.REVOKED, 0)):
        page = await list_keys(connection, account, status=status)
        assert (len(page.keys), page.total) == (total, total)
    assert (await list_keys(connection, None)).total == 6


async def test_totals_are_right_after_changes_at_the_same_time(connection: Connection, postgres_dsn: str) -> None:
    account = await account_with(connection)

    async def work(number: int) -> None:
        own = await asyncpg.connect(postgres_dsn, timeout=10, command_timeout=20)
        try:
            for nth in range(10):
                key = await create_key(own, NewKey(account_id=account, name=f"{number}", scopes=["READ"]))
                await set_status(own, key.stored.id, KeyStatus.SUSPENDED)
                await set_status(own, key.stored.id, KeyStatus.ACTIVE)
                if nth == 0:
                    await delete_key(own, key.stored.id)
        finally:
            await own.close(timeout=10)

    # More connections than there are slots, so that some share one.
    await asyncio.gather(*(work(number) for number in range(20)))
    assert (await list_keys(connection, account, status=KeyStatus.ACTIVE)).total == 180
    assert (await list_keys(connection, account)).total == 180
    kept = await connection.fetchval("SELECT sum(number) FROM key_counts WHERE account_id = $1", account)
    assert kept == await connection.fetchval("SELECT count(*) FROM api_keys WHERE deleted_at IS NULL")


async def test_what_was_there_before_the_totals_is_counted(connection: Connection) -> None:
    account = await account_with(connection, "One", "Two")
    sql = next(step.sql for step in MIGRATIONS if "key_counts" in step.sql)
    statement = next(part for part in sql.split(";") if "INSERT INTO key_counts SELECT" in part)
    await connection.execute("DELETE FROM key_counts")
    await connection.execute(statement)
    assert (await list_keys(connection, account)).total == 2


async def test_without_the_extension_a_search_works_all_the_same(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await account_with(connection, *NAMES)
    await connection.execute("DROP EXTENSION pg_trgm CASCADE")
    monkeypatch.setattr(key_lists, "FOUND_MAX", 3)
    assert await names_of(connection, account, search="SHOP") == (["Shop Rome", "Shop Paris", "Shop Berlin"], 3)
