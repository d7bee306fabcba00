"""Stored events: read from Postgres again, as the JSON that the journal had, for replays and for watching them come."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from gateway.adapters.postgres.events import MEMBERS
from gateway.adapters.postgres.partitions import TABLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from gateway.adapters.postgres.connection import Connection

BATCH: Final = 500
_COLUMNS: Final = ", ".join(column for _, column, _ in MEMBERS)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: of one key, and with a status from *status_min* to *status_max*, both included."""

    key_id: str | None = None
    status_min: int | None = None
    status_max: int | None = None


def first_id(at: datetime) -> UUID:
    """Give the least UUIDv7 of a moment, which is the order that events have by their ids."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


async def read_events(connection: Connection, since: datetime, until: datetime) -> AsyncIterator[list[dict[str, Any]]]:
    """Give the events from *since* until before *until*, oldest first, some hundred at a time; raises PostgresError."""
    day, last = since.astimezone(UTC).date(), UUID(int=0)
    while True:
        rows = await connection.fetch(
            f"SELECT day, {_COLUMNS} FROM {TABLE} WHERE day >= $1 AND (day, id) > ($1, $2) AND day <= $3"  # noqa: S608  # all of it is constant
            f" AND at >= $4 AND at < $5 ORDER BY day, id LIMIT {BATCH}",
            *(day, last, until.astimezone(UTC).date(), since, until),
        )
        if not rows:
            return
        yield [_event(row) for row in rows]
        day, last = rows[-1]["day"], rows[-1]["id"]


async def newer_events(connection: Connection, after: UUID, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    """Give up to *limit* of the *wanted* events whose id comes after that one, in order; raises PostgresError."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM {TABLE} WHERE day >= $1 AND id > $2"  # noqa: S608  # all of it is constant
        " AND ($3::text IS NULL OR key_id = $3) AND ($4::int IS NULL OR status BETWEEN $4 AND $5)"
        f" ORDER BY day, id LIMIT {limit}",
        *(datetime.fromtimestamp((after.int >> 80) / 1000, UTC).date(), after),
        *(wanted.key_id, wanted.status_min, wanted.status_max),
    )
    return [_event(row) for row in rows]


def _event(row: asyncpg.Record) -> dict[str, Any]:
    event = {member: row[column] for member, column, _ in MEMBERS}
    at = event["at"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event | {"id": str(event["id"]), "at": at}


def encoded(event: dict[str, Any]) -> bytes:
    """Write *event* as one line of JSON in ASCII."""
    return json.dumps(event, separators=(",", ":")).encode("ascii")
