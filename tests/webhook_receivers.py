"""Receivers of webhooks, and keys whose events they get."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook

from gateway.adapters.postgres.keys import new_key_id
from gateway.adapters.secrets.encryption import Encryption
from tests.backends import Backend
from tests.gateways import EVERY_SCOPE

if TYPE_CHECKING:
    from gateway.adapters.postgres.keys import CreatedKey
    from tests.gateways import Gateway

SECRET = b"s" * 32
WHSEC = "whsec_" + base64.b64encode(SECRET).decode()


class Receiver(Backend):
    """Takes every message with 200 unless it is told otherwise, and keeps them all."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What came, in its order, each with its signature verified as the standard's library does it."""
        verify = Webhook(WHSEC).verify
        came = []
        for request in list(self.requests):
            if request.whole:
                fields = {
                    name: request.all(name)[0] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
                }
                verify(request.body, fields)
                message = json.loads(request.body)
                assert message["metadata"]["delivery_id"] == fields["webhook-id"]
                came.append(message)
        return came


def receiving_keys(gateway: Gateway, *receivers: Receiver | str, **options: Any) -> list[CreatedKey]:
    """Make a key for each of *receivers*, all of one account, with every scope."""
    encryption = Encryption(b"k" * 32)
    wanted = []
    for receiver in receivers:
        key_id = new_key_id()
        sealed = encryption.seal(SECRET, f"webhook:{key_id}")
        wanted.append(
            {
                "id": key_id,
                "scopes": EVERY_SCOPE,
                "rate_limit_per_hour": 1_000_000,
                "webhook_url": receiver if isinstance(receiver, str) else f"{receiver.url}/hook",
                "webhook_secret": sealed.ciphertext,
                "webhook_secret_key_id": sealed.key_id,
                **options,
            }
        )
    return gateway.make_keys(wanted)
