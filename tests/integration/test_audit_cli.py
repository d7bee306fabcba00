"""The audit log and the command line: what commands change is in it, and `gateway keys audit` shows it."""

from __future__ import annotations

import json
import os
import pwd
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)

PASSWORD = "a password that is long"


@pytest.fixture
def terminal(tmp_path: Path, postgres_dsn: str) -> Commands:
    return Commands(tmp_path, postgres_dsn, {"LEGACY": "true"})


async def test_what_commands_change_is_written_down_as_their_callers(terminal: Commands) -> None:
    await terminal.right("accounts", "create", "Acme")
    await terminal.right("users", "create", "ada@example.com", stdin=PASSWORD)
    await terminal.right("users", "passwd", "ada@example.com", stdin=PASSWORD + "!")
    made = await terminal.told("keys", "create", "--name", "Shop", "--scope", "READ")
    await terminal.right("keys", "rotate", made["id"])
    await terminal.right("keys", "revoke", made["id"])
    rows = await terminal.fetch("SELECT * FROM audit_log ORDER BY id")
    assert [row["action"] for row in rows] == [
        *("account.created", "user.created", "user.updated", "key.created", "key.rotated", "key.updated")
    ]
    caller = pwd.getpwuid(os.getuid()).pw_name
    assert {(row["actor_kind"], row["actor_id"], row["address"]) for row in rows} == {
        ("command", caller, socket.gethostname())
    }
    assert not [word for word in (PASSWORD, made["key"][12:], "argon2") if word in repr(rows)]


async def test_the_log_of_a_key_is_shown_newest_first_even_when_it_is_deleted(terminal: Commands) -> None:
    await terminal.right("accounts", "create", "Acme")
    made = await terminal.told("keys", "create", "--name", "Shop\x1b[2J", "--scope", "READ")
    await terminal.right("keys", "delete", made["id"])
    told = await terminal.told("keys", "audit", made["id"])
    assert [entry["action"] for entry in told["data"]] == ["key.deleted", "key.created"]
    assert told["data"][0]["actor"]["kind"] == "command"
    assert told["pagination"] == {"page": 1, "limit": 20, "total": 2, "hasMore": False}
    page = await terminal.told("keys", "audit", made["id"], "--page", "2", "--limit", "1")
    assert page["data"] == told["data"][1:]
    shown = await terminal.right("keys", "audit", made["id"])
    assert shown.index("key.deleted") < shown.index("key.created")
    assert "rateLimitPerHour: - -> 1000" in shown
    assert "\x1b" not in shown


async def test_a_key_that_never_was_is_an_error(terminal: Commands) -> None:
    assert "nothing is written down about a key api_key_none" in await terminal.wrong("keys", "audit", "api_key_none")


async def test_an_import_is_one_entry_that_each_of_its_keys_shows(terminal: Commands) -> None:
    account = (await terminal.right("accounts", "create", "Acme")).strip()
    lines = [
        json.dumps({"id": f"api_key_{number}", "name": "Old", "scopes": ["READ"], "sha256": f"{number:064x}"})
        for number in range(3)
    ]
    (terminal.directory / "keys.jsonl").write_text("\n".join(lines))
    await terminal.right("keys", "import", terminal.directory / "keys.jsonl")
    told: dict[str, Any] = await terminal.told("keys", "audit", "api_key_1")
    (entry,) = told["data"]
    assert (entry["action"], entry["accountId"], entry["keyId"]) == ("keys.imported", account, None)
    assert entry["changes"] == [{"field": "keys", "old": None, "new": 3}]
    assert len(await terminal.fetch("SELECT FROM audit_log WHERE action LIKE 'key%'")) == 1
