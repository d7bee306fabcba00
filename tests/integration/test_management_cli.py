"""`gateway accounts`, `users` and `signing-keys`: whoever is made can log in, and no password is ever shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.commands import SETTINGS, Commands
from tests.integration.managing import managing

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "a password that is long"
EMAIL = "ada@example.com"
CHEAP = "auth: {password_hash: {time_cost: 1, memory_kib: 64, parallelism: 1}}\n"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def command(postgres_dsn: str, tmp_path: Path) -> Commands:
    command = Commands(tmp_path, postgres_dsn)
    command.settings.write_text(SETTINGS + CHEAP)
    return command


async def refused(command: Commands, *words: str, stdin: str = "") -> str:
    """Run what must fail, and give the one line that it says."""
    said = await command.wrong(*words, stdin=stdin)
    assert said.count("\n") == 1, said
    return said


async def login_status(dsn: str, password: str) -> int:
    async with managing(dsn) as asking:
        return (await asking.ask("login", {"email": EMAIL, "password": password})).status


async def test_whoever_is_made_can_log_in_and_change_the_password(command: Commands) -> None:
    account_id = (await command.right("accounts", "create", "Ada & Co")).strip()
    made = await command.told("users", "create", EMAIL, stdin=f"{PASSWORD}\n")
    assert (made["email"], made["accountId"], made["role"]) == (EMAIL, account_id, "member")
    assert await login_status(command.dsn, PASSWORD) == 200
    assert "ended" in await command.right("users", "passwd", EMAIL, stdin="another long password\n")
    assert await login_status(command.dsn, PASSWORD) == 401
    assert await login_status(command.dsn, "another long password") == 200
    assert await command.right("users", "list") == f"{EMAIL}  member  {account_id}\n"
    assert (await command.told("accounts", "list"))[0]["name"] == "Ada & Co"


async def test_everything_has_a_form_for_machines_that_shows_no_password(command: Commands) -> None:
    account = await command.told("accounts", "create", "Ada & Co")
    assert set(account) == {"id", "name"}
    user = await command.told("users", "create", EMAIL, "--role", "admin", stdin=PASSWORD)
    assert user == {
        "id": user["id"],
        "email": EMAIL,
        "accountId": account["id"],
        "role": "admin",
        "disabled": False,
    }
    assert await command.told("users", "passwd", EMAIL, stdin="another long password") == user
    assert await command.told("users", "disable", EMAIL) == {**user, "disabled": True}
    assert await command.told("users", "enable", EMAIL) == user
    assert await command.told("users", "list") == [user]
    assert await command.told("users", "list", "--account", "account_of_nobody") == []


async def test_what_cannot_be_done_is_said_in_one_line(command: Commands) -> None:
    assert "there is no account yet" in await refused(command, "users", "create", EMAIL, stdin=PASSWORD)
    await command.right("accounts", "create", "Ada & Co")
    assert "at least 12" in await refused(command, "users", "create", EMAIL, stdin="short")
    assert "no account" in await refused(command, "users", "create", EMAIL, "--account", "x", stdin=PASSWORD)
    assert "not an e-mail" in await refused(command, "users", "create", "ada", stdin=PASSWORD)
    await command.right("users", "create", EMAIL, stdin=PASSWORD)
    assert "already" in await refused(command, "users", "create", EMAIL.upper(), stdin=PASSWORD)
    for verb in ("passwd", "disable", "enable"):
        for nobody in ("bob@example.com", "\udcff"):
            assert "no user" in await refused(command, "users", verb, nobody, stdin=PASSWORD)
    assert "1 to 100" in await refused(command, "accounts", "create", "")
    await command.right("accounts", "create", "Bob & Co")
    assert "say which with --account" in await refused(command, "users", "create", "x@y", stdin=PASSWORD)


async def test_without_postgres_one_line_says_so_and_shows_no_password(command: Commands) -> None:
    command.dsn = "postgresql://gateway:hunter2@127.0.0.1:1/gateway"
    for words in (("accounts", "list"), ("users", "list"), ("signing-keys", "rotate"), ("signing-keys", "list")):
        said = await refused(command, *words)
        assert "cannot connect to Postgres" in said
        assert "hunter2" not in said


async def test_a_disabled_user_cannot_log_in_until_enabled(command: Commands) -> None:
    await command.right("accounts", "create", "Ada & Co")
    await command.right("users", "create", EMAIL, stdin=PASSWORD)
    await command.right("users", "disable", EMAIL)
    assert "disabled" in await command.right("users", "list")
    assert await login_status(command.dsn, PASSWORD) == 401
    await command.right("users", "enable", EMAIL.upper())
    assert await login_status(command.dsn, PASSWORD) == 200


async def test_signing_keys_are_replaced_and_listed(command: Commands) -> None:
    first = (await command.right("signing-keys", "rotate")).strip()
    told = await command.told("signing-keys", "rotate")
    assert told["overlapSeconds"] > 3600
    listed = await command.told("signing-keys", "list")
    assert [(key["kid"], key["endsAt"] is None) for key in listed] == [(told["kid"], True), (first, False)]
    last = (await command.right("signing-keys", "rotate", "--end-logins")).strip()
    assert (await command.right("signing-keys", "list")).split() == [last, "signs"]
    rows = await command.fetch("SELECT actor_kind, action FROM audit_log WHERE subject_id = $1", last)
    assert [(row["actor_kind"], row["action"]) for row in rows] == [("command", "signing_key.created")]


async def test_keys_of_a_file_are_not_replaced_in_postgres(command: Commands, tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    command.settings.write_text(f"{SETTINGS}auth: {{signing_key_file: {json.dumps(str(path))}}}\n")
    for verb in ("rotate", "list"):
        assert "auth.signing_key_file" in await refused(command, "signing-keys", verb)
