"""Limiters on a real server, connected while the test's block runs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.adapters.redis.limiter import RedisLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

BUDGET_S = 0.05


async def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Return once *condition* is true; raises TimeoutError when that takes longer than *timeout_s*."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def redis_limiter(url: str, budget_s: float = 1.0) -> AsyncIterator[RedisLimiter]:
    """Run a limiter; the budget is generous unless the test is about it, because the machine is shared."""
    limiter = RedisLimiter(url, budget_s)
    running = asyncio.create_task(limiter.run())
    try:
        await eventually(lambda: limiter.up)
        yield limiter
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
