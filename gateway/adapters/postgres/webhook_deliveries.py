"""Webhook deliveries as people see them: what was sent to a key, what waits, what was given up; and sent again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from gateway.adapters.postgres.connection import reason
from gateway.adapters.postgres.pool import DatabaseDown
from gateway.adapters.postgres.webhook_events import delete_old_events
from gateway.core.deliveries import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database

ROUND_TIMEOUT_S: Final = 10.0
COUNTED_MAX: Final = 10_000
"""Deliveries that are counted; nobody pages through more."""

_COLUMNS: Final = """
d.id, d.key_id, k.account_id, e.id AS event_id, e.event, e.at, d.status, d.attempts,
CASE WHEN d.status = 'PENDING' THEN d.due_at END AS due_at, d.finished_at, d.history, d.created_at
FROM webhook_deliveries d JOIN webhook_events e ON e.number = d.event_number JOIN api_keys k ON k.id = d.key_id
"""
_WANTED: Final = "($1::text IS NULL OR d.key_id = $1) AND ($2::text IS NULL OR d.status = $2)"
_AGAIN: Final = """
UPDATE webhook_deliveries SET status = 'PENDING', attempts = 0, due_at = now(), finished_at = NULL
WHERE id = ANY ($1) AND ($2::text IS NULL OR key_id = $2) RETURNING id, key_id
"""
_FIGURES: Final = """
SELECT (SELECT count(*) FROM (
        SELECT FROM webhook_deliveries WHERE status = 'PENDING' LIMIT 1000000) AS counted) AS pending,
       (SELECT extract(epoch FROM now() - min(due_at))::float FROM webhook_destinations
        WHERE due_at <= now() AND failing_since IS NULL) AS late_s,
       (SELECT count(*) FROM api_keys
        WHERE webhook_url IS NOT NULL AND deleted_at IS NULL AND webhook_status <> 'ACTIVE') AS stopped
"""


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """One event on its way to one key. *due_at* is set while it is pending; *history* has the latest attempts."""

    id: str
    key_id: str
    account_id: str
    event_id: str
    event: str
    at: datetime
    status: DeliveryStatus
    attempts: int
    due_at: datetime | None
    finished_at: datetime | None
    history: list[dict[str, Any]]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries, and how many there are in *total*, up to COUNTED_MAX."""

    deliveries: tuple[StoredDelivery, ...]
    total: int


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """How many deliveries wait, for how many seconds the first that is due, and how many webhooks are stopped.

    *deleted* events were too old.

    Keys that fail at the moment do not count for *late_s*: their receivers are late, not we.
    """

    pending: int
    late_s: float
    stopped: int
    deleted: int


async def list_deliveries(
    connection: Connection,
    key_id: str | None,
    *,
    page: int = 1,
    limit: int = 20,
    status: DeliveryStatus | None = None,
) -> DeliveryPage:
    """List the deliveries of a key, or of all, newest first; *page* counts from 1."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} WHERE {_WANTED} ORDER BY d.number DESC LIMIT $3 OFFSET $4",  # own text
        key_id,
        status,
        limit,
        (page - 1) * limit,
    )
    total = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT FROM webhook_deliveries d WHERE {_WANTED} LIMIT {COUNTED_MAX}) AS counted",  # noqa: S608  # own text
        key_id,
        status,
    )
    return DeliveryPage(tuple(map(_stored, rows)), total)


async def redeliver(connection: Connection, ids: Sequence[str], key_id: str | None = None) -> list[str]:
    """Have deliveries made again from their first attempt on, under the ids that they have; give those there are.

    With *key_id* only that key's.
    """
    async with connection.transaction():
        rows = await connection.fetch(_AGAIN, list(ids), key_id)
        await connection.execute(
            "UPDATE webhook_destinations SET due_at = now() WHERE key_id = ANY ("
            "SELECT key_id FROM webhook_destinations WHERE key_id = ANY ($1) ORDER BY key_id FOR UPDATE)",
            list({row["key_id"] for row in rows}),
        )
    return [row["id"] for row in rows]


async def get_delivery(connection: Connection, delivery_id: str) -> StoredDelivery | None:
    """Give one delivery."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} WHERE d.id = $1", delivery_id)  # own text
    return None if row is None else _stored(row)


async def dead_ids(connection: Connection, key_id: str) -> list[str]:
    """Give the ids of all deliveries to a key that were given up."""
    rows = await connection.fetch("SELECT id FROM webhook_deliveries WHERE key_id = $1 AND status = 'DEAD'", key_id)
    return [row["id"] for row in rows]


async def look_after_deliveries(database: Database, events_before: datetime) -> QueueFigures:
    """Look at all of the queue, and take away events of before that moment; raises DatabaseDown."""
    try:
        async with database.connection(ROUND_TIMEOUT_S) as connection:
            deleted = await delete_old_events(connection, events_before)
            row = await connection.fetchrow(_FIGURES)
    except asyncpg.PostgresError as error:
        raise DatabaseDown(reason(error)) from error
    assert row is not None
    return QueueFigures(row["pending"], row["late_s"] or 0.0, row["stopped"], deleted)


def _stored(row: asyncpg.Record) -> StoredDelivery:
    changes = {"status": DeliveryStatus(row["status"]), "history": json.loads(row["history"])}
    return StoredDelivery(**{**row, **changes})
