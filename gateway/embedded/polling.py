"""Waiting for what sends no notice: the end of a process, the start of a server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_POLL_S = 0.01


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
    """Ask *condition* every 10 ms until it is true, and say whether that came within *timeout_s*."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await condition():  # noqa: ASYNC110  # the operating system sets no asyncio.Event
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        return False
    return True
