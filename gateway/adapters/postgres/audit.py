"""The audit log in Postgres: who is said to act, and what was done to a key. Triggers write it (migration 2)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.adapters.postgres.connection import Connection

# An import is one entry of the account, told by the time that all rows of one transaction share.
_ENTRIES = """
FROM audit_log a JOIN api_keys k ON k.id = $1
WHERE a.subject_id = k.id
   OR (a.subject_id = k.account_id AND a.action = 'keys.imported' AND a.at = k.created_at)
"""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a `user` of the API by id, or whoever ran a `command` by the name of the system account.

    *address* is where from: the client's address, or the name of the host. What is done without an actor is written
    down as the database role's.
    """

    kind: Literal["user", "command"]
    id: str
    role: str | None = None
    address: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change; *changes* are by column: `{"old": ..., "new": ...}`, or `{"secret": true}` for what is not shown."""

    id: int
    at: datetime
    actor_kind: str
    actor_id: str
    actor_role: str | None
    address: str | None
    request_id: str | None
    action: str
    subject_id: str
    account_id: str | None
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, and how many there are in *total*."""

    entries: tuple[AuditEntry, ...]
    total: int


async def act_as(connection: Connection, actor: Actor, *, for_transaction: bool) -> None:
    """Have what is done on *connection* from now on, or only until the transaction ends, written down as *actor*'s."""
    await connection.execute("SELECT set_config('gateway.actor', $1, $2)", json.dumps(asdict(actor)), for_transaction)


async def audit_as_one(
    connection: Connection, action: str, number: int, *, subject_id: str, account_id: str | None = None
) -> None:
    """Write one entry for *number* keys, and none for each of them until the transaction ends."""
    await connection.execute(
        "SELECT set_config('gateway.audit', 'as one', true), write_audit_entry($1, $2, $3, $4::text::jsonb)",
        action,
        subject_id,
        account_id,
        json.dumps({"keys": {"old": None, "new": number}}),
    )


async def key_account(connection: Connection, key_id: str) -> str | None:
    """Give the account of a key, deleted or not; None when there never was one."""
    account_id: str | None = await connection.fetchval("SELECT account_id FROM api_keys WHERE id = $1", key_id)
    return account_id


async def list_audit(connection: Connection, key_id: str, *, page: int = 1, limit: int = 20) -> AuditPage:
    """List what was done to a key, deleted or not, newest first; *page* counts from 1."""
    total = await connection.fetchval(f"SELECT count(*) {_ENTRIES}", key_id)
    rows = await connection.fetch(
        f"SELECT a.* {_ENTRIES} ORDER BY a.id DESC LIMIT $2 OFFSET $3",
        key_id,
        limit,
        (page - 1) * limit,
    )
    return AuditPage(tuple(AuditEntry(**{**row, "changes": json.loads(row["changes"])}) for row in rows), total)
