"""`gateway migrate` and `gateway keys`, as somebody at a terminal uses them: making, showing and importing keys."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.adapters.postgres.pool import Database
from gateway.core.credentials import digest, has_our_checksum, issue
from tests.commands import Commands
from tests.servers import execute

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.core.keys import KeyRecord

FOREIGN = "bk_live_0123456789abcdef0123456789abcdef"


class Terminal(Commands):
    """Runs commands, and looks for keys as the data plane does."""

    def configure(self, *, legacy: bool) -> None:
        self.environ["LEGACY"] = str(legacy).lower()

    async def find(self, key: str) -> KeyRecord | None:
        """Find a key as the data plane does."""
        async with Database(self.dsn) as database:
            return await PostgresKeySource(database).find(digest(key))

    async def count(self) -> int:
        listed: int = json.loads(await self.right("keys", "list", "--json"))["pagination"]["total"]
        return listed


@pytest.fixture
async def terminal(tmp_path: Path, postgres_dsn: str) -> Terminal:
    return Terminal(tmp_path, postgres_dsn)


@pytest.fixture
async def account(postgres_dsn: str) -> str:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        return await create_account(connection, "Acme")
    finally:
        await connection.close()


def rows(*lines: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue()


async def test_migrate_says_what_it_did_and_then_that_nothing_is_left(terminal: Terminal) -> None:
    await execute(terminal.dsn, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert "gateway migrate" in await terminal.wrong("keys", "list")
    assert "applied 1" in await terminal.right("migrate")
    assert "nothing to do" in await terminal.right("migrate")
    assert await terminal.count() == 0


async def test_a_key_is_printed_once_and_works_until_it_is_revoked(terminal: Terminal, account: str) -> None:
    key = (await terminal.right("keys", "create", "--name", "Shop", "--scope", "READ", "--scope", "WRITE")).strip()
    assert has_our_checksum(key, ("bk_live_",))
    record = await terminal.find(key)
    assert record is not None
    assert record.scopes == {"READ", "WRITE"}
    for arguments in (("list",), ("list", "--json"), ("show", record.id), ("show", record.id, "--json")):
        output = await terminal.right("keys", *arguments)
        assert record.id in output
        assert key not in output
    revoked = json.loads(await terminal.right("keys", "revoke", record.id, "--json"))
    assert (revoked["status"], revoked["accountId"]) == ("REVOKED", account)
    record = await terminal.find(key)
    assert record is not None
    assert record.status == "REVOKED"


async def test_every_option_of_a_new_key_is_kept(terminal: Terminal, account: str) -> None:
    made: dict[str, Any] = json.loads(
        await terminal.right(
            *("keys", "create", "--json", "--account", account, "--name", "Shop", "--scope", "READ"),
            *("--description", "till", "--rate-limit", "5", "--allowed-ip", "203.0.113.0/24", "--allowed-ip", "::1"),
            *("--expires", "2099-01-02T03:04:05+01:00", "--prefix", "bk_test_"),
        )
    )
    assert made["key"].startswith("bk_test_")
    assert made["keyPrefix"] == made["key"][:12]
    assert {name: made[name] for name in ("description", "rateLimitPerHour", "allowedIps", "expiresAt")} == {
        "description": "till",
        "rateLimitPerHour": 5,
        "allowedIps": ["203.0.113.0/24", "::1"],
        "expiresAt": "2099-01-02T02:04:05.000Z",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scope", "REED"], "is not a scope; expected one of READ, WRITE"),
        (["--scope", "READ", "--rate-limit", "0"], "rateLimitPerHour"),
        (["--scope", "READ", "--allowed-ip", "203.0.113.7/24"], "did you mean 203.0.113.0/24"),
        (["--scope", "READ", "--expires", "2001-01-01T00:00:00Z"], "expiresAt: must be in the future"),
        (["--scope", "READ", "--prefix", "sk_"], "not one of keys.prefixes: bk_live_, bk_test_"),
        (["--scope", "READ", "--account", "account_nobody"], "there is no account account_nobody"),
    ],
)
async def test_what_a_key_cannot_be_is_said_in_a_line(
    terminal: Terminal, account: str, options: list[str], said: str
) -> None:
    assert said in await terminal.wrong("keys", "create", "--name", "Shop", *options)
    assert await terminal.count() == 0


async def test_the_account_has_to_be_said_only_when_there_are_several(terminal: Terminal) -> None:
    create = ("keys", "create", "--name", "Shop", "--scope", "READ")
    assert "gateway accounts create" in await terminal.wrong(*create)
    first = (await terminal.right("accounts", "create", "First")).strip()
    await terminal.right(*create)
    await terminal.right("accounts", "create", "Second")
    assert "there are 2 accounts; say which with --account" in await terminal.wrong(*create)
    await terminal.right(*create, "--account", first)


async def test_an_unknown_id_is_an_error(terminal: Terminal) -> None:
    assert "there is no key api_key_nobody" in await terminal.wrong("keys", "show", "api_key_nobody")
    assert "there is no key api_key_nobody" in await terminal.wrong("keys", "revoke", "api_key_nobody")


async def test_a_database_that_is_away_is_a_line_without_its_password(terminal: Terminal) -> None:
    terminal.dsn = "postgresql://gateway:hunter2@127.0.0.1:1/gateway"
    for command in (("keys", "list"), ("migrate",)):
        said = await terminal.wrong(*command)
        assert "postgres.dsn" in said
        assert "hunter2" not in said


async def test_our_own_keys_are_imported_from_csv_with_their_ids(terminal: Terminal, account: str) -> None:
    key = issue("bk_live_", 7)
    header = ["id", "name", "key", "scopes", "rateLimitPerHour", "allowedIps", "status", "expiresAt"]
    line = ["api_key_old", "Old, but good", key, "READ WRITE", "12", "203.0.113.7;::1", "SUSPENDED", ""]
    (terminal.directory / "keys.csv").write_text(rows(header, line))
    assert (await terminal.right("keys", "import", terminal.directory / "keys.csv")).startswith("imported 1 keys in ")
    record = await terminal.find(key)
    assert record is not None
    assert (record.id, record.account_id, record.prefix) == ("api_key_old", account, key[:12])
    assert record.scopes == {"READ", "WRITE"}
    assert record.rate_limit_per_hour == 12
    assert (record.status, record.expires_at) == ("SUSPENDED", None)
    assert record.allowed is not None
    assert "203.0.113.7" in record.allowed


async def test_foreign_keys_and_digests_need_the_legacy_setting(terminal: Terminal, account: str) -> None:
    other = "bk_live_ffffffffffffffffffffffffffffffff"
    lines = [
        {"name": "Foreign", "scopes": ["READ"], "key": FOREIGN},
        {
            "name": "Digest",
            "scopes": ["READ"],
            "sha256": hashlib.sha256(other.encode()).hexdigest(),
            "keyPrefix": other[:12],
        },
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    said = await terminal.wrong("keys", "import", "-", "--format", "jsonl", stdin=text)
    assert "line 1: key: it was not issued here" in said
    assert "line 2: sha256: nobody can tell" in said
    assert said.count("keys.legacy: true") == 2
    assert FOREIGN not in said
    terminal.configure(legacy=True)
    assert (
        json.loads(await terminal.right("keys", "import", "-", "--format", "jsonl", "--json", stdin=text))["imported"]
        == 2
    )
    for key in (FOREIGN, other):
        record = await terminal.find(key)
        assert record is not None
        assert record.prefix == key[:12]


async def test_one_bad_line_refuses_them_all_and_each_is_told(terminal: Terminal, account: str) -> None:
    good = issue("bk_live_", 1)
    taken = (await terminal.right("keys", "create", "--name", "Taken", "--scope", "READ")).strip()
    lines = [
        json.dumps({"name": "Good", "scopes": ["READ"], "key": good}),
        "{not json",
        "[1]",
        json.dumps({"name": "", "scopes": ["NOPE"], "key": issue("bk_live_", 2), "colour": "red"}),
        json.dumps({"name": "No key", "scopes": ["READ"]}),
        json.dumps({"name": "No key at all", "scopes": ["READ"], "key": "password"}),
        json.dumps({"name": "Twice", "scopes": ["READ"], "key": good}),
        json.dumps({"name": "Taken", "scopes": ["READ"], "key": taken}),
        json.dumps({"name": "Nul\0", "scopes": ["READ"], "key": issue("bk_live_", 3)}),
        json.dumps({"name": "Half \ud800", "scopes": ["READ"], "key": issue("bk_live_", 4)}),
    ]
    said = await terminal.wrong("keys", "import", "-", "--format", "jsonl", stdin="\n".join(lines))
    assert "nothing was imported" in said
    for number, what in (
        (2, "is not JSON"),
        (3, "is not a JSON object"),
        (4, "name: "),
        (4, "scopes.0: is not a scope"),
        (4, "colour: "),
        (5, "expected either key or sha256"),
        (6, "key: expected bk_live_ or bk_test_"),
        (7, "key: there is one like it on line 1 already"),
        (8, "key: there is one like it in the database already"),
        (9, "name: must not contain the NUL character"),
        (10, "name: must not contain half of a surrogate pair"),
    ):
        assert f"line {number}: {what}" in said
    assert "line 1:" not in said
    assert good not in said
    assert await terminal.count() == 1


async def test_a_csv_that_is_broken_is_told_by_line(terminal: Terminal, account: str) -> None:
    text = rows(["name", "scopes", "key"], ["A", "READ"], ["B", "READ", "x", "y"]) + '"unclosed'
    said = await terminal.wrong("keys", "import", "-", "--format", "csv", stdin=text)
    assert "line 2: there are 2 cells under a header of 3" in said
    assert "line 3: there are 4 cells under a header of 3" in said
    assert "is not CSV" in said


async def test_many_problems_are_cut_short(terminal: Terminal, account: str) -> None:
    said = await terminal.wrong("keys", "import", "-", "--format", "jsonl", stdin="nonsense\n" * 100)
    assert said.count("is not JSON") == 20
    assert "and 80 more" in said
