"""Signing keys in Postgres: what login tokens are signed with, the private halves encrypted by whoever stores them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.adapters.postgres.connection import Connection

_LOCK: Final = 0x6761_7465_0002
"""Chosen once, so that every instance that would make a signing key waits for the same lock."""


@dataclass(frozen=True, slots=True)
class StoredSigningKey:
    """A signing key as it is stored: *public_jwk* as in RFC 8037, *private_key* encrypted with *secret_key_id*."""

    kid: str
    algorithm: str
    public_jwk: Mapping[str, str]
    private_key: bytes = field(repr=False)
    secret_key_id: str


async def load_signing_keys(connection: Connection) -> list[StoredSigningKey]:
    """Give the keys that have not ended, newest first."""
    rows = await connection.fetch(
        "SELECT kid, algorithm, public_jwk, private_key, secret_key_id FROM signing_keys"
        " WHERE not_after IS NULL OR not_after > now() ORDER BY created_at DESC, kid"
    )
    return [
        StoredSigningKey(
            row["kid"], row["algorithm"], json.loads(row["public_jwk"]), row["private_key"], row["secret_key_id"]
        )
        for row in rows
    ]


async def lock_signing_keys(connection: Connection) -> None:
    """Wait until no other transaction makes a signing key; held until this one ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def add_signing_key(connection: Connection, key: StoredSigningKey) -> None:
    """Store *key*, without an end."""
    await connection.execute(
        "INSERT INTO signing_keys (kid, algorithm, public_jwk, private_key, secret_key_id)"
        " VALUES ($1, $2, $3::text::jsonb, $4, $5)",
        key.kid,
        key.algorithm,
        json.dumps(dict(key.public_jwk)),
        key.private_key,
        key.secret_key_id,
    )
