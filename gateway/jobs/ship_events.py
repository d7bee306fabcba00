"""Shipping: brings journalled usage events to a sink, in batches, from this worker's journal and abandoned ones.

Each sink has a shipper of its own and keeps the position of each journal, so that what it has is not sent again. A sink
that is away only lets the journals grow: no request waits for it, and no other sink.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.journal import Batch, Journal, abandoned, read_batch
from gateway.jobs.release_segments import SegmentRelease
from gateway.ports import SinkDown
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.ports import UsageSink
    from gateway.telemetry.telemetry import Telemetry

RETRY_LAST_S: Final = 5.0

log = structlog.get_logger()


class EventShipper:
    """Ships to the sink with this *name* until cancelled; `drain` ships what is there and returns."""

    def __init__(
        self,
        journal: Journal,
        directory: Path,
        sink: UsageSink,
        telemetry: Telemetry,
        *,
        interval_s: float,
        name: str = "postgres",
        release: SegmentRelease | None = None,
    ) -> None:
        """Take the journal of this worker and the directory of all; without *release* this sink is the only one."""
        self.name = name
        self._release = release or SegmentRelease((name,))
        self._journal = journal
        self._directory = directory
        self._sink = sink
        self._telemetry = telemetry
        self._interval_s = interval_s
        self._positions: dict[str, int] = {}
        self._under_way: Path | None = None
        self._complete_at = time.monotonic()
        for metric in (metrics.EVENTS_SHIPPED, metrics.EVENTS_DROPPED, metrics.SHIP_FAILURES):
            telemetry.add(metric, 0, name)  # What begins at one has not increased.

    def shipped(self, path: Path) -> int | None:
        """Give how many bytes of a segment this worker knows to be in the sink, None while it is being shipped."""
        return None if path == self._under_way else self._positions.get(path.name, 0)

    async def run(self) -> None:
        """Ship every *interval_s*, and less often while the sink is away."""
        wait_s = self._interval_s
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))
            try:
                await self.drain()
                wait_s = self._interval_s
            except (SinkDown, OSError) as fault:
                self._telemetry.add(metrics.SHIP_FAILURES, 1, self.name)
                wait_s = min(wait_s * 2, RETRY_LAST_S)
                log.warning("usage events wait", sink=self.name, reason=str(fault), retry_in_s=round(wait_s, 1))

    async def drain(self) -> None:
        """Ship all that is complete now; raises SinkDown, and OSError when the directory cannot be read."""
        self._journal.flush()
        began = time.monotonic()
        # Past its size a segment may hold what a full disk cut off and what is about to be taken back.
        mine, size = self._journal.segment, self._journal.size
        finished = await asyncio.to_thread(abandoned, self._directory, mine)
        self._forget_all_but({*finished, mine})
        waiting = [path for path in finished if not self._release.has(path, self.name)]
        try:
            while waiting:
                self._publish_lag(waiting)
                await self._ship(waiting[0])
                self._release.shipped(waiting.pop(0), self.name)
            await self._ship(mine, size)
            self._complete_at = began
        finally:
            self._publish_lag(waiting)

    def _forget_all_but(self, kept: set[Path]) -> None:
        """Forget segments that are gone, because some worker deleted them."""
        self._release.forget_all_but(kept)
        names = {path.name for path in kept}
        self._positions = {name: position for name, position in self._positions.items() if name in names}

    def _publish_lag(self, finished: list[Path]) -> None:
        """Tell how much waits for the sink, in *finished* segments and our own, and since when."""
        waiting = self._journal.size - self._positions.get(self._journal.segment.name, 0)
        for path in finished:
            with contextlib.suppress(FileNotFoundError):
                waiting += max(path.stat().st_size - self._positions.get(path.name, 0), 0)
        self._telemetry.set(metrics.JOURNAL_BYTES, max(waiting, 0), self.name)
        self._telemetry.set(metrics.SINK_LAG, time.monotonic() - self._complete_at, self.name)

    async def _ship(self, path: Path, end: int | None = None) -> None:
        """Ship one segment up to *end*, or to the file's end."""
        self._under_way = path
        try:
            await self._ship_batches(path, end)
        finally:
            self._under_way = None

    async def _ship_batches(self, path: Path, end: int | None) -> None:
        position = self._positions.get(path.name)
        if position is None:
            position = await self._sink.position(path.name)
        while True:
            batch = await self._read(path, position, end)
            if batch is None or batch.end == position:
                break
            reached = await self._sink.write(path.name, position, batch.end, batch.records)
            if reached == batch.end:
                self._telemetry.add(metrics.EVENTS_SHIPPED, len(batch.records), self.name)
                if batch.corrupt:
                    self._telemetry.add(metrics.EVENTS_DROPPED, batch.corrupt, self.name)
                    log.error("usage records corrupt", journal=path.name, records=batch.corrupt, sink=self.name)
            position = reached
            self._positions[path.name] = position
        self._positions[path.name] = position

    async def _read(self, path: Path, position: int, end: int | None) -> Batch | None:
        try:
            return await asyncio.to_thread(read_batch, path, position, end)
        except FileNotFoundError:
            return None
