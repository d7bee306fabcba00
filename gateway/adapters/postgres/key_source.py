"""The key source: one indexed look-up from a secret's digest to the record that policy judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from gateway.adapters.postgres.connection import reason
from gateway.adapters.postgres.pool import DatabaseDown
from gateway.core.keys import KeyRecord, KeyStatus
from gateway.core.network import AddressSet, NetworkSyntaxError
from gateway.ports import KeySourceDown

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database

_FIND: Final = """
SELECT k.id, k.account_id, s.prefix, k.scopes, k.rate_limit_per_hour, k.status, k.allowed_ips, k.expires_at,
       s.valid_until, k.deleted_at, k.webhook_url, k.algorithm
FROM key_secrets s JOIN api_keys k ON k.id = s.key_id
WHERE s.digest = $1
"""

log = structlog.get_logger()


class PostgresKeySource:
    """Finds key records in Postgres; implements the KeySource port."""

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database

    async def find(self, digest: bytes) -> KeyRecord | None:
        """Give the record of the key with this SHA-256, whatever its state; raises KeySourceDown.

        Everything but a clear answer is KeySourceDown: nobody is told that a key is unknown because of our trouble.
        """
        try:
            async with self._database.connection() as connection:
                row = await connection.fetchrow(_FIND, digest)
        except DatabaseDown as fault:
            raise KeySourceDown(str(fault)) from fault
        except asyncpg.PostgresError as error:
            raise KeySourceDown(f"Postgres refuses to look up keys: {reason(error)}; check the schema") from error
        return None if row is None else _record(row)


def _record(row: asyncpg.Record) -> KeyRecord:
    expires_at, retired_at = row["expires_at"], row["valid_until"]
    try:
        allowed = AddressSet(row["allowed_ips"]) if row["allowed_ips"] else None
    except NetworkSyntaxError as error:
        log.error("key unreadable", key_id=row["id"], reason=str(error))  # noqa: TRY400  # the message says it all
        raise KeySourceDown(f"key {row['id']} has an address list that cannot be read: {error}") from error
    return KeyRecord(
        id=row["id"],
        account_id=row["account_id"],
        prefix=row["prefix"],
        scopes=frozenset(row["scopes"]),
        rate_limit_per_hour=row["rate_limit_per_hour"],
        status=KeyStatus(row["status"]),
        allowed=allowed,
        expires_at=None if expires_at is None else expires_at.timestamp(),
        retired_at=None if retired_at is None else retired_at.timestamp(),
        deleted=row["deleted_at"] is not None,
        webhook_url=row["webhook_url"],
        algorithm=row["algorithm"],
    )
