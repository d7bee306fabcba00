"""What one worker is made of: a configuration in, every collaborator out, made in the order of this file.

Nothing else constructs a collaborator.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway import VERSION
from gateway.access import Access
from gateway.accounting.moments import Moments
from gateway.accounting.outcomes import Outcomes
from gateway.adapters.journal import Journal
from gateway.adapters.memory.keycache import KeyCache
from gateway.adapters.memory.limiter import MemoryLimiter
from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.adapters.postgres.listen import KeyChangeListener
from gateway.adapters.postgres.pool import Database, PoolSettings
from gateway.adapters.postgres.webhook_queue import WebhookQueue
from gateway.adapters.redis.limiter import RedisLimiter
from gateway.adapters.secrets.encryption import Sealed, encryption_of
from gateway.adapters.secrets.webhook_secrets import open_webhook_secrets
from gateway.adapters.webhooks.sender import WebhookSender
from gateway.jobs.deliver_usage import usage_delivery
from gateway.jobs.deliver_webhooks import WebhookDeliverer
from gateway.jobs.invalidate import Invalidator
from gateway.jobs.publish_gauges import GaugePublisher, Sources
from gateway.management.answers import management_answers
from gateway.management.health import Health
from gateway.management.signing_keys import FileSigningKeys
from gateway.proxy.handler import Gateway
from gateway.proxy.reload import Reload
from gateway.proxy.server import PublicServer
from gateway.sidecar.decisions import Decisions
from gateway.sidecar.endpoints import Sidecar
from gateway.telemetry import metrics
from gateway.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack
    from pathlib import Path

    from gateway.adapters.postgres.sealed_secrets import StoredSecret
    from gateway.jobs.deliver_usage import Delivery
    from gateway.management.identity import IdentityTokens
    from gateway.proxy.watch import Watch
    from gateway.settings.schema import Config


@dataclass(frozen=True, slots=True)
class Worker:
    """The parts of one worker that are started, told and stopped."""

    telemetry: Telemetry
    database: Database
    limiter: RedisLimiter
    listener: KeyChangeListener
    journal: Journal
    server: PublicServer
    reload: Reload
    watch: Watch
    health: Health
    publisher: GaugePublisher
    delivery: Delivery
    identity: IdentityTokens
    sidecar: Sidecar
    deliverer: WebhookDeliverer


async def acquire(config: Config, since: float, seat: int, stack: AsyncExitStack) -> Worker:
    """Make every collaborator; *stack* releases them in reverse."""
    telemetry = Telemetry(counters(config) / f"worker-{seat}.counters")
    stack.callback(telemetry.close)
    telemetry.set(metrics.BUILD, 1, VERSION)
    reload, moments = Reload(config, since, telemetry), Moments()
    stack.callback(reload.close)
    live = reload.live
    journal = _open_journal(config, seat)
    stack.callback(journal.close)

    database = await stack.enter_async_context(_database(config))
    keys = _key_cache(config, database)
    stack.push_async_callback(keys.close)
    listener = KeyChangeListener(config.postgres.dsn.get_secret_value(), Invalidator(keys))
    limiter = RedisLimiter(config.redis.url.get_secret_value(), config.redis.timeout_ms / 1000)
    webhooks = WebhookSender(allow_private=config.webhooks.allow_private)
    stack.push_async_callback(webhooks.close)
    answers = management_answers(config, database, webhooks)
    stack.push_async_callback(answers.close)
    identity = answers.authentication.identity
    local = MemoryLimiter(lambda: int(time.time() * 1000))
    access = Access(keys, limiter, local, telemetry, time.time, identity.line)

    refuse = config.usage.journal.on_full == "refuse"
    gateway = Gateway(*(live, access, answers.functions, journal, telemetry, moments), refuse_unrecorded=refuse)
    server = PublicServer(gateway, live, journal, telemetry, moments, fast=config.listen.fast_path)
    decisions = Decisions(live, access, journal, telemetry, moments, refuse_unrecorded=refuse)
    sidecar = Sidecar(config, decisions, Outcomes(journal, telemetry, moments), journal, moments)
    reload.followers += [server.follow, keys.forget_derived, telemetry.forget_routes]
    reload.preparers.append(partial(have_key_to_sign, identity))
    signing_keys = answers.authentication.signing_keys
    if isinstance(signing_keys, FileSigningKeys):
        reload.preparers.append(signing_keys.prepare)
        reload.followers.append(signing_keys.follow)

    delivery = usage_delivery(config, database, journal, telemetry)
    stack.push_async_callback(delivery.close)
    deliverer = _deliverer(config, database, webhooks, telemetry)
    health = _health(database, limiter, listener, identity, reload)
    sources = Sources(
        keys=keys,
        journal=journal,
        upstreams=lambda: live.upstreams,
        upstream_counts=reload.counts,
        connections=lambda: len(server.connections),
        in_flight=lambda: gateway.in_flight,
        tunnels=lambda: gateway.watch.tunnels,
        sinks=delivery.sinks,
        limiter_up=lambda: limiter.up,
        postgres_up=lambda: database.ready,
        listening=lambda: listener.connected,
        ready=lambda: health.ready,
    )
    publisher = GaugePublisher(sources, telemetry)
    return Worker(
        *(telemetry, database, limiter, listener, journal, server, reload, gateway.watch),
        *(health, publisher, delivery, identity, sidecar, deliverer),
    )


def _deliverer(config: Config, database: Database, sender: WebhookSender, telemetry: Telemetry) -> WebhookDeliverer:
    queue = WebhookQueue(database, secrets.token_hex(8), config.webhooks.scope)
    encryption = encryption_of(config.secrets)

    def secrets_of(key_id: str, stored: Sequence[StoredSecret]) -> list[str]:
        return open_webhook_secrets(encryption, key_id, [Sealed(one.key_id, one.ciphertext) for one in stored])

    return WebhookDeliverer(queue, sender, secrets_of, telemetry, config.webhooks)


def counters(config: Config) -> Path:
    """Give the directory of all workers' counters."""
    return config.state_directory / "counters"


