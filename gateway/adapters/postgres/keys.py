"""Keys in Postgres: how they are made and changed. All is scoped by an account where one is given.

A deleted key is kept for its statistics and is found by nobody here; `key_source.py` still refuses it by name.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from gateway.adapters.postgres.accounts import NoSuchAccount
from gateway.adapters.postgres.ids import new_id
from gateway.core.credentials import PREFIX_CHARACTERS, RANDOM_CHARACTERS, digest, issue
from gateway.core.deliveries import WebhookStatus
from gateway.core.keys import KeyStatus, may_become

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gateway.adapters.postgres.connection import Connection

RATE_LIMIT_PER_HOUR: Final = 1000
CHANGEABLE: Final = frozenset(
    {
        *("name", "description", "scopes", "rate_limit_per_hour", "algorithm", "status", "allowed_ips", "expires_at"),
        *("webhook_url", "webhook_secret", "webhook_secret_key_id", "webhook_events", "webhook_status"),
    }
)
"""The columns that `update_key` may change."""

SHOWN_COLUMNS: Final = """
k.id, k.account_id, k.name, k.description, coalesce(s.prefix, '') AS prefix, k.scopes, k.rate_limit_per_hour,
k.algorithm, k.status, k.allowed_ips, k.expires_at, k.webhook_url, k.webhook_events, k.webhook_status,
k.created_at, k.updated_at, k.last_used_at
"""
"""What `stored_key` reads, of api_keys k and the current secret s."""


class IllegalStatus(Exception):
    """A key cannot go from the status it has, *current*, to the one that was wanted: revoked is final."""

    def __init__(self, current: KeyStatus) -> None:
        """Keep the status as it is."""
        self.current = current
        super().__init__(f"the key is {current}, which is final")


def new_key_id() -> str:
    """Give an id for a new key."""
    return new_id("api_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be made. *prefix* begins its secret; *webhook_secret* is encrypted, with the named secret key.

    *allowed_ips* are kept as they were given; None and none at all both mean that any address may use the key.
    """

    account_id: str
    name: str
    scopes: Sequence[str]
    prefix: str = "bk_live_"
    description: str | None = None
    rate_limit_per_hour: int = RATE_LIMIT_PER_HOUR
    algorithm: str | None = None
    allowed_ips: Sequence[str] | None = None
    expires_at: datetime | None = None
    webhook_url: str | None = None
    webhook_secret: bytes | None = field(default=None, repr=False)
    webhook_secret_key_id: str | None = None
    webhook_events: Sequence[str] | None = None
    id: str = field(default_factory=new_key_id)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as its owner sees it; *prefix* is that of its current secret."""

    id: str
    account_id: str
    name: str
    description: str | None
    prefix: str
    scopes: tuple[str, ...]
    rate_limit_per_hour: int
    algorithm: str | None
    status: KeyStatus
    allowed_ips: tuple[str, ...] | None
    expires_at: datetime | None
    webhook_url: str | None
    webhook_events: tuple[str, ...] | None
    webhook_status: WebhookStatus
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A key and its new secret, *key*, which is nowhere else and cannot be shown again."""

    stored: StoredKey
    key: str = field(repr=False)


def stored_key(row: asyncpg.Record) -> StoredKey:
    """Read a row of SHOWN_COLUMNS."""
    allowed, events = row["allowed_ips"], row["webhook_events"]
    changes = {
        "scopes": tuple(row["scopes"]),
        "status": KeyStatus(row["status"]),
        "allowed_ips": None if allowed is None else tuple(allowed),
        "webhook_events": None if events is None else tuple(events),
        "webhook_status": WebhookStatus(row["webhook_status"]),
    }
    return StoredKey(**{**row, **changes})


async def create_key(connection: Connection, new: NewKey) -> CreatedKey:
    """Make a key with a new secret; raises NoSuchAccount."""
    async with connection.transaction():
        try:
            await connection.execute(
                "INSERT INTO api_keys (id, account_id, name, description, scopes, rate_limit_per_hour, algorithm,"
                " allowed_ips, expires_at, webhook_url, webhook_secret, webhook_secret_key_id, webhook_events)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                *(new.id, new.account_id, new.name, new.description, new.scopes, new.rate_limit_per_hour),
                *(new.algorithm, new.allowed_ips, new.expires_at, new.webhook_url),
                *(new.webhook_secret, new.webhook_secret_key_id, new.webhook_events),
            )
        except asyncpg.ForeignKeyViolationError as error:
            raise NoSuchAccount(new.account_id) from error
        return await _with_new_secret(connection, new.id, new.prefix)


