"""Expiring: forgets the answers of repeatable requests when their time is over, because there are keys in them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.postgres.idempotency import BATCH, expire
from gateway.adapters.postgres.pool import DatabaseDown

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database

INTERVAL_S: Final = 30.0

log = structlog.get_logger()


async def expire_idempotency(database: Database, interval_s: float = INTERVAL_S) -> None:
    """Look every *interval_s* until cancelled; all workers do, and what one has in hand the others leave alone."""
    while True:
        try:
            while await expire(database) == BATCH:
                pass
        except DatabaseDown as fault:
            log.warning("idempotency records not expired", reason=str(fault))
        await asyncio.sleep(interval_s)
