"""Reported outcomes: they wait in a table of their own until their events are there, and complete each of them once.

They are kept with the batch of the journal that they came in, and settled in transactions of their own: a transaction
that had both stored events and changed others would take the rows of their sums in two orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from gateway.adapters.postgres.connection import reason
from gateway.adapters.postgres.partitions import TABLE
from gateway.adapters.postgres.pool import DatabaseDown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database

SETTLE_TIMEOUT_S: Final = 10.0
BATCH: Final = 2_000
WAITING_MAX: Final = 100_000
"""Outcomes that wait for their events at most; what comes beyond is not kept."""
PATIENCE: Final = timedelta(hours=1)
"""How long an outcome waits for its event to be shipped; then there is no such event."""

# The day of an event is that of the time in its id: the first 48 bits, in milliseconds.
_KEEP: Final = """
INSERT INTO usage_outcomes (id, day, status, duration_us, upstream_us, bytes_in, bytes_out)
SELECT DISTINCT ON ("outcomeOf") "outcomeOf",
    (to_timestamp(
        ('x' || translate(left("outcomeOf"::text, 13), '-', ''))::bit(48)::bigint / 1000.0
    ) AT TIME ZONE 'UTC')::date,
    status, "durationUs", "upstreamUs", "bytesIn", "bytesOut"
FROM json_to_recordset($1::json) AS outcome (
    "outcomeOf" uuid, status smallint, "durationUs" bigint, "upstreamUs" bigint, "bytesIn" bigint, "bytesOut" bigint
)
ORDER BY "outcomeOf"
ON CONFLICT DO NOTHING
"""
_WAITING: Final = "SELECT count(*) FROM (SELECT FROM usage_outcomes LIMIT $1) AS waiting"
# Who finds an outcome taken leaves it to whoever took it. What an event says already is never changed.
_SETTLE: Final = f"""
WITH due AS MATERIALIZED (
    SELECT o.id FROM usage_outcomes o
    WHERE EXISTS (SELECT FROM {TABLE} e WHERE e.day = o.day AND e.id = o.id)
    ORDER BY o.id LIMIT {BATCH} FOR UPDATE OF o SKIP LOCKED
), taken AS (
    DELETE FROM usage_outcomes o USING due WHERE o.id = due.id RETURNING o.*
), completed AS (
    UPDATE {TABLE} e SET
        status = taken.status, duration_us = taken.duration_us,
        upstream_us = coalesce(taken.upstream_us, e.upstream_us),
        bytes_in = coalesce(taken.bytes_in, e.bytes_in), bytes_out = coalesce(taken.bytes_out, e.bytes_out)
    FROM taken
    WHERE e.day = taken.day AND e.id = taken.id AND e.status IS NULL AND e.mode = 'sidecar'
    RETURNING e.id
)
SELECT (SELECT count(*) FROM taken) AS taken, (SELECT count(*) FROM completed) AS completed
"""  # noqa: S608  # all of it is constant
_GIVE_UP: Final = "DELETE FROM usage_outcomes WHERE reported_at < now() - $1::interval"


@dataclass(slots=True)
class Settled:
    """How many outcomes completed their events, repeated what was known, and are of no event; if some wait still."""

    completed: int = 0
    repeated: int = 0
    unknown: int = 0
    waiting: bool = False


class PostgresOutcomes:
    """The outcomes of all instances. *kept* counts those that this worker has brought."""

    def __init__(self, database: Database, *, patience: timedelta = PATIENCE) -> None:
        """Take the database; outcomes wait as long as *patience*."""
        self._database = database
        self._patience = patience
        self._lost = 0
        self.kept = 0

    async def keep(self, connection: Connection, outcomes: Sequence[bytes]) -> None:
        """Keep the journal's *outcomes*, in the transaction of *connection*, until they are settled."""
        if await connection.fetchval(_WAITING, WAITING_MAX) >= WAITING_MAX:
            self._lost += len(outcomes)
            return
        await connection.execute(_KEEP, f"[{b','.join(outcomes).decode()}]")
        self.kept += len(outcomes)

    async def settle(self) -> Settled:
        """Complete the events that are there, and give up outcomes that waited too long; raises DatabaseDown."""
        settled, self._lost = Settled(unknown=self._lost), 0
        try:
            async with self._database.connection(SETTLE_TIMEOUT_S) as connection:
                taken = BATCH
                while taken == BATCH:
                    row = await connection.fetchrow(_SETTLE)
                    assert row is not None
                    taken, completed = row
                    settled.completed += completed
                    settled.repeated += taken - completed
                tag = await connection.execute(_GIVE_UP, self._patience)
                settled.unknown += int(tag.rpartition(" ")[2])
                settled.waiting = await connection.fetchval("SELECT EXISTS (SELECT FROM usage_outcomes)")
        except asyncpg.PostgresError as error:
            raise DatabaseDown(reason(error)) from error
        return settled
