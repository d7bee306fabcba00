"""The composition root of one worker: a configuration in, running listeners out.

Everything is acquired in the order of this file and released in reverse. Nothing else constructs a collaborator.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from gateway import VERSION
from gateway.access import Access
from gateway.accounting.moments import Moments
from gateway.adapters.http.upstream import Upstream
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
from gateway.jobs.sync_journal import sync_journal
from gateway.live import Live
from gateway.management.answers import management_answers
from gateway.management.health import Health, internal_application
from gateway.ports import Fault
from gateway.proxy.handler import Gateway
from gateway.proxy.server import PublicServer
from gateway.settings.compile import compile_snapshot
from gateway.sidecar.decisions import Decisions
from gateway.sidecar.listening import decision_routes, running
from gateway.telemetry import metrics
from gateway.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping
    from pathlib import Path

    from gateway.jobs.deliver_usage import Delivery
    from gateway.management.identity import IdentityTokens
    from gateway.proxy.watch import Watch
    from gateway.settings.schema import Config

BACKLOG: Final = 1024
SCHEMA_PATIENCE_S: Final = 5.0
SCHEMA_LOOK_S: Final = 0.05
GC_THRESHOLDS: Final = (50_000, 20, 100)

log = structlog.get_logger()


class SchemaRefused(Fault):
    """The database has a schema that this version cannot work with; the message says what to do."""

    code = "schema_refused"


@dataclass(frozen=True, slots=True)
class Worker:
    """The parts of one worker that are started and stopped."""

    database: Database
    limiter: RedisLimiter
    listener: KeyChangeListener
    journal: Journal
    server: PublicServer
    watch: Watch
    health: Health
    publisher: GaugePublisher
    delivery: Delivery
    identity: IdentityTokens
    decisions: Decisions


async def serve(config: Config, slot: int, stop: asyncio.Event) -> None:
    """Serve until *stop* is set, then drain.

    Raises JournalError, SchemaRefused and OSError when it cannot start.
    """
    async with AsyncExitStack() as stack:
        worker = await _acquire(config, slot, stack)
        await _require_schema(worker.database)
        if any(upstream.signed_identity for upstream in config.upstreams.values()):
            await worker.identity.prepare()
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
        async with _running(jobs), _listening(config, worker, slot) as public:
            _settle_memory()
            log.info("serving", pid=os.getpid(), slot=slot)
            await stop.wait()
            await _drain(config, worker, public)
        await worker.delivery.ship_the_rest()
    log.info("stopped", pid=os.getpid(), slot=slot)


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


async def _acquire(config: Config, slot: int, stack: AsyncExitStack) -> Worker:
    """Make every collaborator; *stack* releases them in reverse."""
    snapshot = compile_snapshot(config)
    live, moments = Live(snapshot), Moments()
    telemetry = Telemetry(_counters(config) / f"worker-{slot}.counters")
    stack.callback(telemetry.close)
    telemetry.set(metrics.BUILD, 1, VERSION, snapshot.version)
    journal = _open_journal(config, slot)
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

    loop = asyncio.get_running_loop()
    upstreams = {name: Upstream(settings, loop) for name, settings in snapshot.upstreams.items()}
    for upstream in upstreams.values():
        stack.callback(upstream.close)
        upstream.start()
    refuse = config.usage.journal.on_full == "refuse"
    gateway = Gateway(
        *(live, access, upstreams, answers.functions, journal, telemetry, moments), refuse_unrecorded=refuse
    )
    server = PublicServer(gateway, live, journal, telemetry, moments, fast=config.listen.fast_path)
    decisions = Decisions(
        *(live, access, journal, telemetry, moments), endpoint=config.sidecar.path, refuse_unrecorded=refuse
    )
    delivery = usage_delivery(config, database, journal, telemetry)
    stack.push_async_callback(delivery.close)
    health = _health(database, limiter, listener, identity, upstreams)
    sources = Sources(
        keys=keys,
        journal=journal,
        upstreams=upstreams,
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
    parts = (database, limiter, listener, journal, server, gateway.watch, health, publisher, delivery)
    return Worker(*parts, identity, decisions)


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


def _open_journal(config: Config, slot: int) -> Journal:
    name = f"worker-{slot}-{time.time_ns():x}-{os.getpid()}"
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
    upstreams: Mapping[str, Upstream],
) -> Health:
    return Health(
        checks={
            "postgres": lambda: None if database.ready else database.why,
            "redis": lambda: None if limiter.up else "Redis does not answer; limits.on_error is in force",
            "identity": lambda: identity.missing,
            "keyChanges": lambda: None if listener.connected else "not listening for key changes",
        },
        was_reached=lambda: database.schema is not None and database.schema.usable,
        upstreams=lambda: {name: upstream.endpoints.report() for name, upstream in upstreams.items()},
    )


@asynccontextmanager
async def _running(jobs: Mapping[str, Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run *jobs* beside the block; one that ends by itself is a bug, and ends the worker, which is then restarted."""
    this = asyncio.current_task()
    assert this is not None

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.error("job ended", job=task.get_name(), exc_info=task.exception())
            this.cancel()

    tasks = [asyncio.get_running_loop().create_task(job, name=name) for name, job in jobs.items()]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _listening(config: Config, worker: Worker, slot: int) -> AsyncIterator[asyncio.Server]:
    """Listen on both addresses; gives the public listener, so that draining can close it first."""
    asking = decision_routes(worker.decisions, config.sidecar.path)
    application = internal_application(worker.health, _counters(config), worker.publisher.publish, asking)
    async with running(application, config.sidecar.socket if slot == 0 else None) as internal:
        ways: dict[str, Any] = {"reuse_port": True, "backlog": BACKLOG}
        address = config.listen.internal
        await web.TCPSite(internal, address.address, address.port, **ways).start()
        address, loop = config.listen.public, asyncio.get_running_loop()
        public = await loop.create_server(worker.server, address.address, address.port, **ways)
        try:
            yield public
        finally:
            public.close()


async def _drain(config: Config, worker: Worker, public: asyncio.Server) -> None:
    """Turn unready, go on for the grace, then take no more connections and let requests in flight finish."""
    worker.health.draining = True
    await asyncio.sleep(config.drain.grace_s)
    public.close()
    worker.server.pre_shutdown()
    await worker.server.shutdown(config.drain.timeout_s)


def _settle_memory() -> None:
    """Take what lives for ever out of the collector's sight: its pauses are the tail of the latency."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
