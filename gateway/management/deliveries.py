"""Webhook deliveries as a key's owner sees them, and sends them again (contract section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import structlog
from pydantic import BeforeValidator, Field

from gateway.adapters.postgres.keys import get_key
from gateway.adapters.postgres.webhook_deliveries import get_delivery, list_deliveries, redeliver
from gateway.core.answers import json_answer
from gateway.core.deliveries import DeliveryStatus
from gateway.core.denials import iso_time
from gateway.management.bodies import read_query
from gateway.management.key_access import key_id_of, visible_account
from gateway.management.key_bodies import AuditQuery, one_of
from gateway.management.key_views import pagination
from gateway.management.refusals import no_such_delivery, no_such_key

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.pool import Database
    from gateway.adapters.postgres.webhook_deliveries import StoredDelivery
    from gateway.core.answers import Answer, Asked
    from gateway.management.sessions import Sessions
    from gateway.management.tokens import Session

log = structlog.get_logger()


class DeliveriesQuery(AuditQuery):
    """What GET /api-keys/{id}/deliveries takes in its query; other parameters mean nothing, and do no harm."""

    status: Annotated[
        Annotated[DeliveryStatus, BeforeValidator(one_of(DeliveryStatus))] | None,
        Field(description="Only deliveries with this status."),
    ] = None


class DeliveryAnswers:
    """Answers /api-keys/{id}/deliveries and what is below it; may raise Refused and DatabaseDown."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        """Take the collaborators."""
        self._database = database
        self._sessions = sessions

    async def page(self, asked: Asked) -> Answer:
        """Answer with a page of a key's deliveries, newest first."""
        session = await self._sessions.session(asked)
        query = read_query(asked, DeliveriesQuery)
        async with self._database.connection() as connection:
            key_id = await _visible_key(connection, asked, session)
            found = await list_deliveries(connection, key_id, page=query.page, limit=query.limit, status=query.status)
        data = [shown_delivery(delivery) for delivery in found.deliveries]
        return json_answer(200, {"data": data, "pagination": pagination(query.page, query.limit, found.total)})

    async def redeliver(self, asked: Asked) -> Answer:
        """Answer POST /api-keys/{id}/deliveries/{deliveryId}/redeliver: 202, it is made as soon as there is a place."""
        session = await self._sessions.session(asked)
        delivery_id = asked.segments[3]
        async with self._database.connection() as connection:
            key_id = await _visible_key(connection, asked, session)
            done = "\0" not in delivery_id and await redeliver(connection, [delivery_id], key_id)
            delivery = await get_delivery(connection, delivery_id) if done else None
        if delivery is None:
            raise no_such_delivery()
        log.info("webhook redelivered", key_id=key_id, delivery_id=delivery_id, user_id=session.user_id)
        return json_answer(202, shown_delivery(delivery))


async def _visible_key(connection: Connection, asked: Asked, session: Session) -> str:
    """Give the id of the key that *asked* names; raises Refused where the session does not see it."""
    key = await get_key(connection, key_id_of(asked), visible_account(session))
    if key is None:
        raise no_such_key()
    return key.id


def shown_delivery(delivery: StoredDelivery) -> dict[str, Any]:
    """Show *delivery*; what was sent is not kept with it, so the data are not shown."""
    return {
        "id": delivery.id,
        "event": delivery.event,
        "eventId": delivery.event_id,
        "timestamp": iso_time(delivery.at.timestamp()),
        "status": delivery.status,
        "attempts": delivery.attempts,
        "nextAttemptAt": _time(delivery.due_at),
        "finishedAt": _time(delivery.finished_at),
        "createdAt": iso_time(delivery.created_at.timestamp()),
        "history": delivery.history,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso_time(moment.timestamp())
