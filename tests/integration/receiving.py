"""What tests of webhooks share: a message, names that lead where a test says, and receivers with certificates."""

from __future__ import annotations

import os
import ssl
import time
from typing import TYPE_CHECKING

from standardwebhooks import Webhook

from gateway.core.webhooks import webhook_message
from tests.backends import silent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.backends import Answer, Connection, Received

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OLD_SECRET = "whsec_YW4gb2xkZXIgc2VjcmV0IG9mIHRoZSBzYW1lIGtleQ=="
WRONG_SECRET = "whsec_bm9ib2R5J3Mgc2VjcmV0LCBidXQgbG9uZyBlbm91Z2g="
MESSAGE = webhook_message("delivery_1", "budget.created", "2027-01-15T08:00:00.000Z", '{"name":"Bücher"}'.encode())


class Names:
    """Knows names for a sender: each look-up gets the next of *answers*, the last again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        addresses = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if not addresses:
            raise OSError("nobody knows")
        return addresses


def server_context(files: tuple[Path, Path]) -> ssl.SSLContext:
    """TLS as a receiver with this certificate and key speaks it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    return context


def fields_of(request: Received) -> dict[str, str]:
    """The header fields of a delivery as a receiver's framework would give them."""
    lines = request.head.decode().split("\r\n")[1:-2]
    return dict(line.split(": ", 1) for line in lines)


def verify(request: Received, secret: str = SECRET) -> object:
    """Verify a delivery as receivers do, with nothing but the library; raises WebhookVerificationError."""
    return Webhook(secret).verify(request.body, fields_of(request))


def now() -> float:
    return time.time()


def endless(head: bytes, piece: bytes) -> Answer:
    """Send *head*, and then *piece* for as long as somebody reads."""

    def answer(_request: Received, connection: Connection) -> None:
        connection.send(head)
        while True:
            connection.send(piece)

    return answer


def stalling(data: bytes) -> Answer:
    def answer(request: Received, connection: Connection) -> None:
        connection.send(data)
        silent(request, connection)

    return answer


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
