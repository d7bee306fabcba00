"""The composition root of one worker: a configuration and sockets in, running listeners out.

Everything is acquired in the order of this file and released in reverse. Nothing else constructs a collaborator.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway import VERSION
from gateway.access import Access
from gateway.accounting.moments import Moments
from gateway.adapters.certificates import Certificates
from gateway.adapters.journal import Journal
from gateway.adapters.memory.keycache import KeyCache
from gateway.adapters.memory.limiter import MemoryLimiter
from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.adapters.postgres.listen import KeyChangeListener
from gateway.adapters.postgres.pool import Database, PoolSettings
from gateway.adapters.redis.limiter import RedisLimiter
from gateway.jobs.deliver_usage import usage_delivery
from gateway.jobs.expire_idempotency import expire_idempotency
from gateway.jobs.invalidate import Invalidator
from gateway.jobs.look_after_usage import UsageCaretaker
from gateway.jobs.publish_gauges import GaugePublisher, Sources
from gateway.jobs.renew_certificates import renew_certificates
from gateway.jobs.running import running
from gateway.jobs.sync_journal import sync_journal
from gateway.management.answers import management_answers
from gateway.management.health import Health, internal_application
from gateway.ports import Fault
from gateway.proxy.handler import Gateway
from gateway.proxy.listening import Contexts, listening
from gateway.proxy.reload import Reload
from gateway.proxy.server import PublicServer
from gateway.sidecar.decisions import Decisions, decision_routes
from gateway.telemetry import metrics
from gateway.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from gateway.jobs.deliver_usage import Delivery
    from gateway.management.identity import IdentityTokens
    from gateway.proxy.listening import Listening, Sockets
    from gateway.proxy.watch import Watch
    from gateway.settings.schema import Config

LISTENERS: Final = ("public", "internal")
SCHEMA_PATIENCE_S: Final = 5.0
SCHEMA_LOOK_S: Final = 0.05
GC_THRESHOLDS: Final = (50_000, 20, 100)

log = structlog.get_logger()


class SchemaRefused(Fault):
    """The database has a schema that this version cannot work with; the message says what to do."""

    code = "schema_refused"


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
    decisions: Decisions


async def serve(
    config: Config, since: float, seat: int, sockets: Sockets, obey: Callable[[Worker], Awaitable[bool]]
) -> None:
    """Serve as long as *obey* takes, then drain; it gives whether another worker has taken this one's place.

    *since* is when *config* was read. Raises JournalError, SchemaRefused and OSError when it cannot start.
    """
    async with AsyncExitStack() as stack:
        worker = await _acquire(config, since, seat, stack)
        await _require_schema(worker.database)
        await _have_key_to_sign(worker.identity, config)
        jobs: dict[str, Coroutine[Any, Any, None]] = {
            "limiter": worker.limiter.run(),
            "listener": worker.listener.run(),
            **worker.delivery.jobs(),
            "watch": worker.watch.run(),
            "gauges": worker.publisher.run(),
            "usage": UsageCaretaker(worker.database, config.usage.retention_days).run(),
            "expiry": expire_idempotency(worker.database),
            "identity": worker.identity.run(),
        }
        if config.usage.journal.fsync == "interval":
            jobs["sync"] = sync_journal(worker.journal, config.usage.journal.fsync_interval_ms / 1000)
        certificates = _certificates(config, worker.telemetry)
        jobs["certificates"] = renew_certificates(certificates.values())
        contexts = Contexts(*(certificates[name].context if name in certificates else None for name in LISTENERS))
        asking = decision_routes(worker.decisions, config.sidecar.path)
        application = internal_application(worker.health, _counters(config), worker.publisher.publish, asking)
        async with running(jobs), listening(worker.server, application, sockets, contexts) as open_listeners:
            _settle_memory()
            log.info("serving", pid=os.getpid(), slot=seat)
            await _end(worker, open_listeners, retired=await obey(worker))
        await worker.delivery.ship_the_rest()
    log.info("stopped", pid=os.getpid(), slot=seat)


def _certificates(config: Config, telemetry: Telemetry) -> dict[str, Certificates]:
    """Read the certificates of the listeners that speak TLS, by the listener; raises ValueError."""
    wanted = ((name, getattr(config.listen, name).tls) for name in LISTENERS)
    return {name: Certificates(tls, name, telemetry) for name, tls in wanted if tls is not None}


async def _have_key_to_sign(identity: IdentityTokens, config: Config) -> None:
    """Have the key in hand before the first request for an upstream that wants signed identities."""
    if any(upstream.signed_identity for upstream in config.upstreams.values()):
        await identity.prepare()


async def _require_schema(database: Database) -> None:
    """Refuse a schema that does not fit, after waiting a moment for a migration that may be under way elsewhere.

    Where Postgres does not answer, the worker starts all the same: unready, and with a look at the schema to come.
    """
    await database.tried()
    due = time.monotonic() + SCHEMA_PATIENCE_S
    while database.schema is not None and not database.schema.usable:
        if time.monotonic() >= due:
            raise SchemaRefused(database.schema.message)
        await asyncio.sleep(SCHEMA_LOOK_S)


async def _acquire(config: Config, since: float, seat: int, stack: AsyncExitStack) -> Worker:
    """Make every collaborator; *stack* releases them in reverse."""
    telemetry = Telemetry(_counters(config) / f"worker-{seat}.counters")
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
    answers = management_answers(config, database)
    stack.push_async_callback(answers.close)
    identity = answers.authentication.identity
    local = MemoryLimiter(lambda: int(time.time() * 1000))
    access = Access(keys, limiter, local, telemetry, time.time, identity.line)

    refuse = config.usage.journal.on_full == "refuse"
    gateway = Gateway(*(live, access, answers.functions, journal, telemetry, moments), refuse_unrecorded=refuse)
    server = PublicServer(gateway, live, journal, telemetry, moments, fast=config.listen.fast_path)
    decisions = Decisions(
        *(live, access, journal, telemetry, moments), endpoint=config.sidecar.path, refuse_unrecorded=refuse
    )
    reload.followers += [server.follow, keys.forget_derived, telemetry.forget_routes]
    reload.preparers.append(partial(_have_key_to_sign, identity))

    delivery = usage_delivery(config, database, journal, telemetry)
    stack.push_async_callback(delivery.close)
    health = _health(database, limiter, listener, identity, reload)
    sources = Sources(
        keys=keys,
        journal=journal,
        upstreams=lambda: live.upstreams,
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
        *(health, publisher, delivery, identity, decisions),
    )


def _counters(config: Config) -> Path:
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


async def _end(worker: Worker, open_listeners: Listening, *, retired: bool) -> None:
    """Let requests in flight finish. Who is not replaced turns unready before, and goes on for the grace."""
    drain = worker.reload.config.drain
    if retired:
        await open_listeners.retire(drain.timeout_s)
        return
    worker.health.draining = True
    await asyncio.sleep(drain.grace_s)
    await open_listeners.drain(drain.timeout_s)


def _settle_memory() -> None:
    """Take what lives for ever out of the collector's sight: its pauses are the tail of the latency."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
