"""Settling: brings reported outcomes and the events that they complete together, once both are in Postgres.

A worker is at it while it brings outcomes itself and until none waits any more; else it looks now and then for what
others have left. Any number of workers may be at it at once.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.postgres.pool import DatabaseDown
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.adapters.postgres.outcomes import PostgresOutcomes
    from gateway.telemetry.telemetry import Telemetry

WAIT_MAX_S: Final = 30.0
REST_S: Final = 60.0

log = structlog.get_logger()


class OutcomeSettler:
    """Settles until cancelled."""

    def __init__(self, outcomes: PostgresOutcomes, telemetry: Telemetry, *, interval_s: float) -> None:
        """Look for new outcomes every *interval_s*."""
        self._outcomes = outcomes
        self._telemetry = telemetry
        self._interval_s = interval_s
        for result in ("completed", "repeated", "unknown"):
            telemetry.add(metrics.OUTCOMES_SETTLED, 0, result)  # What begins at one has not increased.

    async def run(self) -> None:
        """Settle after each batch that this worker brought, what waits ever less often, and now and then the rest."""
        loop = asyncio.get_running_loop()
        seen, wait_s, due = -1, self._interval_s, loop.time()
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.8, 1.2))
            if self._outcomes.kept != seen:
                wait_s = self._interval_s
            elif loop.time() < due:
                continue
            seen = self._outcomes.kept
            waiting = await self._settle()
            wait_s = min(wait_s * 2, WAIT_MAX_S) if waiting else REST_S
            due = loop.time() + wait_s

    async def _settle(self) -> bool:
        """Settle what can be, and say whether some still waits."""
        try:
            settled = await self._outcomes.settle()
        except DatabaseDown as fault:
            log.warning("reported outcomes wait", reason=str(fault))
            return True
        for result in ("completed", "repeated", "unknown"):
            self._telemetry.add(metrics.OUTCOMES_SETTLED, getattr(settled, result), result)
        return settled.waiting