def _key_cache(config: Config, database: Database) -> KeyCache:
    return KeyCache(
        PostgresKeySource(database),
        time.monotonic,
        ttl_s=config.keys.cache_ttl_s,
        max_stale_s=config.keys.max_stale_s,
        absent_ttl_s=config.keys.absent_ttl_s,
        entries_max=config.keys.cache_entries_max,
    )


def _open_journal(config: Config, seat: int) -> Journal:
    name = f"worker-{seat}-{time.time_ns():x}-{os.getpid()}"
    return Journal(
        config.journal_directory,
        name,
        segment_max_bytes=config.usage.journal.segment_max_bytes,
        fsync_always=config.usage.journal.fsync == "always",
    )


def _database(config: Config) -> Database:
    settings = config.postgres
    return Database(
        settings.dsn.get_secret_value(),
        PoolSettings(
            size_min=settings.pool_min,
            size_max=settings.pool_max,
            connect_timeout_s=settings.connect_timeout_s,
            query_timeout_s=settings.query_timeout_s,
            migrate=settings.migrate,
        ),
    )


def _health(
    database: Database,
    limiter: RedisLimiter,
    listener: KeyChangeListener,
    identity: IdentityTokens,
    reload: Reload,
) -> Health:
    return Health(
        checks={
            "postgres": lambda: None if database.ready else database.why,
            "redis": lambda: None if limiter.up else "Redis does not answer; limits.on_error is in force",
            "identity": lambda: identity.missing,
            "keyChanges": lambda: None if listener.connected else "not listening for key changes",
        },
        was_reached=lambda: database.schema is not None and database.schema.usable,
        upstreams=lambda: {name: upstream.endpoints.report() for name, upstream in reload.live.upstreams.items()},
    )


async def have_key_to_sign(identity: IdentityTokens, config: Config) -> None:
    """Have the key in hand before the first request for an upstream that wants signed identities."""
    if any(upstream.signed_identity for upstream in config.upstreams.values()):
        await identity.prepare()
