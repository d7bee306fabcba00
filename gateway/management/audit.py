"""The audit log as the API shows it: who did what to a key, when and from where (contract section 3)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic.alias_generators import to_camel

from gateway.adapters.postgres.audit import key_account, list_audit
from gateway.core.answers import json_answer
from gateway.core.denials import iso_time
from gateway.management.bodies import read_query
from gateway.management.key_access import key_id_of, visible_account
from gateway.management.key_bodies import AuditQuery
from gateway.management.key_views import pagination
from gateway.management.refusals import no_such_key

if TYPE_CHECKING:
    from gateway.adapters.postgres.audit import AuditEntry
    from gateway.adapters.postgres.pool import Database
    from gateway.core.answers import Answer, Asked
    from gateway.management.sessions import Sessions

_TIMES: Final = frozenset({"expires_at", "deleted_at", "previous_valid_until"})


class AuditAnswers:
    """Answers GET /api-keys/{id}/audit; may raise Refused and DatabaseDown."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        """Take the collaborators."""
        self._database = database
        self._sessions = sessions

    async def page(self, asked: Asked) -> Answer:
        """Answer with a page of what was done to a key, newest first; a deleted key still has its log."""
        session = await self._sessions.session(asked)
        key_id, visible = key_id_of(asked), visible_account(session)
        query = read_query(asked, AuditQuery)
        async with self._database.connection() as connection:
            owner = await key_account(connection, key_id)
            if owner is None or visible not in {None, owner}:
                raise no_such_key()
            found = await list_audit(connection, key_id, page=query.page, limit=query.limit)
        data = [shown_entry(entry, to_operator=visible is None) for entry in found.entries]
        return json_answer(200, {"data": data, "pagination": pagination(query.page, query.limit, found.total)})


def shown_entry(entry: AuditEntry, *, to_operator: bool) -> dict[str, Any]:
    """Show *entry*. A customer learns that the operator did something, and not who or from where."""
    named = to_operator or (entry.actor_kind == "user" and entry.actor_role != "admin")
    actor = {"kind": entry.actor_kind, "id": entry.actor_id, "role": entry.actor_role}
    return {
        "id": str(entry.id),
        "at": iso_time(entry.at.timestamp()),
        "action": entry.action,
        "keyId": entry.subject_id if entry.action.startswith("key.") else None,
        "accountId": entry.account_id,
        "actor": actor if named else {"kind": "operator", "id": None, "role": None},
        "address": entry.address if named else None,
        "requestId": entry.request_id,
        "changes": [_change(column, change) for column, change in sorted(entry.changes.items())],
    }


def _change(column: str, change: dict[str, Any]) -> dict[str, Any]:
    if change.get("secret"):
        return {"field": to_camel(column), "secret": True}
    old, new = (_value(column, change[side]) for side in ("old", "new"))
    return {"field": to_camel(column), "old": old, "new": new}


def _value(column: str, value: Any) -> Any:
    """Give a stored value as the API writes it: Postgres has its own form of times."""
    if column in _TIMES and value is not None:
        return iso_time(datetime.fromisoformat(value).timestamp())
    return value
