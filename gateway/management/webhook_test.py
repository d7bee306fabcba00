"""The test of a webhook: what a key's owner asks for to see that events would arrive (contract section 7)."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import structlog
from pydantic import Field

from gateway.adapters.postgres.ids import new_id
from gateway.adapters.postgres.webhook_secrets import find_webhook
from gateway.adapters.secrets.encryption import Sealed
from gateway.adapters.secrets.webhook_secrets import open_webhook_secrets
from gateway.core.answers import json_answer
from gateway.core.denials import iso_time
from gateway.core.webhooks import DataTooLarge, webhook_message
from gateway.management.bodies import Body, read_body
from gateway.management.refusals import invalid, too_many_tests

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.adapters.secrets.encryption import Encryption
    from gateway.adapters.webhooks.sender import WebhookSender
    from gateway.core.answers import Answer, Asked
    from gateway.core.webhooks import Attempt, WebhookMessage

EVENT_MAX_CHARACTERS: Final = 100
PATIENCE_S: Final = 4.0
"""How long an answer waits for a delivery, which goes on without it."""
UNDER_WAY_MAX: Final = 256
"""Test deliveries of a worker at once; receivers that stall must not take more."""

_NO_URL: Final = "Connection successful. This API key has no webhookUrl, so nothing was sent"
_UNDER_WAY: Final = "Connection successful. The webhook has not answered yet; the delivery goes on"
_DELIVERED: Final = "Connection successful. The webhook took the event"
_FAILED: Final = "Connection successful. The webhook did not take the event"

log = structlog.get_logger()


class WebhookTestBody(Body):
    """What POST /api/public/webhooks/test takes; any name of an event will do."""

    event: Annotated[str, Field(min_length=1, max_length=EVENT_MAX_CHARACTERS, description="The name of the event.")]
    data: Annotated[dict[str, Any], Field(description="What the event says.")]


class WebhookTest:
    """Answers POST /api/public/webhooks/test, for the key that asks."""

    def __init__(self, database: Database, encryption: Encryption, sender: WebhookSender) -> None:
        """Take where the key's webhook is found, what reads its secrets, and who sends."""
        self._database = database
        self._encryption = encryption
        self._sender = sender
        self._under_way: set[asyncio.Task[Attempt]] = set()

    async def test(self, asked: Asked) -> Answer:
        """Send the event to the key's webhook, and answer what came of it, or that this is not known yet."""
        assert asked.principal is not None
        message = _message(read_body(asked, WebhookTestBody), asked.now)
        async with self._database.connection() as connection:
            webhook = await find_webhook(connection, asked.principal.key_id)
        if webhook is None:
            return _answer(asked, _NO_URL, None)
        sealed = [Sealed(secret.key_id, secret.ciphertext) for secret in webhook.secrets]
        secrets = open_webhook_secrets(self._encryption, asked.principal.key_id, sealed)
        if len(self._under_way) >= UNDER_WAY_MAX:
            raise too_many_tests()
        delivery = asyncio.create_task(self._send(asked.principal.key_id, webhook.url, secrets, message))
        self._under_way.add(delivery)
        delivery.add_done_callback(self._under_way.discard)
        await asyncio.wait({delivery}, timeout=PATIENCE_S)
        if not delivery.done():
            return _answer(asked, _UNDER_WAY, message.id)
        attempt = delivery.result()
        outcome = {
            "delivered": attempt.delivered,
            "statusCode": attempt.status,
            "durationMs": attempt.duration_ms,
            "failure": attempt.failure,
        }
        return _answer(asked, _DELIVERED if attempt.delivered else _FAILED, message.id, outcome)

    async def close(self) -> None:
        """Give up what is under way."""
        deliveries = tuple(self._under_way)
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)

    async def _send(self, key_id: str, url: str, secrets: list[str], message: WebhookMessage) -> Attempt:
        attempt = await self._sender.send(url, secrets, message, time.time())
        log.info(
            "webhook tested",
            key_id=key_id,
            delivery_id=message.id,
            status=attempt.status,
            failure=attempt.failure,
            duration_ms=attempt.duration_ms,
        )
        return attempt


def _message(body: WebhookTestBody, now: float) -> WebhookMessage:
    data = json.dumps(body.data, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        return webhook_message(new_id("delivery"), body.event, iso_time(now), data)
    except DataTooLarge as error:
        raise invalid([("data", str(error))]) from None


def _answer(asked: Asked, message: str, delivery_id: str | None, outcome: dict[str, Any] | None = None) -> Answer:
    assert asked.principal is not None
    answer = {
        "success": True,
        "message": message,
        "timestamp": iso_time(asked.now),
        "apiKey": asked.principal.prefix,
        "deliveryId": delivery_id,
        **(outcome or {}),
    }
    return json_answer(200, {"data": answer})
