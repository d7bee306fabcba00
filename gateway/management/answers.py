"""The answers of the control plane by name, as the routes of the configuration call them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.adapters.memory.attempts import MemoryLoginAttempts
from gateway.adapters.redis.attempts import RedisLoginAttempts
from gateway.adapters.secrets.encryption import encryption_of
from gateway.core.attempts import AttemptLimits
from gateway.management.audit import AuditAnswers
from gateway.management.keys import KeyAnswers
from gateway.management.login import Login
from gateway.management.passwords import Passwords
from gateway.management.refusals import guarded
from gateway.management.signing_keys import SigningKeys
from gateway.management.statistics import StatisticsAnswers
from gateway.management.throttle import LoginThrottle
from gateway.management.tokens import SessionTokens
from gateway.management.webhook_test import WebhookTest

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.core.answers import Answers
    from gateway.settings.auth import LoginThrottle as LoginThrottleSettings
    from gateway.settings.schema import Config


@dataclass(frozen=True, slots=True)
class ManagementAnswers:
    """The answer functions by name, and the threads and connections that they need."""

    functions: Answers
    passwords: Passwords
    attempts: RedisLoginAttempts

    async def close(self) -> None:
        """Give threads and connections back."""
        self.passwords.close()
        await self.attempts.close()


def management_answers(config: Config, database: Database) -> ManagementAnswers:
    """Build every answer of the control plane as *config* wants it."""
    limits = _attempt_limits(config.auth.login_throttle)
    attempts = RedisLoginAttempts(config.redis.url.get_secret_value(), config.redis.timeout_ms / 1000, limits)
    local_attempts = MemoryLoginAttempts(limits, lambda: int(time.monotonic() * 1000))
    throttle = LoginThrottle(attempts, local_attempts, config.secrets.key.get_secret_value().encode(), limits)
    cost = config.auth.password_hash
    passwords = Passwords(cost.time_cost, cost.memory_kib, cost.parallelism)
    encryption = encryption_of(config.secrets)
    tokens = SessionTokens(
        SigningKeys(database, encryption), config.auth.issuer, config.auth.audience, config.auth.token_lifetime_s
    )
    keys = KeyAnswers(database, tokens, encryption, allow_private=config.webhooks.allow_private)
    statistics = StatisticsAnswers(database, tokens)
    functions = {
        "login": Login(database, passwords, tokens, throttle).login,
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
    return ManagementAnswers({name: guarded(function) for name, function in functions.items()}, passwords, attempts)


def _attempt_limits(settings: LoginThrottleSettings) -> AttemptLimits:
    return AttemptLimits(
        pair_max=settings.pair_failures_max,
        address_max=settings.address_failures_max,
        window_ms=settings.window_s * 1000,
    )
