"""The audit log: every change is in it, no secret is, and nobody can take anything out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.audit import Actor, act_as, list_audit
from gateway.adapters.postgres.keys import NewKey, create_key, rotate_key, set_status
from gateway.core.keys import KeyStatus
from tests.integration.managing import PAGE_EXAMPLE, SMALL, Managing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.adapters.postgres.connection import Connection

SECRET = "a webhook secret of my own"


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres_dsn)
    yield connection
    await connection.close()


async def log_of(asking: Managing, key_id: str, query: str = "") -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await asking.told(200, "keys.audit", key_id=key_id, query=query))["data"]
    return entries


def changed(entry: dict[str, Any]) -> dict[str, Any]:
    """The fields of an entry with their old and new values, None for a secret."""
    return {
        change["field"]: None if change.get("secret") else (change["old"], change["new"]) for change in entry["changes"]
    }


async def test_every_change_is_told_newest_first_with_old_and_new_values(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", PAGE_EXAMPLE)
    await ada.told(200, "keys.update", {"status": "SUSPENDED", "expiresAt": None}, key_id=made["id"])
    rotated = await ada.told(200, "keys.rotate", {"graceSeconds": 60}, key_id=made["id"])
    assert (await ada.ask("keys.delete", key_id=made["id"])).status == 204
    gone, turned, updated, created = await log_of(ada, made["id"])
    assert [entry["action"] for entry in (gone, turned, updated, created)] == [
        *("key.deleted", "key.rotated", "key.updated", "key.created")
    ]
    assert changed(updated) == {
        "status": ("ACTIVE", "SUSPENDED"),
        "expiresAt": ("2034-12-31T23:59:59.000Z", None),
    }
    assert changed(turned)["keyPrefix"] == (made["keyPrefix"], rotated["keyPrefix"])
    assert changed(turned)["previousValidUntil"][1] > turned["at"]
    assert changed(created)["name"] == (None, PAGE_EXAMPLE["name"])
    assert changed(created)["allowedIps"] == (None, PAGE_EXAMPLE["allowedIps"])
    assert changed(created)["webhookSecret"] is None
    assert set(changed(gone)) == {"deletedAt"}


async def test_an_entry_says_who_and_from_where(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    (entry,) = await log_of(ada, made["id"])
    assert entry["actor"]["kind"] == "user"
    assert entry["actor"]["id"].startswith("user_")
    assert entry["actor"]["role"] == "member"
    assert (entry["address"], entry["requestId"]) == ("203.0.113.9", "req_0123456789abcdef")
    assert entry["keyId"] == made["id"]


async def test_an_admin_is_named_to_admins_and_is_the_operator_to_customers(nobody: Managing, ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    root = await nobody.logged_in("root@example.com", "admin")
    await root.told(200, "keys.update", {"name": "Seen to"}, key_id=made["id"])
    shown, _ = await log_of(ada, made["id"])
    assert shown["actor"] == {"kind": "operator", "id": None, "role": None}
    assert shown["address"] is None
    shown, _ = await log_of(root, made["id"])
    assert (shown["actor"]["role"], shown["address"]) == ("admin", "203.0.113.9")


async def test_what_is_refused_or_changes_nothing_leaves_no_entry(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    await ada.told(200, "keys.update", {}, key_id=made["id"])
    await ada.told(200, "keys.update", {"name": SMALL["name"]}, key_id=made["id"])
    await ada.told(422, "keys.update", {"name": ""}, key_id=made["id"])
    await ada.told(200, "keys.update", {"status": "REVOKED"}, key_id=made["id"])
    await ada.told(409, "keys.update", {"status": "ACTIVE"}, key_id=made["id"])
    await ada.told(409, "keys.rotate", key_id=made["id"])
    revoked, _ = await log_of(ada, made["id"])
    assert changed(revoked) == {"status": ("ACTIVE", "REVOKED")}


async def test_a_first_webhook_and_its_secret_are_one_change(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    await ada.told(200, "keys.update", {"webhookUrl": "https://a.example/"}, key_id=made["id"])
    updated, _ = await log_of(ada, made["id"])
    assert changed(updated) == {"webhookUrl": (None, "https://a.example/"), "webhookSecret": None}


async def test_the_log_has_pages(ada: Managing) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    for number in range(4):
        await ada.told(200, "keys.update", {"name": f"Name {number}"}, key_id=made["id"])
    told = await ada.told(200, "keys.audit", key_id=made["id"], query="?page=2&limit=2")
    assert [changed(entry)["name"][1] for entry in told["data"]] == ["Name 1", "Name 0"]
    assert told["pagination"] == {"page": 2, "limit": 2, "total": 5, "hasMore": True}
    assert (await ada.told(422, "keys.audit", key_id=made["id"], query="?page=0"))["error"] == "validation_error"


async def test_no_secret_is_ever_in_the_log(ada: Managing, connection: Connection) -> None:
    made = await ada.told(201, "keys.create", {**PAGE_EXAMPLE, "webhookSecret": SECRET})
    rotated = await ada.told(200, "keys.rotate", key_id=made["id"])
    await ada.told(200, "keys.update", {"webhookSecret": SECRET + "!"}, key_id=made["id"])
    rows = repr([dict(row) for row in await connection.fetch("SELECT * FROM audit_log")])
    assert "user.created" in rows
    assert "signing_key.created" in rows
    for table, columns in (
        ("api_keys", ("webhook_secret",)),
        ("key_secrets", ("digest",)),
        ("users", ("password_hash",)),
        ("signing_keys", ("private_key",)),
    ):
        for column in columns:
            for row in await connection.fetch(f"SELECT {column} AS secret FROM {table}"):
                text = row["secret"].hex() if isinstance(row["secret"], bytes) else row["secret"]
                assert text not in rows, (table, column)
    assert not [secret for secret in (made["key"], rotated["key"], SECRET) if secret in rows]


async def test_every_column_of_a_key_but_its_use_is_watched(connection: Connection) -> None:
    unwatched = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'api_keys'::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attnum <> ALL (SELECT unnest(tgattr) FROM pg_trigger WHERE tgname = 'key_change_audited')"
    )
    assert {row["attname"] for row in unwatched} == {"created_at", "updated_at", "last_used_at"}


async def test_a_change_in_sql_is_written_down_as_the_database_roles(ada: Managing, connection: Connection) -> None:
    made = await ada.told(201, "keys.create", SMALL)
    await connection.execute("UPDATE api_keys SET rate_limit_per_hour = 5, last_used_at = now()")
    entry, _ = (await list_audit(connection, made["id"])).entries
    role = await connection.fetchval("SELECT session_user")
    assert (entry.actor_kind, entry.actor_id, entry.address) == ("database", role, "127.0.0.1")
    assert entry.changes == {"rate_limit_per_hour": {"old": 1000, "new": 5}}


async def test_the_actor_of_one_request_is_not_that_of_the_next(ada: Managing, connection: Connection) -> None:
    account = await create_account(connection, "Acme")
    async with connection.transaction():
        await act_as(connection, Actor("user", "user_1"), for_transaction=True)
        first = await create_key(connection, NewKey(account_id=account, name="A", scopes=("READ",)))
    second = await create_key(connection, NewKey(account_id=account, name="B", scopes=("READ",)))
    actors = [(await list_audit(connection, key.stored.id)).entries[0].actor_kind for key in (first, second)]
    assert actors == ["user", "database"]


async def test_a_change_that_is_undone_leaves_no_entry(connection: Connection) -> None:
    account = await create_account(connection, "Acme")
    key_id = (await create_key(connection, NewKey(account_id=account, name="A", scopes=("READ",)))).stored.id
    transaction = connection.transaction()
    await transaction.start()
    await rotate_key(connection, key_id, prefix="bk_live_", grace_s=0)
    await set_status(connection, key_id, KeyStatus.REVOKED)
    await transaction.rollback()
    assert [entry.action for entry in (await list_audit(connection, key_id)).entries] == ["key.created"]
