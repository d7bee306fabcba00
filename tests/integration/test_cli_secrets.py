"""`gateway secrets rotate`: the key of secrets at rest is replaced while gateways serve, and nothing is ever unreadable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.secrets.encryption import Encryption, Sealed, SecretUnreadable
from gateway.management import reencryption
from gateway.management.key_bodies import UpdateBody
from gateway.management.key_changes import change_key
from gateway.management.reencryption import Reencrypted, reencrypt
from tests.commands import Commands, encoded
from tests.integration.managing import managing

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW, OTHER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
ROTATE = ("secrets", "rotate")
BATCH, KEYS = 100, 243
"""More than two batches, and not a whole number of them."""


@pytest.fixture
async def commands(postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Keys whose webhook secrets, and a signing key that, the old key has encrypted; the settings have both."""
    monkeypatch.setattr(reencryption, "BATCH", BATCH)
    made = Commands(tmp_path, postgres_dsn)
    connection = await asyncpg.connect(postgres_dsn, timeout=10, command_timeout=10)
    old = Encryption(OLD)
    try:
        account = await create_account(connection, "Acme")
        await connection.executemany(
            "INSERT INTO api_keys (id, account_id, name, scopes, rate_limit_per_hour, webhook_secret,"
            " webhook_secret_key_id) VALUES ($1, $2, $1, '{READ}', 1, $3, $4)",
            [
                (f"key_{n:04}", account, old.seal(secret_of(n), f"webhook:key_{n:04}").ciphertext, old.key_id)
                for n in range(KEYS)
            ],
        )
        await connection.execute(
            "INSERT INTO signing_keys VALUES ('kid', 'EdDSA', $1, $2, '{}')",
            old.seal(b"private", "signing:kid").ciphertext,
            old.key_id,
        )
    finally:
        await connection.close(timeout=10)
    return use(made, NEW, OLD)


def use(commands: Commands, key: bytes, previous: bytes | None = None) -> Commands:
    commands.environ = {
        "GATEWAY_SECRET_KEY": encoded(key),
        "GATEWAY_SECRET_KEY_PREVIOUS": "" if previous is None else encoded(previous),
    }
    return commands


def secret_of(number: int) -> bytes:
    return f"the secret number {number:04}".encode()


async def test_a_secret_in_its_grace_gets_the_new_key_too(commands: Commands) -> None:
    old, new = Encryption(OLD), Encryption(NEW)
    connection = await asyncpg.connect(commands.dsn, timeout=10, command_timeout=10)
    try:
        sealed = old.seal(b"a secret in its grace", "webhook:key_0000")
        statement = "INSERT INTO retired_webhook_secrets VALUES ('key_0000', $1, $2, now() + interval '1 hour')"
        await connection.execute(statement, sealed.ciphertext, sealed.key_id)
    finally:
        await connection.close(timeout=10)
    told = await commands.told(*ROTATE)
    assert told["webhookSecrets"] == {"reencrypted": KEYS + 1, "byKey": {new.key_id: KEYS + 1}}
    (row,) = await commands.fetch("SELECT secret, secret_key_id FROM retired_webhook_secrets")
    assert new.open(Sealed(row["secret_key_id"], row["secret"]), "webhook:key_0000") == b"a secret in its grace"


async def key_ids(commands: Commands) -> dict[str, int]:
    """How many webhook secrets each key has encrypted; every one of them can be read with its key."""
    found: dict[str, int] = {}
    both = Encryption(NEW, [OLD])
    for row in await commands.fetch("SELECT * FROM api_keys WHERE webhook_secret IS NOT NULL"):
        found[row["webhook_secret_key_id"]] = found.get(row["webhook_secret_key_id"], 0) + 1
        opened = both.open(Sealed(row["webhook_secret_key_id"], row["webhook_secret"]), f"webhook:{row['id']}")
        assert opened == secret_of(int(row["id"].removeprefix("key_")))
    return found


