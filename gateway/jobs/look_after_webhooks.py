"""Looking after webhooks: tells how many deliveries wait, and takes away events that are too old."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.postgres.pool import DatabaseDown
from gateway.adapters.postgres.webhook_deliveries import look_after_deliveries
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database
    from gateway.telemetry.telemetry import Telemetry

INTERVAL_S: Final = 15.0

log = structlog.get_logger()


async def look_after_webhooks(
    database: Database, telemetry: Telemetry, retention_days: int, interval_s: float = INTERVAL_S
) -> None:
    """Go round every *interval_s* until cancelled. All workers do; what one has in hand the others leave alone."""
    while True:
        before = datetime.now(UTC) - timedelta(days=retention_days)
        try:
            figures = await look_after_deliveries(database, before)
        except DatabaseDown as fault:
            log.warning("webhooks not looked after", reason=str(fault))
        else:
            telemetry.set(metrics.WEBHOOKS_PENDING, figures.pending)
            telemetry.set(metrics.WEBHOOKS_LATE, figures.late_s)
            telemetry.set(metrics.WEBHOOKS_STOPPED, figures.stopped)
            if figures.deleted:
                log.info("old webhook events deleted", events=figures.deleted)
        await asyncio.sleep(interval_s * random.uniform(0.8, 1.2))
