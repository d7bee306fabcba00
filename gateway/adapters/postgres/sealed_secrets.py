"""Secrets at rest wherever they are in Postgres, for whoever replaces the key that encrypts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.adapters.postgres.audit import audit_as_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class Place:
    """A column with secrets, the column with the id of each secret's key, and the word that begins an owner's name."""

    table: str
    id_column: str
    column: str
    key_column: str
    owner: str


WEBHOOK_SECRETS: Final = Place("api_keys", "id", "webhook_secret", "webhook_secret_key_id", "webhook")
RETIRED_WEBHOOK_SECRETS: Final = Place("retired_webhook_secrets", "key_id", "secret", "secret_key_id", "webhook")
SIGNING_KEYS: Final = Place("signing_keys", "kid", "private_key", "secret_key_id", "signing")
PLACES: Final = (WEBHOOK_SECRETS, RETIRED_WEBHOOK_SECRETS, SIGNING_KEYS)
"""All of them but the answers that are kept for repeated requests: those are forgotten within minutes."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A secret in its row *id*, encrypted with the key that *key_id* names."""

    id: str
    key_id: str
    ciphertext: bytes = field(repr=False)


async def count_by_key(connection: Connection, place: Place) -> dict[str, int]:
    """Say how many secrets each key has encrypted."""
    rows = await connection.fetch(
        f"SELECT {place.key_column} AS key_id, count(*) AS number FROM {place.table}"  # noqa: S608  # our own names
        f" WHERE {place.column} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC"
    )
    return {row["key_id"]: row["number"] for row in rows}


async def lock_others(connection: Connection, place: Place, key_id: str, after: str, limit: int) -> list[StoredSecret]:
    """Give the next secrets that another key than *key_id* encrypted, by id and *after* one.

    Nobody else changes them until the transaction ends.
    """
    rows = await connection.fetch(
        f"SELECT {place.id_column} AS id, {place.key_column} AS key_id, "  # noqa: S608  # names of ours
        f"{place.column} AS ciphertext"
        f" FROM {place.table} WHERE {place.column} IS NOT NULL AND {place.key_column} <> $1 AND {place.id_column} > $2"
        f" ORDER BY {place.id_column} LIMIT $3 FOR NO KEY UPDATE",
        key_id,
        after,
        limit,
    )
    return [StoredSecret(row["id"], row["key_id"], row["ciphertext"]) for row in rows]


async def replace_secrets(connection: Connection, place: Place, secrets: Sequence[StoredSecret]) -> None:
    """Store *secrets* instead of the locked ones; nothing is announced, for they mean the same as before."""
    await audit_as_one(connection, f"secrets.{place.owner}.reencrypted", len(secrets), subject_id="secrets")
    await connection.execute("SELECT set_config('gateway.announce', 'as one', true)")
    await connection.execute(
        f"UPDATE {place.table} AS kept SET {place.column} = given.ciphertext, "  # noqa: S608  # names of ours
        f"{place.key_column} = given.key_id"
        " FROM unnest($1::text[], $2::text[], $3::bytea[]) AS given (id, key_id, ciphertext)"
        f" WHERE kept.{place.id_column} = given.id",
        [secret.id for secret in secrets],
        [secret.key_id for secret in secrets],
        [secret.ciphertext for secret in secrets],
    )
