"""A source of keys that can be stalled and broken at the very moment that the test needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.ports import KeySourceDown

if TYPE_CHECKING:
    from gateway.core.keys import KeyRecord


class StallingSource:
    """Answers from *records*; while stalled, reads wait, and see the records as they were when they began."""

    def __init__(self) -> None:
        self.records: dict[bytes, KeyRecord] = {}
        self.reads: list[bytes] = []
        self.down = False
        self._open = asyncio.Event()
        self._open.set()

    def stall(self) -> None:
        """Let reads wait from now on."""
        self._open.clear()

    def go_on(self) -> None:
        """Let all reads that wait answer."""
        self._open.set()

    async def find(self, digest: bytes) -> KeyRecord | None:
        """Give the record of *digest*; raises KeySourceDown while *down*."""
        self.reads.append(digest)
        found = self.records.get(digest)
        await self._open.wait()
        if self.down:
            raise KeySourceDown
        return found


class Clock:
    """A clock that goes only when it is told to; seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now
