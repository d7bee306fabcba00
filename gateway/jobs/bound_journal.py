"""Bounding: the journals of an instance may take so much of the disk, and then the configured policy holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

import structlog

from gateway.adapters.journal import abandoned, count_records, delete_segment, total_size
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.adapters.journal import Journal
    from gateway.telemetry.telemetry import Telemetry

INTERVAL_S: Final = 0.5

OnFull = Literal["drop_oldest", "refuse"]

log = structlog.get_logger()


class JournalBound:
    """Looks at the size of all journals in *directory*, and acts when it is over *max_bytes* or the disk is full.

    `drop_oldest` deletes segments that are not being written, oldest first, and counts for each sink the events that it
    never got; *shipped* has by sink a function that tells how many bytes of a segment it has, or None to leave the
    segment alone for now. `refuse` marks the journal full, so that no request is served that could not be counted.
    """

    def __init__(
        self,
        journal: Journal,
        directory: Path,
        telemetry: Telemetry,
        shipped: Mapping[str, Callable[[Path], int | None]],
        *,
        max_bytes: int,
        on_full: OnFull,
    ) -> None:
        """Take the journal of this worker and the directory of all."""
        self._journal = journal
        self._directory = directory
        self._telemetry = telemetry
        self._shipped = shipped
        self._max_bytes = max_bytes
        self._on_full = on_full

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Look every *interval_s* until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.look()
            except OSError as error:
                log.warning("journal not measured", directory=str(self._directory), reason=error.strerror)

    async def look(self) -> None:
        """Look once; raises OSError when the directory cannot be read."""
        if self._journal.failing:
            self._journal.probe()
        over = await asyncio.to_thread(total_size, self._directory) > self._max_bytes
        if self._on_full == "refuse":
            if over and not self._journal.over:
                log.error("usage journal full", policy="refuse", max_bytes=self._max_bytes)
            self._journal.over = over
        elif over or self._journal.failing:
            await self._drop_oldest()

    async def _drop_oldest(self) -> None:
        for path in await asyncio.to_thread(abandoned, self._directory, self._journal.segment):
            shipped = {sink: position(path) for sink, position in self._shipped.items()}
            known = {sink: position for sink, position in shipped.items() if position is not None}
            lost = await asyncio.to_thread(_drop, path, known) if len(known) == len(shipped) else None
            if lost is None:
                continue
            for sink, count in lost.items():
                self._telemetry.add(metrics.EVENTS_DROPPED, count, sink)
            log.error("usage journal full", policy="drop_oldest", journal=path.name, events_dropped=lost)
            if await asyncio.to_thread(total_size, self._directory) <= self._max_bytes:
                return


def _drop(path: Path, shipped: Mapping[str, int]) -> dict[str, int] | None:
    """Delete a segment and say for each sink how many of its records it never got; None when somebody else did."""
    try:
        lost = {sink: count_records(path, position) for sink, position in shipped.items()}
        path.unlink()
    except FileNotFoundError:
        return None
    delete_segment(path)
    return lost
