"""The audit log only grows: for the role that the gateway should have, for the owner, and for a superuser."""

from __future__ import annotations

import json
import re
import secrets
from datetime import date
from typing import TYPE_CHECKING

import asyncpg
import pytest

from gateway.adapters.postgres.accounts import create_account, create_user
from gateway.adapters.postgres.audit import audit_as_one, list_audit
from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.idempotency import expire
from gateway.adapters.postgres.keys import NewKey, create_key
from gateway.adapters.postgres.migrate import migrate
from gateway.adapters.postgres.partitions import make_partition
from gateway.adapters.postgres.retention import Cleared, look_after_usage
from tests.house.tree import TOP
from tests.integration.managing import SMALL, managing
from tests.servers import execute
from tests.unit.management.asking import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.embedded.postgres import EmbeddedPostgres

ATTEMPTS = (
    "UPDATE audit_log SET actor_id = 'somebody else'",
    "DELETE FROM audit_log",
    "TRUNCATE audit_log",
    "DELETE FROM audit_log WHERE false",
)
EVENT = json.dumps(
    {
        "id": "01900000-0000-7000-8000-000000000000",
        "at": "2030-01-02T03:04:05.678Z",
        "requestId": "req_1",
        "route": "r",
        "endpoint": "/e",
        "method": "GET",
        "path": "/e",
        "clientIp": "192.0.2.1",
        "status": 200,
        "outcome": "admitted",
        "durationUs": 1,
        "bytesIn": 0,
        "bytesOut": 0,
        "mode": "proxy",
        "configVersion": "1",
        "schema": 1,
    }
).encode()


def dsn_as(dsn: str, role: str, password: str) -> str:
    """The address of the same database for another role."""
    return re.sub(r"//[^@]*@", f"//{role}:{password}@", dsn)


async def refused(connection: asyncpg.Connection[asyncpg.Record], statement: str) -> str:
    """Run *statement*, which has to be refused for want of rights, and give what the server says."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError) as caught:
        await connection.execute(statement)
    return str(caught.value)


@pytest.fixture
async def runtime_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """The address for a role that has just what deploy/roles.sql gives it."""
    password = secrets.token_hex(16)
    await execute(postgres_dsn, (TOP / "deploy" / "roles.sql").read_text())
    await execute(postgres_dsn, f"ALTER ROLE gateway_runtime PASSWORD '{password}'")
    yield dsn_as(postgres_dsn, "gateway_runtime", password)
    await execute(postgres_dsn, "REASSIGN OWNED BY gateway_runtime TO CURRENT_USER; DROP OWNED BY gateway_runtime")
    await execute(postgres_dsn, "DROP ROLE gateway_runtime")


async def test_the_gateways_own_role_can_do_all_but_change_the_log(runtime_dsn: str) -> None:
    async with managing(runtime_dsn) as asking:
        ada = await asking.logged_in("ada@example.com")
        repeated = {"Idempotency-Key": "1"}
        made = await ada.told(201, "keys.create", SMALL, headers=repeated)
        assert await ada.told(201, "keys.create", SMALL, headers=repeated) == made
        await ada.told(200, "keys.update", {"name": "Other"}, key_id=made["id"])
        await ada.told(200, "keys.rotate", key_id=made["id"])
        assert (await ada.ask("keys.delete", key_id=made["id"])).status == 204
        assert (await ada.told(200, "keys.audit", key_id=made["id"]))["pagination"]["total"] == 4
        assert await expire(asking.database) == 0
        assert await PostgresUsageSink(asking.database).write("journal", 0, 10, [EVENT]) == 10
        async with asking.database.connection(20) as connection:
            await make_partition(connection, date(2020, 1, 1))
        assert await look_after_usage(asking.database, NOW, 90) == Cleared(partitions=1)
    connection = await asyncpg.connect(runtime_dsn)
    try:
        for attempt in ATTEMPTS:
            assert "permission denied for table audit_log" in await refused(connection, attempt)
        for attempt in ("ALTER TABLE audit_log DISABLE TRIGGER append_only", "DROP TABLE audit_log"):
            assert "must be owner" in await refused(connection, attempt)
        assert await connection.fetchval("SELECT count(*) FROM usage_events") == 1
    finally:
        await connection.close()


async def test_an_owner_who_is_no_superuser_has_no_right_to_change_the_log_either(
    postgres_server: EmbeddedPostgres,
) -> None:
    name, password = f"owner_{secrets.token_hex(4)}", secrets.token_hex(16)
    await execute(postgres_server.dsn, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    await execute(postgres_server.dsn, f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0")
    try:
        dsn = dsn_as(postgres_server.dsn_of(name), name, password)
        await migrate(dsn)
        connection = await asyncpg.connect(dsn)
        try:
            await create_account(connection, "Acme")
            for attempt in ATTEMPTS:
                assert "permission denied for table audit_log" in await refused(connection, attempt)
            assert await connection.fetchval("SELECT count(*) FROM audit_log") == 1
        finally:
            await connection.close()
    finally:
        await execute(postgres_server.dsn, f"DROP DATABASE {name} WITH (FORCE)")
        await execute(postgres_server.dsn, f"DROP ROLE {name}")


async def test_even_a_superuser_is_refused(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await create_account(connection, "Acme")
        assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        for setting in ("origin", "replica"):
            await connection.execute(f"SET session_replication_role = {setting}")
            for attempt in ATTEMPTS:
                assert "the audit log is append-only" in await refused(connection, attempt)
        assert await connection.fetchval("SELECT count(*) FROM audit_log") == 1
    finally:
        await connection.close()


async def test_work_on_many_keys_is_one_entry_which_each_of_them_shows(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        account = await create_account(connection, "Acme")
        before = await create_key(connection, NewKey(account_id=account, name="Before", scopes=("READ",)))
        await connection.execute("UPDATE api_keys SET created_at = created_at - interval '1 second'")
        async with connection.transaction():
            await audit_as_one(connection, "keys.imported", 2, subject_id=account, account_id=account)
            made = [
                await create_key(connection, NewKey(account_id=account, name="Many", scopes=("READ",)))
                for _ in range(2)
            ]
        for created in made:
            (entry,) = (await list_audit(connection, created.stored.id)).entries
            assert (entry.action, entry.changes) == ("keys.imported", {"keys": {"old": None, "new": 2}})
        await connection.execute("UPDATE api_keys SET name = 'Again'")
        assert [entry.action for entry in (await list_audit(connection, made[0].stored.id)).entries] == [
            *("key.updated", "keys.imported")
        ]
        assert [entry.action for entry in (await list_audit(connection, before.stored.id)).entries] == [
            *("key.updated", "key.created")
        ]
    finally:
        await connection.close()


async def test_accounts_users_and_passwords_are_in_it_too(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        account = await create_account(connection, "Acme")
        user = await create_user(connection, account, "ada@example.com", "hash-1", "member")
        await connection.execute("UPDATE users SET password_hash = 'hash-2', role = 'admin'")
        rows = await connection.fetch("SELECT action, subject_id, account_id, changes FROM audit_log ORDER BY id")
        assert [(row["action"], row["subject_id"]) for row in rows] == [
            ("account.created", account),
            ("user.created", user),
            ("user.updated", user),
        ]
        assert {row["account_id"] for row in rows} == {account}
        assert json.loads(rows[2]["changes"]) == {
            "password_hash": {"secret": True},
            "role": {"old": "member", "new": "admin"},
        }
        assert "hash-" not in repr(rows)
    finally:
        await connection.close()
