"""Builds what login and sessions need as the settings want it: throttle, passwords, signing keys, identity provider."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.adapters.identity.jwks import fetch_jwks
from gateway.adapters.memory.attempts import MemoryLoginAttempts
from gateway.adapters.redis.attempts import RedisLoginAttempts
from gateway.core.attempts import AttemptLimits
from gateway.management.identity import IdentityTokens
from gateway.management.jwks import JwksAnswer
from gateway.management.login import Login
from gateway.management.passwords import Passwords
from gateway.management.provider import Claims, ProviderTokens
from gateway.management.provider_keys import ProviderKeys
from gateway.management.sessions import Sessions
from gateway.management.signing_keys import FileSigningKeys, StoredSigningKeys
from gateway.management.throttle import LoginThrottle
from gateway.management.tokens import SessionTokens

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.adapters.secrets.encryption import Encryption
    from gateway.management.signing_keys import SigningKeys
    from gateway.settings.auth import Auth, IdentityProvider
    from gateway.settings.schema import Config


@dataclass(frozen=True, slots=True)
class Authentication:
    """Who asks, the answers by which one becomes somebody, and what upstreams are told; *close* it at the end."""

    sessions: Sessions
    login: Login
    jwks: JwksAnswer
    identity: IdentityTokens
    signing_keys: SigningKeys
    resources: AsyncExitStack

    async def close(self) -> None:
        """Give threads and connections back."""
        await self.resources.aclose()


def authentication(config: Config, database: Database, encryption: Encryption) -> Authentication:
    """Build everything; nothing is connected before it is needed. Raises ValueError for a key file that is gone."""
    resources = AsyncExitStack()
    auth = config.auth
    signing_keys = _signing_keys(auth, database, encryption)
    tokens = SessionTokens(signing_keys, auth.issuer, auth.audience, auth.token_lifetime_s)
    cost = auth.password_hash
    passwords = Passwords(cost.time_cost, cost.memory_kib, cost.parallelism)
    resources.callback(passwords.close)
    return Authentication(
        sessions=Sessions(database, tokens if auth.login else None, _provider(auth.jwt, resources)),
        login=Login(database, passwords, tokens, _throttle(config, resources)),
        jwks=JwksAnswer(signing_keys),
        identity=IdentityTokens(signing_keys, auth.issuer, auth.identity_lifetime_s),
        signing_keys=signing_keys,
        resources=resources,
    )


def _signing_keys(auth: Auth, database: Database, encryption: Encryption) -> SigningKeys:
    if auth.signing_key_file is None:
        return StoredSigningKeys(database, encryption)
    return FileSigningKeys(auth.signing_key_file)


def _throttle(config: Config, resources: AsyncExitStack) -> LoginThrottle:
    settings = config.auth.login_throttle
    limits = AttemptLimits(
        pair_max=settings.pair_failures_max,
        address_max=settings.address_failures_max,
        window_ms=settings.window_s * 1000,
    )
    shared = RedisLoginAttempts(config.redis.url.get_secret_value(), config.redis.timeout_ms / 1000, limits)
    resources.push_async_callback(shared.close)
    local = MemoryLoginAttempts(limits, lambda: int(time.monotonic() * 1000))
    return LoginThrottle(shared, local, config.secrets.key.get_secret_value().encode(), limits)


def _provider(settings: IdentityProvider | None, resources: AsyncExitStack) -> ProviderTokens | None:
    if settings is None:
        return None
    keys = ProviderKeys(
        lambda: fetch_jwks(settings.jwks_url, settings.timeout_s),
        time.monotonic,
        ttl_s=settings.cache_ttl_s,
        max_stale_s=settings.max_stale_s,
    )
    resources.push_async_callback(keys.close)
    claims = Claims(settings.issuer, settings.audience, settings.account_claim, settings.role_claim)
    return ProviderTokens(keys, claims)