async def get_key(connection: Connection, key_id: str, account_id: str | None = None) -> StoredKey | None:
    """Give a key that is not deleted; None when there is none, or only in another account."""
    row = await connection.fetchrow(
        f"SELECT {SHOWN_COLUMNS} FROM api_keys k"  # noqa: S608  # a constant
        " LEFT JOIN key_secrets s ON s.key_id = k.id AND s.valid_until IS NULL"
        " WHERE k.deleted_at IS NULL AND k.id = $2 AND ($1::text IS NULL OR k.account_id = $1)",
        account_id,
        key_id,
    )
    return None if row is None else stored_key(row)


async def update_key(
    connection: Connection, key_id: str, changes: Mapping[str, Any], account_id: str | None = None
) -> StoredKey | None:
    """Change the columns that *changes* names, all of them CHANGEABLE; None when there is no such key.

    Raises IllegalStatus when the key may not get the status.
    """
    assert changes.keys() <= CHANGEABLE
    async with connection.transaction():
        current = await _lock(connection, key_id, account_id)
        if current is None:
            return None
        if "status" in changes and not may_become(current, KeyStatus(changes["status"])):
            raise IllegalStatus(current)
        settings = "".join(f", {column} = ${number}" for number, column in enumerate(changes, start=2))
        await connection.execute(
            f"UPDATE api_keys SET updated_at = now(){settings} WHERE id = $1",  # noqa: S608  # names are CHANGEABLE
            key_id,
            *changes.values(),
        )
        return await get_key(connection, key_id, account_id)


async def set_status(
    connection: Connection, key_id: str, status: KeyStatus, account_id: str | None = None
) -> StoredKey | None:
    """Suspend, revoke or reactivate a key; as `update_key`."""
    return await update_key(connection, key_id, {"status": status}, account_id)


async def delete_key(connection: Connection, key_id: str, account_id: str | None = None) -> bool:
    """Delete a key for its owner, keeping the row; says whether there was one."""
    done = await connection.fetchval(
        "UPDATE api_keys SET deleted_at = now(), updated_at = now()"
        " WHERE id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR account_id = $2) RETURNING 1",
        key_id,
        account_id,
    )
    return done is not None


async def rotate_key(
    connection: Connection, key_id: str, *, prefix: str, grace_s: float, account_id: str | None = None
) -> CreatedKey | None:
    """Give a key a new secret; the old one works for *grace_s* more seconds. None when there is no such key.

    Raises IllegalStatus for a revoked key.
    """
    async with connection.transaction():
        current = await _lock(connection, key_id, account_id)
        if current is None:
            return None
        if current is KeyStatus.REVOKED:
            raise IllegalStatus(current)
        # Those that an earlier rotation retired for later end no later than this one.
        await connection.execute(
            "UPDATE key_secrets SET valid_until = least(valid_until, now() + $2 * interval '1 second')"
            " WHERE key_id = $1 AND (valid_until IS NULL OR valid_until > now() + $2 * interval '1 second')",
            key_id,
            float(grace_s),
        )
        await connection.execute("UPDATE api_keys SET updated_at = now() WHERE id = $1", key_id)
        return await _with_new_secret(connection, key_id, prefix)


async def _lock(connection: Connection, key_id: str, account_id: str | None) -> KeyStatus | None:
    """Keep others from changing a key until the transaction ends, and give its status; None when it is not there."""
    status = await connection.fetchval(
        "SELECT status FROM api_keys"
        " WHERE id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR account_id = $2) FOR UPDATE",
        key_id,
        account_id,
    )
    return None if status is None else KeyStatus(status)


async def _with_new_secret(connection: Connection, key_id: str, prefix: str) -> CreatedKey:
    key = issue(prefix, secrets.randbelow(62**RANDOM_CHARACTERS))
    await connection.execute(
        "INSERT INTO key_secrets (digest, key_id, prefix) VALUES ($1, $2, $3)",
        digest(key),
        key_id,
        key[:PREFIX_CHARACTERS],
    )
    stored = await get_key(connection, key_id)
    assert stored is not None, "the key was inserted or locked in this transaction"
    return CreatedKey(stored, key)
