"""The test of a webhook: what a key's owner asks for to see that events would arrive (contract section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from gateway.adapters.postgres.keys import get_key
from gateway.core.answers import json_answer
from gateway.core.denials import iso_time
from gateway.management.bodies import Body, read_body

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.core.answers import Answer, Asked

EVENT_MAX_CHARACTERS: Final = 100

_NO_URL: Final = "Connection successful. This API key has no webhookUrl, so nothing was sent"
_NOT_SENT: Final = "Connection successful. Webhooks are not delivered by this version yet, so nothing was sent"


class WebhookTestBody(Body):
    """What POST /api/public/webhooks/test takes; any name of an event will do."""

    event: Annotated[str, Field(min_length=1, max_length=EVENT_MAX_CHARACTERS, description="The name of the event.")]
    data: Annotated[dict[str, Any], Field(description="What the event says.")]


class WebhookTest:
    """Answers POST /api/public/webhooks/test, for the key that asks."""

    def __init__(self, database: Database) -> None:
        """Take where the key's URL is found."""
        self._database = database

    async def test(self, asked: Asked) -> Answer:
        """Answer that the key works, and that nothing was sent."""
        assert asked.principal is not None
        read_body(asked, WebhookTestBody)
        async with self._database.connection() as connection:
            key = await get_key(connection, asked.principal.key_id, asked.principal.account_id)
        answer = {
            "success": True,
            "message": _NO_URL if key is None or key.webhook_url is None else _NOT_SENT,
            "timestamp": iso_time(asked.now),
            "apiKey": asked.principal.prefix,
            "deliveryId": None,
        }
        return json_answer(200, {"data": answer})
