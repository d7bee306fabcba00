"""The queue of webhook deliveries, as workers on every instance share it.

A worker takes destinations (keys that have something due), not deliveries: each has one holder at a time, so that its
deliveries begin in their order and only so many are under way. A holder that dies stops renewing its lease, and
somebody else goes on when that has run out.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from gateway.adapters.postgres.audit import Actor, act_as
from gateway.adapters.postgres.connection import reason
from gateway.adapters.postgres.pool import DatabaseDown
from gateway.adapters.postgres.webhook_secrets import find_webhook
from gateway.core.deliveries import DeliveryStatus, WebhookStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database
    from gateway.adapters.postgres.webhook_secrets import StoredWebhook
    from gateway.core.deliveries import Judgement
    from gateway.core.webhooks import Attempt

LEASE_S: Final = 6.0
TIMEOUT_S: Final = 5.0
CONNECTIONS: Final = 2
"""Of the worker's connections so many at most serve deliveries: the others are for requests."""
HISTORY_MAX: Final = 20
"""Attempts that are kept of one delivery, the latest ones."""
ACTOR: Final = Actor("command", "webhook deliveries")

_SENDABLE: Final = """
k.deleted_at IS NULL AND k.status = 'ACTIVE' AND (k.expires_at IS NULL OR k.expires_at > now())
AND k.webhook_url IS NOT NULL AND k.webhook_secret IS NOT NULL AND k.webhook_status = 'ACTIVE' AND $2 = ANY (k.scopes)
"""
# Those that fail come last and take no more than their share, however many they are.
_TAKE: Final = """
WITH healthy AS (
    SELECT key_id FROM webhook_destinations
    WHERE due_at <= now() AND (leased_until IS NULL OR leased_until <= now()) AND failing_since IS NULL
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
), failing AS (
    SELECT key_id FROM webhook_destinations
    WHERE due_at <= now() AND (leased_until IS NULL OR leased_until <= now()) AND failing_since IS NOT NULL
    ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
)
UPDATE webhook_destinations AS taken SET holder = $1, leased_until = now() + $2 * interval '1 second'
FROM (SELECT key_id FROM healthy UNION ALL SELECT key_id FROM failing) AS due
WHERE taken.key_id = due.key_id RETURNING taken.key_id, taken.failing_since IS NOT NULL AS failing
"""
_RENEW: Final = """
UPDATE webhook_destinations SET leased_until = now() + $2 * interval '1 second' WHERE holder = $1
"""
_HELD: Final = f"""
SELECT 1 FROM webhook_destinations w JOIN api_keys k ON k.id = w.key_id
WHERE w.key_id = $1 AND w.holder = $3 AND {_SENDABLE}
"""  # noqa: S608  # all of it is constant
_DUE: Final = """
SELECT d.id, e.event, e.at, e.data, d.attempts AS failed
FROM webhook_deliveries d JOIN webhook_events e ON e.number = d.event_number
WHERE d.key_id = $1 AND d.status = 'PENDING' AND d.due_at <= now() ORDER BY d.due_at, d.number LIMIT $2
"""
_RECORD: Final = f"""
UPDATE webhook_deliveries SET status = $2, attempts = attempts + 1, due_at = now() + $3 * interval '1 second',
    finished_at = CASE WHEN $2 = 'PENDING' THEN NULL ELSE now() END,
    history = CASE WHEN jsonb_array_length(history) < {HISTORY_MAX} THEN history ELSE history - 0 END || $4::jsonb
WHERE id = $1 AND status = 'PENDING'
"""  # noqa: S608  # all of it is constant
_NOTE: Final = """
UPDATE webhook_destinations SET failing_since = CASE WHEN $2 THEN NULL ELSE coalesce(failing_since, now()) END
WHERE key_id = $1 RETURNING failing_since <= now() - $3 * interval '1 second'
"""
_STOP: Final = "UPDATE api_keys SET webhook_status = $2, updated_at = now() WHERE id = $1 AND webhook_status = 'ACTIVE'"
_RELEASE: Final = f"""
UPDATE webhook_destinations AS held SET holder = NULL, leased_until = NULL, due_at = (
    SELECT min(d.due_at) FROM webhook_deliveries d JOIN api_keys k ON k.id = d.key_id
    WHERE d.key_id = $1 AND d.status = 'PENDING' AND {_SENDABLE}
) WHERE key_id = $1
"""  # noqa: S608  # all of it is constant


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """One delivery whose time has come: its id, what it tells, and how often it has failed in this round."""

    id: str
    event: str
    at: datetime
    data: str
    failed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What is due at a key, in its order, and the key's webhook."""

    key_id: str
    webhook: StoredWebhook
    deliveries: tuple[DueDelivery, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one attempt at the delivery *id*, begun at *at* (ISO 8601 UTC)."""

    id: str
    at: str
    attempt: Attempt
    judgement: Judgement


class WebhookQueue:
    """Takes destinations as *holder*, a name that no other worker has. Each call may raise DatabaseDown."""

    def __init__(self, database: Database, holder: str, scope: str) -> None:
        """Take the database, and the *scope* that a key needs to be sent anything."""
        self._database = database
        self._holder = holder
        self._scope = scope
        self._places = asyncio.Semaphore(CONNECTIONS)

    async def take(self, healthy_max: int, failing_max: int) -> dict[str, bool]:
        """Take so many keys with something due, for LEASE_S; say of each whether it has been failing."""
        async with self._connection() as connection:
            rows = await connection.fetch(_TAKE, self._holder, LEASE_S, healthy_max, failing_max)
        return {row["key_id"]: row["failing"] for row in rows}

    async def renew(self) -> None:
        """Hold all that is held for LEASE_S from now on."""
        async with self._connection() as connection:
            await connection.execute(_RENEW, self._holder, LEASE_S)

    async def next(self, key_id: str, most: int) -> Batch | None:
        """Give what is due at a key that is held; None when there is nothing, or nothing may be sent."""
        async with self._connection() as connection:
            if not await connection.fetchval(_HELD, key_id, self._scope, self._holder):
                return None
            webhook = await find_webhook(connection, key_id)
            due = await connection.fetch(_DUE, key_id, most)
        if webhook is None or not due:
            return None
        return Batch(key_id, webhook, tuple(DueDelivery(*row.values()) for row in due))

    async def record(self, key_id: str, results: Sequence[Result], pause_after_s: float) -> WebhookStatus:
        """Write down what came of some attempts at a key, and give whether it is sent anything from now on.

        A receiver that said 410 disables its key's webhook, one that has failed for *pause_after_s* pauses it.
        """
        delivered = any(result.judgement.status is DeliveryStatus.DELIVERED for result in results)
        async with self._connection() as connection, connection.transaction():
            await connection.executemany(
                _RECORD, [(one.id, one.judgement.status, one.judgement.due_in_s, _entry(one)) for one in results]
            )
            failed_long = await connection.fetchval(_NOTE, key_id, delivered, pause_after_s)
            status = WebhookStatus.PAUSED if failed_long else WebhookStatus.ACTIVE
            if any(result.attempt.gone for result in results):
                status = WebhookStatus.DISABLED
            if status is not WebhookStatus.ACTIVE:
                await act_as(connection, ACTOR, for_transaction=True)
                await connection.execute(_STOP, key_id, status)
        return status

    async def release(self, key_id: str) -> None:
        """Let a key go until its next delivery is due, or until it may be sent something again."""
        async with self._connection() as connection, connection.transaction():
            # Locked first: the next statement then sees every delivery whose maker waited for nobody.
            held = await connection.fetchval(
                "SELECT 1 FROM webhook_destinations WHERE key_id = $1 AND holder = $2 FOR UPDATE", key_id, self._holder
            )
            if held:
                await connection.execute(_RELEASE, key_id, self._scope)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._places:
            try:
                async with self._database.connection(TIMEOUT_S) as connection:
                    yield connection
            except asyncpg.PostgresError as error:
                raise DatabaseDown(f"Postgres refuses webhook deliveries: {reason(error)}") from error


def _entry(result: Result) -> str:
    attempt = result.attempt
    entry: dict[str, Any] = {
        "at": result.at,
        "statusCode": attempt.status,
        "durationMs": attempt.duration_ms,
        "failure": attempt.failure,
    }
    return json.dumps([entry])
