"""A place for one worker: kept filled whatever happens to the worker, and refilled while it serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from gateway.telemetry import metrics
from gateway.workers.listeners import AddressTaken
from gateway.workers.process import CANNOT_START, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.telemetry.telemetry import Telemetry
    from gateway.workers.listeners import Listeners
    from gateway.workers.process import Start

BACK_OFF_FIRST_S: Final = 0.1
BACK_OFF_LAST_S: Final = 5.0
SETTLED_S: Final = 5.0
READY_S: Final = 60.0
"""How long a replacement may take until it takes traffic."""

log = structlog.get_logger()


class BackOff:
    """How long to wait before a worker is started again: the longer, the more often it ended soon after its start."""

    def __init__(self) -> None:
        """Begin with the shortest wait."""
        self._seconds = BACK_OFF_FIRST_S

    def next(self, lived_s: float) -> float:
        """Give the seconds to wait after one that lived for *lived_s*."""
        self._seconds = BACK_OFF_FIRST_S if lived_s > SETTLED_S else min(2 * self._seconds, BACK_OFF_LAST_S)
        return self._seconds


class Place:
    """Keeps one worker running; a replacement has the other of two seats, so that both can count for a while."""

    def __init__(
        self,
        number: int,
        seats: tuple[int, int],
        listeners: Listeners,
        telemetry: Telemetry,
        *,
        prepare: Callable[[int, int], Start],
        changed: Callable[[], None],
        drain_s: Callable[[], float],
    ) -> None:
        """Start nothing yet. *prepare* says what to start in a place and a seat, *changed* is told of every change."""
        self.number = number
        self.workers: list[WorkerProcess] = []
        """All that run, also those that have not begun to serve, and those that finish what they began."""
        self._seats = seats
        self._listeners = listeners
        self._telemetry = telemetry
        self._prepare = prepare
        self._changed = changed
        self._drain_s = drain_s
        self._current: WorkerProcess | None = None
        self._filling = asyncio.Lock()
        self._replaced = asyncio.Event()

    async def keep(self, stopping: asyncio.Event) -> bool:
        """Keep the place filled until *stopping*; False as soon as its worker cannot start, and never could.

        A worker that ends is replaced at once, one that keeps ending less and less often.
        """
        stop = asyncio.get_running_loop().create_task(stopping.wait())
        back_off = BackOff()
        served = False
        try:
            while not stopping.is_set():
                try:
                    worker = await self._fill()
                except (AddressTaken, OSError) as error:
                    log.warning("worker not started", place=self.number, reason=str(error))
                    await asyncio.wait({stop}, timeout=back_off.next(lived_s=0.0))
                    continue
                lived_s = await self._outlive(worker, stop)
                served = served or worker.served
                if stopping.is_set() or worker is not self._current:
                    continue
                self._current = None
                if worker.status == CANNOT_START and not served:
                    return False
                await self._pause(worker, back_off.next(lived_s), stop)
        finally:
            stop.cancel()
            await asyncio.gather(*(one.drain(self._drain_s()) for one in self.workers))
        return True

    async def _outlive(self, worker: WorkerProcess, stop: asyncio.Task[bool]) -> float:
        """Wait until *worker* ends or is replaced, or for *stop*; gives the seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._replaced.clear()
        replaced = loop.create_task(self._replaced.wait())
        await asyncio.wait({worker.ended, replaced, stop}, return_when=asyncio.FIRST_COMPLETED)
        replaced.cancel()
        return loop.time() - began

    async def replace(self, stopping: asyncio.Event) -> str | None:
        """Start a new worker, and retire the old one once the new one takes traffic; gives what went wrong, if so."""
        new = await self._start(self._seats[1])
        stop = asyncio.get_running_loop().create_task(stopping.wait())
        ready = asyncio.get_running_loop().create_task(new.ready(READY_S))
        try:
            await asyncio.wait({ready, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if not ready.done():
            ready.cancel()
            return "the gateway was told to stop"
        if ready.result() is None:
            fate = "ended" if new.gone else f"was not ready within {READY_S:.0f} s"
            await new.kill()
            return f"the new worker {fate}, see the log; the old one goes on"
        async with self._filling:
            old, self._current = self._current, new
            self._seats = self._seats[::-1]
            self._replaced.set()
        if old is not None:
            await old.ask("retire")
            await old.expire(self._drain_s())
        return None

    async def _fill(self) -> WorkerProcess:
        async with self._filling:
            if self._current is None:
                self._current = await self._start(self._seats[0])
            return self._current

    async def _start(self, seat: int) -> WorkerProcess:
        worker = await WorkerProcess.start(self._prepare(self.number, seat))
        self.workers.append(worker)
        worker.ended.add_done_callback(lambda _: self._forget(worker))
        self._changed()
        return worker

    def _forget(self, worker: WorkerProcess) -> None:
        self.workers.remove(worker)
        self._changed()

    async def _pause(self, worker: WorkerProcess, back_off_s: float, stop: asyncio.Task[bool]) -> None:
        """Wait before the next start; connections wait with us once, and go elsewhere when workers keep ending."""
        log.error("worker ended", place=self.number, status=worker.status, restart_in_s=back_off_s)
        self._telemetry.add(metrics.RESTARTS, 1)
        if back_off_s > 2 * BACK_OFF_FIRST_S:
            self._listeners.drop(self.number)
        await asyncio.wait({stop}, timeout=back_off_s)
