"""The answers of the control plane by name, as the routes of the configuration call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.adapters.secrets.encryption import encryption_of
from gateway.management.audit import AuditAnswers
from gateway.management.authentication import authentication
from gateway.management.deliveries import DeliveryAnswers
from gateway.management.keys import KeyAnswers
from gateway.management.openapi.answers import Documents
from gateway.management.refusals import guarded
from gateway.management.statistics import StatisticsAnswers
from gateway.management.webhook_test import WebhookTest

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.adapters.webhooks.sender import WebhookSender
    from gateway.core.answers import Answers
    from gateway.management.authentication import Authentication
    from gateway.settings.schema import Config


@dataclass(frozen=True, slots=True)
class ManagementAnswers:
    """The answer functions by name, and the threads and connections that they need."""

    functions: Answers
    authentication: Authentication
    webhook_test: WebhookTest

    async def close(self) -> None:
        """Give threads and connections back."""
        await self.webhook_test.close()
        await self.authentication.close()


def management_answers(config: Config, database: Database, sender: WebhookSender) -> ManagementAnswers:
    """Build every answer of the control plane as *config* wants it; *sender* sends test events."""
    encryption = encryption_of(config.secrets)
    known = authentication(config, database, encryption)
    keys = KeyAnswers(database, known.sessions, encryption, allow_private=config.webhooks.allow_private)
    deliveries = DeliveryAnswers(database, known.sessions)
    statistics = StatisticsAnswers(database, known.sessions)
    documents = Documents()
    webhook_test = WebhookTest(database, encryption, sender)
    functions = {
        "login": known.login.login,
        "jwks": known.jwks.jwks,
        "keys.create": keys.create,
        "keys.list": keys.page,
        "keys.get": keys.get,
        "keys.update": keys.update,
        "keys.delete": keys.delete,
        "keys.rotate": keys.rotate,
        "keys.rotate_webhook_secret": keys.rotate_webhook_secret,
        "keys.audit": AuditAnswers(database, known.sessions).page,
        "keys.deliveries": deliveries.page,
        "keys.redeliver": deliveries.redeliver,
        "keys.stats": statistics.of_key,
        "usage": statistics.of_account,
        "usage.csv": statistics.of_account_as_csv,
        "webhooks.test": webhook_test.test,
        "openapi": documents.openapi,
        "docs": documents.docs,
    }
    return ManagementAnswers({name: guarded(function) for name, function in functions.items()}, known, webhook_test)
