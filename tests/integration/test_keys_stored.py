"""Keys in Postgres: made, listed, changed and rotated, each account's for itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from gateway.adapters.postgres.accounts import (
    EmailTaken,
    NoSuchAccount,
    create_account,
    create_user,
    find_user,
    list_accounts,
    list_users,
    set_password_hash,
)
from gateway.adapters.postgres.key_lists import list_keys
from gateway.adapters.postgres.keys import (
    IllegalStatus,
    NewKey,
    create_key,
    delete_key,
    get_key,
    rotate_key,
    set_status,
    update_key,
)
from gateway.core.credentials import has_our_checksum
from gateway.core.keys import KeyStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.connection import Connection


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def account(connection: Connection) -> str:
    return await create_account(connection, "Acme")


def new(account: str, **fields: Any) -> NewKey:
    return NewKey(**({"account_id": account, "name": "A key", "scopes": ("READ",)} | fields))


async def secrets_of(connection: Connection, key_id: str) -> list[datetime | None]:
    rows = await connection.fetch("SELECT valid_until FROM key_secrets WHERE key_id = $1", key_id)
    return [row["valid_until"] for row in rows]


async def test_a_new_key_has_its_own_form_and_the_defaults(connection: Connection, account: str) -> None:
    created = await create_key(connection, new(account, prefix="bk_test_"))
    assert has_our_checksum(created.key, ("bk_test_",))
    assert created.key not in repr(created)
    stored = created.stored
    assert re.fullmatch(r"api_key_[A-Za-z0-9]{22}", stored.id)
    assert re.fullmatch(r"account_[A-Za-z0-9]{22}", account)
    assert stored.prefix == created.key[:12]
    assert (stored.status, stored.rate_limit_per_hour) == (KeyStatus.ACTIVE, 1000)
    assert (stored.description, stored.allowed_ips, stored.expires_at, stored.last_used_at) == (None,) * 4
    assert stored.created_at == stored.updated_at
    assert await get_key(connection, stored.id) == stored


async def test_the_key_itself_is_nowhere_in_the_database(connection: Connection, account: str) -> None:
    created = await create_key(connection, new(account))
    rows = [*await connection.fetch("SELECT * FROM api_keys"), *await connection.fetch("SELECT * FROM key_secrets")]
    assert created.key[12:] not in repr(rows)


async def test_fields_come_back_as_they_were_given(connection: Connection, account: str) -> None:
    expires_at = datetime(2031, 5, 6, 7, 8, 9, 123_000, UTC)
    fields = {
        "description": "for the shop",
        "scopes": ("WRITE", "READ"),
        "rate_limit_per_hour": 1_000_000_000,
        "algorithm": "sliding_window",
        "allowed_ips": ("2001:DB8::/32", "203.0.113.7"),
        "expires_at": expires_at,
        "webhook_url": "https://example.com",
    }
    stored = (await create_key(connection, new(account, **fields))).stored
    assert {name: getattr(stored, name) for name in fields} == fields


async def test_a_key_of_an_unknown_account_is_not_made(connection: Connection) -> None:
    with pytest.raises(NoSuchAccount):
        await create_key(connection, new("account_unknown"))


@pytest.mark.parametrize(
    "fields",
    [{"name": ""}, {"name": "x" * 101}, {"scopes": ()}, {"rate_limit_per_hour": 0}, {"rate_limit_per_hour": 10**9 + 1}],
)
async def test_the_database_itself_refuses_what_the_contract_forbids(
    connection: Connection, account: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await create_key(connection, new(account, **fields))
    assert (await list_keys(connection, account)).total == 0


async def test_pages_are_newest_first_and_count_everything(connection: Connection, account: str) -> None:
    made = [(await create_key(connection, new(account, name=f"key {number}"))).stored.id for number in range(5)]
    await connection.execute(
        "UPDATE api_keys SET created_at = now() + array_position($1, id) * interval '1 second'", made
    )
    pages = [await list_keys(connection, account, page=page, limit=2) for page in (1, 2, 3, 4)]
    assert [key.id for page in pages for key in page.keys] == made[::-1]
    assert [len(page.keys) for page in pages] == [2, 2, 1, 0]
    assert {page.total for page in pages} == {5}


async def test_lists_are_narrowed_by_status_and_by_text_as_it_is_written(connection: Connection, account: str) -> None:
    percent = (await create_key(connection, new(account, name="100% Shop"))).stored
    other = (await create_key(connection, new(account, name="backup", prefix="bk_test_"))).stored
    await set_status(connection, other.id, KeyStatus.SUSPENDED)

    async def found(**narrowed: Any) -> set[str]:
        return {key.id for key in (await list_keys(connection, account, **narrowed)).keys}

    assert await found(status=KeyStatus.SUSPENDED) == {other.id}
    assert await found(search="0% sHOP") == {percent.id}
    assert await found(search="%") == {percent.id}
    assert await found(search=other.prefix) == {other.id}
    assert await found(search="nothing") == set()


async def test_another_accounts_keys_are_not_there(connection: Connection, account: str) -> None:
    stranger = await create_account(connection, "Strangers")
    key_id = (await create_key(connection, new(account))).stored.id
    assert await get_key(connection, key_id, stranger) is None
    assert await update_key(connection, key_id, {"name": "mine"}, stranger) is None
    assert await set_status(connection, key_id, KeyStatus.REVOKED, stranger) is None
    assert await rotate_key(connection, key_id, prefix="bk_live_", grace_s=0, account_id=stranger) is None
    assert not await delete_key(connection, key_id, stranger)
    assert (await list_keys(connection, stranger)).total == 0
    stored = await get_key(connection, key_id, account)
    assert stored is not None
    assert (stored.name, stored.status) == ("A key", KeyStatus.ACTIVE)


async def test_an_update_changes_what_it_names_and_the_time(connection: Connection, account: str) -> None:
    before = (
        await create_key(connection, new(account, description="old", expires_at=datetime(2031, 1, 1, tzinfo=UTC)))
    ).stored
    await connection.execute("UPDATE api_keys SET updated_at = now() - interval '1 hour'")
    after = await update_key(connection, before.id, {"name": "new", "expires_at": None, "scopes": ["WRITE"]}, account)
    assert after is not None
    assert (after.name, after.expires_at, after.scopes) == ("new", None, ("WRITE",))
    assert (after.description, after.prefix, after.created_at) == ("old", before.prefix, before.created_at)
    assert datetime.now(UTC) - after.updated_at < timedelta(minutes=1)


async def test_revoked_is_final_and_suspended_is_not(connection: Connection, account: str) -> None:
    key_id = (await create_key(connection, new(account))).stored.id
    for status in (KeyStatus.SUSPENDED, KeyStatus.ACTIVE, KeyStatus.REVOKED, KeyStatus.REVOKED):
        stored = await set_status(connection, key_id, status)
        assert stored is not None
        assert stored.status is status
    with pytest.raises(IllegalStatus):
        await set_status(connection, key_id, KeyStatus.ACTIVE)
    with pytest.raises(IllegalStatus):
        await rotate_key(connection, key_id, prefix="bk_live_", grace_s=0)


async def test_a_deleted_key_is_gone_for_its_owner_and_kept_for_its_figures(
    connection: Connection, account: str
) -> None:
    key_id = (await create_key(connection, new(account))).stored.id
    assert await delete_key(connection, key_id, account)
    assert not await delete_key(connection, key_id, account)
    assert await get_key(connection, key_id) is None
    assert await update_key(connection, key_id, {"name": "again"}) is None
    assert await rotate_key(connection, key_id, prefix="bk_live_", grace_s=0) is None
    assert (await list_keys(connection, account)).total == 0
    assert await connection.fetchval("SELECT count(*) FROM api_keys") == 1


async def test_a_rotation_retires_the_old_secret_after_its_grace(connection: Connection, account: str) -> None:
    created = await create_key(connection, new(account))
    rotated = await rotate_key(connection, created.stored.id, prefix="bk_live_", grace_s=3600)
    assert rotated is not None
    assert rotated.key != created.key
    assert rotated.stored.prefix == rotated.key[:12]
    retired = [until for until in await secrets_of(connection, created.stored.id) if until is not None]
    assert len(retired) == 1
    assert timedelta(minutes=59) < retired[0] - datetime.now(UTC) < timedelta(minutes=61)


async def test_a_rotation_without_grace_ends_the_grace_of_an_earlier_one(connection: Connection, account: str) -> None:
    key_id = (await create_key(connection, new(account))).stored.id
    await rotate_key(connection, key_id, prefix="bk_live_", grace_s=3600)
    await rotate_key(connection, key_id, prefix="bk_live_", grace_s=0)
    ends = await secrets_of(connection, key_id)
    assert ends.count(None) == 1
    assert all(end <= datetime.now(UTC) + timedelta(seconds=1) for end in ends if end is not None)


async def test_users_are_found_whatever_the_capitals(connection: Connection, account: str) -> None:
    user_id = await create_user(connection, account, "Ada@Example.com", "hash", "admin")
    found = await find_user(connection, "aDA@example.COM")
    assert found is not None
    assert (found.id, found.account_id, found.email, found.role) == (user_id, account, "Ada@Example.com", "admin")
    assert "hash" not in repr(found)
    await set_password_hash(connection, user_id, "another")
    assert [user.password_hash for user in await list_users(connection, account)] == ["another"]
    assert await find_user(connection, "bob@example.com") is None
    with pytest.raises(EmailTaken):
        await create_user(connection, account, "ADA@example.com", "hash", "member")
    with pytest.raises(NoSuchAccount):
        await create_user(connection, "account_unknown", "bob@example.com", "hash", "member")
    assert [found.name for found in await list_accounts(connection)] == ["Acme"]
