"""What making and changing a key amounts to, whoever asks: the API and the command line share every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.adapters.postgres.keys import NewKey, create_key, get_key, new_key_id, update_key
from gateway.adapters.postgres.webhook_secrets import (
    drop_retired_webhook_secret,
    lacks_webhook_secret,
    retire_webhook_secret,
)
from gateway.adapters.secrets.webhook_secrets import new_webhook_secret, seal_webhook_secret

if TYPE_CHECKING:
    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.keys import CreatedKey, StoredKey
    from gateway.adapters.secrets.encryption import Encryption
    from gateway.management.key_bodies import CreateBody, RotateWebhookSecretBody, UpdateBody


async def make_key(
    connection: Connection, encryption: Encryption, body: CreateBody, *, account_id: str, prefix: str
) -> tuple[CreatedKey, bytes | None]:
    """Make the key that *body* describes, and give it with its webhook secret, if it has one.

    A key with a webhook gets a secret even when none was given. Raises NoSuchAccount.
    """
    key_id = new_key_id()
    secret = body.webhook_secret
    if secret is None and body.webhook_url is not None:
        secret = new_webhook_secret()
    new = NewKey(
        id=key_id, account_id=account_id, prefix=prefix, **body.columns(), **_sealed(encryption, key_id, secret)
    )
    return await create_key(connection, new), secret


async def change_key(
    connection: Connection, encryption: Encryption, key_id: str, body: UpdateBody, visible: str | None = None
) -> tuple[StoredKey, bytes | None] | None:
    """Change what *body* names, and give the key with its webhook secret where that is new; None without such a key.

    *visible* is the account whose keys are seen, None for all. A first webhook gets a secret even when none was given;
    a body that changes nothing leaves even the time of change. A new secret is in force at once, and alone. Raises
    IllegalStatus.
    """
    secret = body.webhook_secret
    changes = body.columns()
    async with connection.transaction():
        if secret is None and changes.get("webhook_url") and await lacks_webhook_secret(connection, key_id):
            secret = new_webhook_secret()
        changes |= _sealed(encryption, key_id, secret)
        if changes:
            key = await update_key(connection, key_id, changes, visible)
        else:
            key = await get_key(connection, key_id, visible)
        if key is None:
            return None
        if secret is not None:
            await drop_retired_webhook_secret(connection, key_id)
    return key, secret


async def rotate_webhook_secret(
    connection: Connection,
    encryption: Encryption,
    key_id: str,
    body: RotateWebhookSecretBody,
    visible: str | None = None,
) -> tuple[StoredKey, bytes] | None:
    """Give a key a new webhook secret, which *body* may name; the old one signs as well for the grace.

    *visible* is as above; None without such a key.
    """
    secret = body.webhook_secret or new_webhook_secret()
    async with connection.transaction():
        if await get_key(connection, key_id, visible) is None:
            return None
        await retire_webhook_secret(connection, key_id, body.grace_seconds)
        key = await update_key(connection, key_id, _sealed(encryption, key_id, secret), visible)
    return None if key is None else (key, secret)


def _sealed(encryption: Encryption, key_id: str, secret: bytes | None) -> dict[str, Any]:
    """Give the columns of an encrypted webhook secret, none without a *secret*."""
    if secret is None:
        return {}
    sealed = seal_webhook_secret(encryption, key_id, secret)
    return {"webhook_secret": sealed.ciphertext, "webhook_secret_key_id": sealed.key_id}
