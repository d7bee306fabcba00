"""The outbox of webhook events: each event once, with a delivery for every key that is to be told of it.

A key is told that is ACTIVE and not expired, has the scope and a URL, and wants events of that name. An event that
nobody is told of is not kept.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

from gateway.core.webhook_events import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.postgres.connection import Connection

    _Row: TypeAlias = tuple[str, str, str, datetime, str]
    """Account, id, name, moment and data of an event."""

WEBHOOK_SCOPE: Final = "WEBHOOKS"
BATCH: Final = 1_000
"""Events that are deleted at once."""

# Destinations are locked in the order of their keys, so that two shippers cannot wait for each other.
_STORE: Final = """
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
        WITH ORDINALITY AS given (account_id, id, event, at, data, place)
), told AS MATERIALIZED (
    SELECT given.*, k.id AS key_id FROM given JOIN api_keys k ON k.account_id = given.account_id
    WHERE k.deleted_at IS NULL AND k.webhook_url IS NOT NULL AND k.status = 'ACTIVE' AND $6 = ANY (k.scopes)
      AND (k.expires_at IS NULL OR k.expires_at > now())
      AND (k.webhook_events IS NULL OR given.event = ANY (k.webhook_events))
), stored AS (
    INSERT INTO webhook_events (account_id, id, event, at, data)
    SELECT account_id, id, event, at, data FROM given
    WHERE EXISTS (SELECT FROM told WHERE told.place = given.place)
    ORDER BY place ON CONFLICT DO NOTHING
    RETURNING number, account_id, id
), made AS (
    INSERT INTO webhook_deliveries (event_number, key_id)
    SELECT DISTINCT stored.number, told.key_id FROM stored JOIN told USING (account_id, id)
    ORDER BY stored.number
    RETURNING key_id
)
INSERT INTO webhook_destinations AS kept (key_id, due_at)
SELECT DISTINCT key_id, now() FROM made ORDER BY key_id
ON CONFLICT (key_id) DO UPDATE SET due_at = least(kept.due_at, excluded.due_at)
"""

_DELETE: Final = """
DELETE FROM webhook_events WHERE number = ANY (ARRAY(
    SELECT number FROM webhook_events WHERE created_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""


async def store_webhook_events(connection: Connection, lines: Sequence[bytes], scope: str = WEBHOOK_SCOPE) -> int:
    """Store events as the journal has them, and give how many cannot be stored.

    Keys need *scope* to be told. An event that is there already changes nothing.
    """
    rows = [row for line in lines if (row := _row(line)) is not None]
    return len(lines) - len(rows) + await _store(connection, rows, scope)


def _row(line: bytes) -> _Row | None:
    try:
        event = decode(line)
        return event.account_id, event.id, event.event, datetime.fromisoformat(event.at), bytes(event.data).decode()
    except ValueError:
        return None


async def _store(connection: Connection, rows: Sequence[_Row], scope: str) -> int:
    """Store *rows*, and give how many cannot be stored, found by halves."""
    if not rows:
        return 0
    try:
        async with connection.transaction():
            await connection.execute(_STORE, *map(list, zip(*rows, strict=True)), scope)
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
        if len(rows) == 1:
            return 1
        half = len(rows) // 2
        return await _store(connection, rows[:half], scope) + await _store(connection, rows[half:], scope)
    return 0


async def delete_old_events(connection: Connection, before: datetime) -> int:
    """Delete events of before that moment, with their deliveries, a batch at a time; give how many."""
    deleted = 0
    while True:
        tag = await connection.execute(_DELETE, before, BATCH)
        count = int(tag.rpartition(" ")[2])
        deleted += count
        if count < BATCH:
            return deleted
