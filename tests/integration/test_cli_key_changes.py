"""`gateway keys`: everything that the API does with a key, with the same fields and the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.adapters.postgres.pool import Database
from gateway.core.credentials import digest
from tests.commands import Commands
from tests.integration.managing import managing

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.core.keys import KeyRecord

NEW = ("keys", "create", "--name", "Shop", "--scope", "READ")
HOOK = "https://myapp.com/webhooks"
SCOPES = {"READ": "Read things", "WRITE": "Write things"}


@pytest.fixture
async def commands(postgres_dsn: str, tmp_path: Path) -> Commands:
    made = Commands(tmp_path, postgres_dsn)
    await made.right("accounts", "create", "Acme")
    return made


async def find(commands: Commands, key: str) -> KeyRecord | None:
    """Find a key as the data plane does."""
    async with Database(commands.dsn) as database:
        return await PostgresKeySource(database).find(digest(key))


async def test_the_json_has_the_shape_that_the_api_gives_to_an_admin(commands: Commands) -> None:
    body = {"name": "Shop", "scopes": ["READ"], "webhookUrl": HOOK}
    async with managing(commands.dsn) as asking:
        ada = await asking.logged_in("ada@example.com", role="admin")
        answers = {
            "create": await ada.told(201, "keys.create", {**body, "scopes": ["READ_BUDGETS"]}),
        }
        key_id = answers["create"]["id"]
        answers["update"] = await ada.told(200, "keys.update", {"name": "Till"}, key_id=key_id)
        answers["show"] = await ada.told(200, "keys.get", key_id=key_id)
        answers["list"] = (await ada.told(200, "keys.list", query="?limit=1"))["data"][0]
        pagination = (await ada.told(200, "keys.list", query="?limit=1"))["pagination"]
        answers["rotate"] = await ada.told(200, "keys.rotate", {}, key_id=key_id)
        answers["webhook"] = await ada.told(200, "keys.rotate_webhook_secret", {}, key_id=key_id)
    accounts = [account["id"] for account in await commands.told("accounts", "list")]
    made = await commands.told(*NEW, "--webhook-url", HOOK, "--account", accounts[0])
    told = {
        "create": made,
        "update": await commands.told("keys", "update", made["id"], "--name", "Till"),
        "show": await commands.told("keys", "show", made["id"]),
        "list": (listed := await commands.told("keys", "list", "--limit", "1"))["data"][0],
        "rotate": await commands.told("keys", "rotate", made["id"]),
        "webhook": await commands.told("keys", "rotate-webhook-secret", made["id"]),
    }
    assert {name: set(view) for name, view in told.items()} == {name: set(view) for name, view in answers.items()}
    assert all(view["accountId"] == accounts[0] for view in told.values())
    assert set(listed["pagination"]) == set(pagination)
    assert (listed["pagination"]["total"], listed["pagination"]["hasMore"]) == (2, True)


async def test_only_what_is_given_is_changed(commands: Commands) -> None:
    made = await commands.told(*NEW, "--description", "till", "--rate-limit", "5", "--allowed-ip", "203.0.113.0/24")
    before = await commands.told("keys", "show", made["id"])
    changed = await commands.told("keys", "update", made["id"], "--name", "Till", "--scope", "WRITE")
    assert (changed["name"], changed["scopes"]) == ("Till", ["WRITE"])
    same = ("description", "rateLimitPerHour", "allowedIps", "status", "expiresAt", "webhookUrl", "createdAt")
    assert {name: changed[name] for name in same} == {name: before[name] for name in same}
    everything = (
        "--description",
        "x",
        "--rate-limit",
        "9",
        "--expires",
        "2099-01-01T00:00:00Z",
        "--status",
        "suspended",
    )
    changed = await commands.told("keys", "update", made["id"], *everything, "--allowed-ip", "::1")
    assert {name: changed[name] for name in same[:5]} == {
        "description": "x",
        "rateLimitPerHour": 9,
        "allowedIps": ["::1"],
        "status": "SUSPENDED",
        "expiresAt": "2099-01-01T00:00:00.000Z",
    }
    clear = [word for name in ("description", "allowed-ips", "expires", "webhook-url") for word in ("--clear", name)]
    changed = await commands.told("keys", "update", made["id"], *clear)
    assert [changed[name] for name in ("description", "allowedIps", "expiresAt", "webhookUrl")] == [None] * 4


async def test_a_webhook_secret_is_made_or_read_from_standard_input_and_shown_once(commands: Commands) -> None:
    done = await commands.run(*NEW, "--webhook-url", HOOK)
    key = done.stdout.strip()
    assert key.startswith("bk_live_")
    assert "webhook secret: whsec_" in done.stderr
    (row,) = await commands.fetch("SELECT id, webhook_secret FROM api_keys")
    assert row["webhook_secret"] is not None
    assert "webhookSecret" not in await commands.told("keys", "show", row["id"])
    given = ("keys", "update", row["id"], "--webhook-secret", "-")
    told = await commands.told(*given, stdin="a secret of my own\n")
    assert told["webhookSecret"] == "whsec_YSBzZWNyZXQgb2YgbXkgb3du"
    plain = await commands.told(*NEW)
    first = await commands.told("keys", "update", plain["id"], "--webhook-url", HOOK)
    assert first["webhookSecret"].startswith("whsec_")
    assert "webhookSecret" not in await commands.told("keys", "update", plain["id"], "--webhook-url", f"{HOOK}/2")


async def test_a_key_is_suspended_activated_and_finally_revoked(commands: Commands) -> None:
    made = await commands.told(*NEW)
    for command, status in (("suspend", "SUSPENDED"), ("activate", "ACTIVE"), ("revoke", "REVOKED")):
        assert (await commands.told("keys", command, made["id"]))["status"] == status
        record = await find(commands, made["key"])
        assert record is not None
        assert record.status == status
    assert "the key is REVOKED, which is final; make a new key" in await commands.wrong("keys", "activate", made["id"])
    assert "so it gets no new secret" in await commands.wrong("keys", "rotate", made["id"])


async def test_a_deleted_key_is_listed_no_more_and_refused(commands: Commands) -> None:
    made = await commands.told(*NEW)
    assert await commands.right("keys", "delete", made["id"]) == f"deleted {made['id']}\n"
    assert (await commands.told("keys", "list"))["pagination"]["total"] == 0
    record = await find(commands, made["key"])
    assert record is not None
    assert record.deleted
    for command in ("show", "delete", "suspend", "activate", "revoke", "rotate", "rotate-webhook-secret"):
        assert f"there is no key {made['id']}; see `gateway keys list`" in await commands.wrong(
            "keys", command, made["id"]
        )


async def test_a_rotated_key_keeps_its_old_secret_for_the_grace(commands: Commands) -> None:
    made = await commands.told(*NEW)
    rotated = await commands.told("keys", "rotate", made["id"], "--grace", "3600", "--prefix", "bk_test_")
    assert rotated["id"] == made["id"]
    assert rotated["key"].startswith("bk_test_")
    old, new = await find(commands, made["key"]), await find(commands, rotated["key"])
    assert old is not None
    assert new is not None
    assert old.retired_at is not None
    assert new.retired_at is None
    key = (await commands.right("keys", "rotate", made["id"])).strip()
    assert await find(commands, key) is not None
    assert "graceSeconds: " in await commands.wrong("keys", "rotate", made["id"], "--grace", "-1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--name", ""), "name: "),
        (("--scope", "REED"), "scopes.0: is not a scope; expected one of READ, WRITE"),
        (("--expires", "2001-01-01T00:00:00Z"), "expiresAt: must be in the future"),
        (("--webhook-url", "http://myapp.com"), "webhookUrl: "),
        (("--webhook-secret", "short"), "webhookSecret: must have 16 to 128 characters"),
        (("--clear", "expires", "--expires", "2099-01-01T00:00:00Z"), "--clear expires takes away what another"),
        (("--rate-limit", "0", "--allowed-ip", "x"), "rateLimitPerHour: "),
        (("--rate-limit", "0", "--allowed-ip", "x"), "allowedIps.0: "),
    ],
)
async def test_what_a_key_cannot_become_is_said_with_the_apis_words(
    commands: Commands, options: tuple[str, ...], said: str
) -> None:
    made = await commands.told(*NEW)
    before = await commands.told("keys", "show", made["id"])
    refused = await commands.wrong("keys", "update", made["id"], *options)
    assert said in refused
    assert refused.count("\n") == 1
    assert await commands.told("keys", "show", made["id"]) == before


async def test_a_list_is_narrowed_paged_and_readable(commands: Commands) -> None:
    for name in ("One", "Two", "Three \x1b[31m\n"):
        await commands.told("keys", "create", "--name", name, "--scope", "READ")
    keys = (await commands.told("keys", "list"))["data"]
    assert [key["name"][:5] for key in keys] == ["Three", "Two", "One"]
    await commands.told("keys", "suspend", keys[1]["id"])
    assert [key["name"] for key in (await commands.told("keys", "list", "--status", "suspended"))["data"]] == ["Two"]
    assert [key["name"] for key in (await commands.told("keys", "list", "--search", "ON"))["data"]] == ["One"]
    done = await commands.run("keys", "list", "--limit", "2")
    assert done.stderr == "1-2 of 3; more with --page 2\n"
    table = done.stdout.splitlines()
    assert len(table) == 3
    assert table[0].split() == ["ID", "PREFIX", "STATUS", "NAME", "PER", "HOUR", "EXPIRES", "LAST", "USED", "SCOPES"]
    assert "\x1b" not in done.stdout
    assert table[2].index("Two") == table[0].index("NAME")
    assert (await commands.run("keys", "list", "--page", "9")).stderr == "none here, 3 in all\n"
    assert "page: " in await commands.wrong("keys", "list", "--page", "0")


async def test_the_audit_log_says_who_used_the_command_line(commands: Commands) -> None:
    made = await commands.told(*NEW)
    await commands.told("keys", "suspend", made["id"])
    rows: list[dict[str, Any]] = await commands.fetch(
        "SELECT actor_kind, action FROM audit_log WHERE subject_id = $1 ORDER BY id", made["id"]
    )
    assert [tuple(row.values()) for row in rows] == [("command", "key.created"), ("command", "key.updated")]
