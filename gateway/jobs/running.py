"""Running jobs: what goes on beside serving, all of it or the worker ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

log = structlog.get_logger()


@asynccontextmanager
async def running(jobs: Mapping[str, Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
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
