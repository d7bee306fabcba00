"""Signing keys in Postgres: what login tokens are signed with, the private halves encrypted by whoever stores them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gateway.adapters.postgres.connection import Connection

_LOCK: Final = 0x6761_7465_0002
"""Chosen once, so that every instance that would make a signing key waits for the same lock."""


@dataclass(frozen=True, slots=True)
class StoredSigningKey:
    """A signing key as it is stored: *public_jwk* as in RFC 8037, *private_key* encrypted with *secret_key_id*.

    *age_s* is how long ago it was made, and *ends_at* when it stops verifying, None for never.
    """

    kid: str
    algorithm: str
    public_jwk: Mapping[str, str]
    private_key: bytes = field(repr=False)
    secret_key_id: str
    age_s: float = 0.0
    ends_at: datetime | None = None


async def load_signing_keys(connection: Connection) -> list[StoredSigningKey]:
    """Give the keys that have not ended, newest first."""
    rows = await connection.fetch(
        "SELECT kid, algorithm, public_jwk, private_key, secret_key_id, not_after,"
        " extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_s FROM signing_keys"
        " WHERE not_after IS NULL OR not_after > now() ORDER BY created_at DESC, kid"
    )
    return [
        StoredSigningKey(
            kid=row["kid"],
            algorithm=row["algorithm"],
            public_jwk=json.loads(row["public_jwk"]),
            private_key=row["private_key"],
            secret_key_id=row["secret_key_id"],
            age_s=row["age_s"],
            ends_at=row["not_after"],
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


async def end_other_signing_keys(connection: Connection, kid: str, after_s: int) -> None:
    """Let every key but *kid* verify for *after_s* more, unless it ends sooner, and forget those that have ended."""
    await connection.execute(
        "UPDATE signing_keys SET not_after = now() + make_interval(secs => $2)"
        " WHERE kid <> $1 AND (not_after IS NULL OR not_after > now() + make_interval(secs => $2))",
        kid,
        after_s,
    )
    await connection.execute("DELETE FROM signing_keys WHERE not_after <= now()")