async def test_every_secret_gets_the_new_key_and_the_old_one_can_go(commands: Commands) -> None:
    before = await commands.fetch("SELECT id, updated_at FROM api_keys ORDER BY id")
    told = await commands.told(*ROTATE)
    new = Encryption(NEW).key_id
    assert told == {
        "keyId": new,
        "unreadable": [],
        "webhookSecrets": {"reencrypted": KEYS, "byKey": {new: KEYS}},
        "signingKeys": {"reencrypted": 1, "byKey": {new: 1}},
    }
    assert await key_ids(commands) == {new: KEYS}
    (row,) = await commands.fetch("SELECT private_key, secret_key_id FROM signing_keys")
    assert Encryption(NEW).open(Sealed(row["secret_key_id"], row["private_key"]), "signing:kid") == b"private"
    assert await commands.fetch("SELECT id, updated_at FROM api_keys ORDER BY id") == before, "nobody changed a key"
    use(commands, NEW)
    printed = await commands.right(*ROTATE)
    assert printed.splitlines() == [
        f"webhook secrets: 0 encrypted again; now {KEYS} with {new}",
        f"signing keys: 0 encrypted again; now 1 with {new}",
        f"secrets.key is {new}",
    ]


async def test_a_dry_run_only_counts(commands: Commands) -> None:
    old = Encryption(OLD).key_id
    told = await commands.told(*ROTATE, "--dry-run")
    assert told["webhookSecrets"] == {"reencrypted": 0, "byKey": {old: KEYS}}
    assert await key_ids(commands) == {old: KEYS}


@pytest.mark.parametrize("previous", [None, OTHER])
async def test_an_unknown_key_is_named_and_nothing_is_changed(commands: Commands, previous: bytes | None) -> None:
    use(commands, NEW, previous)
    old = Encryption(OLD).key_id
    said = await commands.wrong(*ROTATE)
    assert said.startswith(f"Error: secrets are encrypted {KEYS + 1} with the key {old}, which is not in the settings")
    assert "secrets.previous" in said
    assert await key_ids(commands) == {old: KEYS}


async def test_one_unknown_key_among_known_ones_stops_it_before_anything_is_changed(commands: Commands) -> None:
    await commands.fetch("UPDATE api_keys SET webhook_secret_key_id = 'lost' WHERE id = 'key_0200'")
    assert "secrets are encrypted 1 with the key lost, which is not in the settings" in await commands.wrong(*ROTATE)
    await commands.fetch("UPDATE api_keys SET webhook_secret_key_id = $1 WHERE id = 'key_0200'", Encryption(OLD).key_id)
    assert await key_ids(commands) == {Encryption(OLD).key_id: KEYS}


async def test_a_damaged_secret_is_told_and_does_not_hold_up_the_others(commands: Commands) -> None:
    await commands.fetch("UPDATE api_keys SET webhook_secret = '\\x00' WHERE id = 'key_0007'")
    said = await commands.wrong(*ROTATE)
    assert "damaged and lost: webhook:key_0007; set a new one with `gateway keys update ID --webhook-secret`" in said
    await commands.told("keys", "update", "key_0007", "--webhook-secret", secret_of(7).decode())
    await commands.right(*ROTATE)
    assert await key_ids(commands) == {Encryption(NEW).key_id: KEYS}


class Stopped(Exception):
    pass


async def test_what_was_interrupted_goes_on_where_it_was(commands: Commands, postgres_dsn: str) -> None:
    def stop() -> None:
        raise Stopped

    connection = await asyncpg.connect(postgres_dsn, timeout=10, command_timeout=10)
    both, done = Encryption(NEW, [OLD]), Reencrypted()
    with pytest.raises(Stopped):
        await reencrypt(connection, both, done, stop)
    connection.terminate()
    assert done.numbers["webhook"] == BATCH
    assert await key_ids(commands) == {
        both.key_id: BATCH,
        Encryption(OLD).key_id: KEYS - BATCH,
    }
    told = await commands.told(*ROTATE)
    assert told["webhookSecrets"]["reencrypted"] == KEYS - BATCH
    assert await key_ids(commands) == {both.key_id: KEYS}


