"""The audit log and the command line: what commands change is in it, and `gateway keys audit` shows it."""

from __future__ import annotations

import json
import os
import pwd
import socket
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.e2e.test_cli_keys import Terminal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)

PASSWORD = "a password that is long"


@pytest.fixture
def terminal(tmp_path: Path, postgres_dsn: str) -> Terminal:
    return Terminal(tmp_path, postgres_dsn)


async def test_what_commands_change_is_written_down_as_their_callers(terminal: Terminal) -> None:
    await terminal.right("accounts", "create", "Acme")
    await terminal.right("users", "create", "ada@example.com", stdin=PASSWORD)
    await terminal.right("users", "passwd", "ada@example.com", stdin=PASSWORD + "!")
    made = json.loads(await terminal.right("keys", "create", "--name", "Shop", "--scope", "READ", "--json"))
    await terminal.right("keys", "rotate", made["id"])
    await terminal.right("keys", "revoke", made["id"])
    connection = await asyncpg.connect(terminal.dsn)
    try:
        rows = await connection.fetch("SELECT * FROM audit_log ORDER BY id")
    finally:
        await connection.close()
    assert [row["action"] for row in rows] == [
        *("account.created", "user.created", "user.updated", "key.created", "key.rotated", "key.updated")
    ]
    caller = pwd.getpwuid(os.getuid()).pw_name
    assert {(row["actor_kind"], row["actor_id"], row["address"]) for row in rows} == {
        ("command", caller, socket.gethostname())
    }
    assert not [word for word in (PASSWORD, made["key"][12:], "argon2") if word in repr(rows)]


async def test_the_log_of_a_key_is_shown_newest_first_even_when_it_is_deleted(terminal: Terminal) -> None:
    await terminal.right("accounts", "create", "Acme")
    made = json.loads(await terminal.right("keys", "create", "--name", "Shop\x1b[2J", "--scope", "READ", "--json"))
    await terminal.right("keys", "delete", made["id"])
    told = json.loads(await terminal.right("keys", "audit", made["id"], "--json"))
    assert [entry["action"] for entry in told["data"]] == ["key.deleted", "key.created"]
    assert told["data"][0]["actor"]["kind"] == "command"
    assert told["pagination"] == {"page": 1, "limit": 20, "total": 2, "hasMore": False}
    page = json.loads(await terminal.right("keys", "audit", made["id"], "--json", "--page", "2", "--limit", "1"))
    assert page["data"] == told["data"][1:]
    shown = await terminal.right("keys", "audit", made["id"])
    assert shown.index("key.deleted") < shown.index("key.created")
    assert "rateLimitPerHour: - -> 1000" in shown
    assert "\x1b" not in shown


async def test_a_key_that_never_was_is_an_error(terminal: Terminal) -> None:
    assert "nothing is written down about a key api_key_none" in await terminal.wrong("keys", "audit", "api_key_none")


async def test_an_import_is_one_entry_that_each_of_its_keys_shows(terminal: Terminal) -> None:
    account = (await terminal.right("accounts", "create", "Acme")).strip()
    terminal.configure(legacy=True)
    lines = [
        json.dumps({"id": f"api_key_{number}", "name": "Old", "scopes": ["READ"], "sha256": f"{number:064x}"})
        for number in range(3)
    ]
    (terminal.directory / "keys.jsonl").write_text("\n".join(lines))
    await terminal.right("keys", "import", "keys.jsonl")
    told: dict[str, Any] = json.loads(await terminal.right("keys", "audit", "api_key_1", "--json"))
    (entry,) = told["data"]
    assert (entry["action"], entry["accountId"], entry["keyId"]) == ("keys.imported", account, None)
    assert entry["changes"] == [{"field": "keys", "old": None, "new": 3}]
    connection = await asyncpg.connect(terminal.dsn)
    try:
        assert await connection.fetchval("SELECT count(*) FROM audit_log WHERE action LIKE 'key%'") == 1
    finally:
        await connection.close()
