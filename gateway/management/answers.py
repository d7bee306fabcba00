"""The answers of the control plane by name, as the routes of the configuration call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.adapters.secrets.encryption import encryption_of
from gateway.management.audit import AuditAnswers
from gateway.management.keys import KeyAnswers
from gateway.management.login import Login
from gateway.management.passwords import Passwords
from gateway.management.refusals import guarded
from gateway.management.signing_keys import SigningKeys
from gateway.management.statistics import StatisticsAnswers
from gateway.management.tokens import SessionTokens
from gateway.management.webhook_test import WebhookTest

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.core.answers import Answers
    from gateway.settings.schema import Config


@dataclass(frozen=True, slots=True)
class ManagementAnswers:
    """The answer functions by name, and the threads that they need."""

    functions: Answers
    passwords: Passwords

    def close(self) -> None:
        """Give the threads back."""
        self.passwords.close()


def management_answers(config: Config, database: Database) -> ManagementAnswers:
    """Build every answer of the control plane as *config* wants it."""
    cost = config.auth.password_hash
    passwords = Passwords(cost.time_cost, cost.memory_kib, cost.parallelism)
    encryption = encryption_of(config.secrets)
    tokens = SessionTokens(
        SigningKeys(database, encryption), config.auth.issuer, config.auth.audience, config.auth.token_lifetime_s
    )
    keys = KeyAnswers(database, tokens, encryption, allow_private=config.webhooks.allow_private)
    statistics = StatisticsAnswers(database, tokens)
    functions = {
        "login": Login(database, passwords, tokens).login,
        "keys.create": keys.create,
        "keys.list": keys.page,
        "keys.get": keys.get,
        "keys.update": keys.update,
        "keys.delete": keys.delete,
        "keys.rotate": keys.rotate,
        "keys.audit": AuditAnswers(database, tokens).page,
        "keys.stats": statistics.of_key,
        "usage": statistics.of_account,
        "webhooks.test": WebhookTest(database).test,
    }
    return ManagementAnswers({name: guarded(function) for name, function in functions.items()}, passwords)
