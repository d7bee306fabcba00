"""Idempotency records in Postgres: which requests were carried out, and for a while what they were answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncpg

from gateway.adapters.postgres.connection import reason
from gateway.adapters.postgres.pool import DatabaseDown

if TYPE_CHECKING:
    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database

ANSWER_KEPT: Final = "interval '10 minutes'"
RECORD_KEPT: Final = "interval '30 days'"
BATCH: Final = 1000

_WAIT_MS: Final = 500
"""How long a repetition waits for the first request, before it is sent away to come again."""

_EXPIRE_ANSWERS: Final = f"""
UPDATE idempotency_records SET answer = NULL, answer_key_id = NULL WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_records WHERE answer IS NOT NULL AND created_at <= now() - {ANSWER_KEPT}
    LIMIT {BATCH} FOR UPDATE SKIP LOCKED)) RETURNING 1
"""  # noqa: S608  # all of it is constant
_EXPIRE_RECORDS: Final = f"""
DELETE FROM idempotency_records WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_records WHERE created_at <= now() - {RECORD_KEPT}
    LIMIT {BATCH} FOR UPDATE SKIP LOCKED)) RETURNING 1
"""  # noqa: S608  # all of it is constant


class StillRunning(Exception):
    """The first request with this key is still being carried out."""


@dataclass(frozen=True, slots=True)
class IdempotencyName:
    """What a record is found by: who asks (*scope*), for which *operation*, and the client's *key*."""

    scope: str
    operation: str
    key: str


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A request that was carried out on the key *key_id*. Its *answer*, encrypted, is None when it is too old."""

    key_id: str
    answer: bytes | None = field(repr=False)
    answer_key_id: str | None


async def claim(connection: Connection, name: IdempotencyName) -> IdempotencyRecord | None:
    """Take *name* for the transaction that is open, or give the record of the request that had it first.

    A request under way elsewhere is waited for; raises StillRunning, after which the transaction has failed.
    """
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{_WAIT_MS}ms")
    try:
        claimed = await connection.fetchval(
            "INSERT INTO idempotency_records (scope, operation, idempotency_key) VALUES ($1, $2, $3)"
            " ON CONFLICT DO NOTHING RETURNING true",
            *(name.scope, name.operation, name.key),
        )
    except asyncpg.LockNotAvailableError:
        raise StillRunning from None
    await connection.execute("SET LOCAL lock_timeout = 0")
    if claimed:
        return None
    row = await connection.fetchrow(
        f"SELECT key_id, answer, answer_key_id, created_at > now() - {ANSWER_KEPT} AS recent"  # noqa: S608  # constants
        " FROM idempotency_records WHERE scope = $1 AND operation = $2 AND idempotency_key = $3",
        *(name.scope, name.operation, name.key),
    )
    if row is None:  # It was old, and is deleted just now.
        raise StillRunning
    return IdempotencyRecord(row["key_id"], row["answer"] if row["recent"] else None, row["answer_key_id"])


async def keep(connection: Connection, name: IdempotencyName, record: IdempotencyRecord) -> None:
    """Write down, in the transaction that claimed *name*, what was done and answered."""
    await connection.execute(
        "UPDATE idempotency_records SET key_id = $4, answer = $5, answer_key_id = $6"
        " WHERE scope = $1 AND operation = $2 AND idempotency_key = $3",
        *(name.scope, name.operation, name.key),
        *(record.key_id, record.answer, record.answer_key_id),
    )


async def expire(database: Database) -> int:
    """Forget answers and records that are too old, a batch of each, and say how many; others may do so as well.

    Raises DatabaseDown, also when Postgres refuses.
    """
    try:
        async with database.connection() as connection:
            answers = await connection.fetch(_EXPIRE_ANSWERS)
            records = await connection.fetch(_EXPIRE_RECORDS)
    except asyncpg.PostgresError as error:
        raise DatabaseDown(reason(error)) from error
    return max(len(answers), len(records))
