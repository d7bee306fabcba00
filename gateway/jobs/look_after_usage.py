"""Looking after usage: partitions are made ahead, and what is too old is taken away, by any one of all instances."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.postgres.pool import DatabaseDown
from gateway.adapters.postgres.retention import look_after_usage

if TYPE_CHECKING:
    from gateway.adapters.postgres.pool import Database

INTERVAL_S: Final = 600.0

log = structlog.get_logger()


class UsageCaretaker:
    """Goes round until cancelled. All workers do; where one is at it, the others have nothing to do."""

    def __init__(self, database: Database, retention_days: int, *, interval_s: float = INTERVAL_S) -> None:
        """Take the database, and how many days of events it keeps."""
        self._database = database
        self._retention_days = retention_days
        self._interval_s = interval_s

    async def run(self) -> None:
        """Go round every *interval_s*, and at once at the start."""
        while True:
            try:
                cleared = await look_after_usage(self._database, time.time(), self._retention_days)
                if cleared is not None and cleared.partitions:
                    log.info("old usage events dropped", days=cleared.partitions)
            except DatabaseDown as fault:
                log.warning("usage not looked after", reason=str(fault))
            await asyncio.sleep(self._interval_s * random.uniform(0.8, 1.2))