async def test_secrets_that_change_meanwhile_are_kept(commands: Commands, postgres_dsn: str) -> None:
    """Owners set new secrets through instances that have the old settings still, and such as have the new ones."""
    connections = [await asyncpg.connect(postgres_dsn, timeout=10, command_timeout=10) for _ in range(3)]
    both, before = Encryption(NEW, [OLD]), Encryption(OLD, [NEW])
    at_work = asyncio.Event()

    async def owner(connection: asyncpg.Connection[asyncpg.Record], encryption: Encryption, numbers: range) -> None:
        for count, number in enumerate(numbers):
            body = UpdateBody.model_validate({"webhookSecret": f"set meanwhile, {number:04}"})
            assert await change_key(connection, encryption, f"key_{number:04}", body) is not None
            if count == 5:
                at_work.set()

    owners = [
        asyncio.create_task(owner(connections[0], before, range(0, KEYS, 7))),
        asyncio.create_task(owner(connections[1], both, range(3, KEYS, 7))),
    ]
    async with asyncio.timeout(20):
        await at_work.wait()
    await reencrypt(connections[2], both, Reencrypted(), lambda: None)
    await asyncio.gather(*owners)
    await reencrypt(connections[2], both, Reencrypted(), lambda: None)
    for connection in connections:
        await connection.close(timeout=10)
    rows: list[dict[str, Any]] = await commands.fetch("SELECT id, webhook_secret, webhook_secret_key_id FROM api_keys")
    new = Encryption(NEW)
    for row in rows:
        number = int(row["id"].removeprefix("key_"))
        expected = f"set meanwhile, {number:04}".encode() if number % 7 in {0, 3} else secret_of(number)
        opened = new.open(Sealed(row["webhook_secret_key_id"], row["webhook_secret"]), f"webhook:{row['id']}")
        assert opened == expected


async def test_an_instance_with_the_old_settings_is_noticed(commands: Commands) -> None:
    await commands.fetch(
        "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id = 'key_0000' THEN RETURN NULL; END IF; RETURN NEW; END $$"
    )
    await commands.fetch("CREATE TRIGGER undo BEFORE UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION undo()")
    said = await commands.wrong(*ROTATE)
    assert "1 were encrypted with a previous key meanwhile: an instance still runs with that" in said


async def test_logins_go_on_through_the_whole_change(postgres_dsn: str, commands: Commands) -> None:
    await commands.fetch("DELETE FROM signing_keys")
    settings = {
        "before": {"key": encoded(OLD)},
        "both": {"key": encoded(OLD), "previous": [encoded(NEW)]},
        "exchanged": {"key": encoded(NEW), "previous": [encoded(OLD)]},
        "after": {"key": encoded(NEW)},
    }
    async with managing(postgres_dsn, secrets=settings["before"]) as asking:
        token = (await asking.logged_in("ada@example.com")).token
    for name in ("both", "exchanged", "after"):
        if name == "after":
            await commands.right(*ROTATE)
        async with managing(postgres_dsn, secrets=settings[name]) as asking:
            asking.token = token
            await asking.told(200, "keys.list")
            await asking.user(f"{name}@example.com")
            told = await asking.told(
                200, "login", {"email": f"{name}@example.com", "password": "correct horse battery staple"}
            )
            assert told["token"]
        assert len(await commands.fetch("SELECT kid FROM signing_keys")) == 1, "every instance can use the same key"


def test_a_key_that_was_withdrawn_too_early_is_named() -> None:
    with pytest.raises(SecretUnreadable, match=Encryption(OLD).key_id):
        Encryption(NEW).open(Encryption(OLD).seal(b"x", "a"), "a")
