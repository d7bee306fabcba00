"""Webhook secrets in Postgres, encrypted by whoever stores them: the present one of a key, and the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.adapters.postgres.sealed_secrets import StoredSecret

if TYPE_CHECKING:
    from gateway.adapters.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """Where a key's events are sent, and the secrets that sign them, the present one first."""

    url: str
    secrets: tuple[StoredSecret, ...]


async def find_webhook(connection: Connection, key_id: str) -> StoredWebhook | None:
    """Give the webhook of a key, None without one or without a secret."""
    row = await connection.fetchrow(
        "SELECT k.webhook_url AS url, k.webhook_secret AS secret, k.webhook_secret_key_id AS secret_key_id,"
        " r.secret AS retired, r.secret_key_id AS retired_key_id"
        " FROM api_keys k LEFT JOIN retired_webhook_secrets r ON r.key_id = k.id AND r.valid_until > now()"
        " WHERE k.id = $1 AND k.deleted_at IS NULL AND k.webhook_url IS NOT NULL AND k.webhook_secret IS NOT NULL",
        key_id,
    )
    if row is None:
        return None
    secrets = [StoredSecret(key_id, row["secret_key_id"], row["secret"])]
    if row["retired"] is not None:
        secrets.append(StoredSecret(key_id, row["retired_key_id"], row["retired"]))
    return StoredWebhook(row["url"], tuple(secrets))


async def lacks_webhook_secret(connection: Connection, key_id: str) -> bool:
    """Say whether this key has no webhook secret; a key that does not exist lacks nothing."""
    lacks = await connection.fetchval("SELECT webhook_secret IS NULL FROM api_keys WHERE id = $1 FOR UPDATE", key_id)
    return bool(lacks)


async def retire_webhook_secret(connection: Connection, key_id: str, grace_s: float) -> None:
    """Keep the present secret of this key, if it has one, for *grace_s* more seconds; the one before it ends now."""
    # Two rotations at once: one after the other.
    await connection.execute("SELECT 1 FROM api_keys WHERE id = $1 FOR UPDATE", key_id)
    await drop_retired_webhook_secret(connection, key_id)
    if grace_s > 0:
        await connection.execute(
            "INSERT INTO retired_webhook_secrets"
            " SELECT id, webhook_secret, webhook_secret_key_id, now() + $2 * interval '1 second'"
            " FROM api_keys WHERE id = $1 AND webhook_secret IS NOT NULL",
            key_id,
            float(grace_s),
        )


async def drop_retired_webhook_secret(connection: Connection, key_id: str) -> None:
    """Sign with the present secret alone from now on."""
    await connection.execute("DELETE FROM retired_webhook_secrets WHERE key_id = $1", key_id)
