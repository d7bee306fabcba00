"""One worker's life: a configuration and sockets in, running listeners out.

Everything is acquired in the order of this file and released in reverse.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.adapters.certificates import Certificates
from gateway.assembly import acquire, counters, have_key_to_sign
from gateway.jobs.expire_idempotency import expire_idempotency
from gateway.jobs.look_after_usage import UsageCaretaker
from gateway.jobs.look_after_webhooks import look_after_webhooks
from gateway.jobs.renew_certificates import renew_certificates
from gateway.jobs.running import running
from gateway.jobs.sync_journal import sync_journal
from gateway.management.events import EventIntake
from gateway.management.health import internal_application
from gateway.ports import Fault
from gateway.proxy.listening import Contexts, listening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gateway.adapters.postgres.pool import Database
    from gateway.assembly import Worker
    from gateway.proxy.listening import Listening, Sockets
    from gateway.settings.schema import Config
    from gateway.telemetry.telemetry import Telemetry

LISTENERS: Final = ("public", "internal")
SCHEMA_PATIENCE_S: Final = 5.0
SCHEMA_LOOK_S: Final = 0.05
GC_THRESHOLDS: Final = (50_000, 20, 100)

log = structlog.get_logger()


class SchemaRefused(Fault):
    """The database has a schema that this version cannot work with; the message says what to do."""

    code = "schema_refused"


async def serve(
    config: Config, since: float, seat: int, sockets: Sockets, obey: Callable[[Worker], Awaitable[bool]]
) -> None:
    """Serve as long as *obey* takes, then drain; it gives whether another worker has taken this one's place.

    *since* is when *config* was read. Raises JournalError, SchemaRefused and OSError when it cannot start.
    """
    async with AsyncExitStack() as stack:
        worker = await acquire(config, since, seat, stack)
        await _require_schema(worker.database)
        await have_key_to_sign(worker.identity, config)
        jobs: dict[str, Coroutine[Any, Any, None]] = {
            "limiter": worker.limiter.run(),
            "listener": worker.listener.run(),
            **worker.delivery.jobs(),
            "watch": worker.watch.run(),
            "gauges": worker.publisher.run(),
            "usage": UsageCaretaker(worker.database, config.usage.retention_days).run(),
            "expiry": expire_idempotency(worker.database),
            "identity": worker.identity.run(),
            "webhooks": worker.deliverer.run(),
            "deliveries": look_after_webhooks(worker.database, worker.telemetry, config.webhooks.retention_days),
        }
        if config.usage.journal.fsync == "interval":
            jobs["sync"] = sync_journal(worker.journal, config.usage.journal.fsync_interval_ms / 1000)
        certificates = _certificates(config, worker.telemetry)
        jobs["certificates"] = renew_certificates(certificates.values())
        tls = {name: one.context for name, one in certificates.items()}
        contexts = Contexts(tls.get("public"), tls.get("internal"), announced=config.listen.public.proxy_protocol)
        sidecar = worker.sidecar
        asking = [*sidecar.routes(), *EventIntake(worker.journal).routes()]
        application = internal_application(worker.health, counters(config), worker.publisher.publish, asking)
        listeners = listening(worker.server, application, sidecar.plain_tier(), sockets, contexts)
        async with running(jobs), listeners as open_listeners, sidecar.answering_envoy():
            _settle_memory()
            log.info("serving", pid=os.getpid(), slot=seat)
            with sidecar.reading(sockets.reports):
                await _end(worker, open_listeners, retired=await obey(worker))
        await worker.delivery.ship_the_rest()
    log.info("stopped", pid=os.getpid(), slot=seat)


def _certificates(config: Config, telemetry: Telemetry) -> dict[str, Certificates]:
    """Read the certificates of the listeners that speak TLS, by the listener; raises ValueError."""
    wanted = ((name, getattr(config.listen, name).tls) for name in LISTENERS)
    return {name: Certificates(tls, name, telemetry) for name, tls in wanted if tls is not None}


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
