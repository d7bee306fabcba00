"""Webhook secrets in Postgres, encrypted by whoever stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.adapters.postgres.connection import Connection


async def lacks_webhook_secret(connection: Connection, key_id: str) -> bool:
    """Say whether this key has no webhook secret; a key that does not exist lacks nothing."""
    lacks = await connection.fetchval("SELECT webhook_secret IS NULL FROM api_keys WHERE id = $1 FOR UPDATE", key_id)
    return bool(lacks)
