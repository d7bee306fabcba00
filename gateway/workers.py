"""The parent process: serves nothing; starts workers, starts them again when they end, and takes them down in order.

Workers are sessions of their own, so that a Ctrl-C reaches only the parent, which then drains them. A worker ends when
its parent does, whatever ends the parent (Linux).
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from gateway.telemetry import metrics
from gateway.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CANNOT_START: Final = 78
"""Exit status of a worker whose start would fail again in the same way (EX_CONFIG)."""

BACK_OFF_FIRST_S: Final = 0.1
BACK_OFF_LAST_S: Final = 5.0
SETTLED_S: Final = 5.0
PR_SET_PDEATHSIG: Final = 1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Crew:
    """How many workers to keep, by which command (a slot number is appended), and how long one may take to drain."""

    count: int
    command: Sequence[str]
    environ: Mapping[str, str]
    state_directory: Path
    drain_s: float


def end_with_parent(parent: int) -> None:
    """Make the kernel end this process when its parent ends (Linux; elsewhere an orphan has to be stopped by hand)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(0)


class WorkersFile:
    """Says which processes run: `workers.json` in the state directory, renamed into place at every change."""

    def __init__(self, directory: Path) -> None:
        """Write nothing yet."""
        self._path = directory / "workers.json"

    def write(self, workers: Sequence[int]) -> None:
        """Replace the file."""
        draft = self._path.with_suffix(".json.new")
        draft.write_text(json.dumps({"parent": os.getpid(), "workers": list(workers)}))
        draft.rename(self._path)

    def remove(self) -> None:
        """Say that nothing runs any more."""
        self._path.unlink(missing_ok=True)


class Parent:
    """Keeps a crew of workers until told to stop."""

    def __init__(self, crew: Crew) -> None:
        """Prepare the state directory; nothing is started."""
        self._crew = crew
        self._stopping = asyncio.Event()
        self._failed = False
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._file = WorkersFile(crew.state_directory)
        counters = crew.state_directory / "counters"
        counters.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in counters.glob("*.counters"):
            old.unlink()
        self._telemetry = Telemetry(counters / "parent.counters")

    async def run(self) -> int:
        """Keep the workers running until SIGTERM or SIGINT; the exit status is 1 when they could not start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            await asyncio.gather(*(self._keep(slot) for slot in range(self._crew.count)))
        finally:
            self._file.remove()
            self._telemetry.close()
        return 1 if self._failed else 0

    async def _keep(self, slot: int) -> None:
        """Keep one place filled: a worker that ends is replaced at once, one that keeps ending less and less often."""
        back_off_s = BACK_OFF_FIRST_S
        loop = asyncio.get_running_loop()
        stopping = loop.create_task(self._stopping.wait())
        while not self._stopping.is_set():
            began = loop.time()
            worker = await asyncio.create_subprocess_exec(
                *self._crew.command,
                str(slot),
                env=dict(self._crew.environ),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            self._note(slot, worker)
            ended = loop.create_task(worker.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                await self._drain(worker, ended)
                break
            self._note(slot, None)
            if worker.returncode == CANNOT_START:
                self._failed = True
                self._stopping.set()
                break
            back_off_s = BACK_OFF_FIRST_S if loop.time() - began > SETTLED_S else min(back_off_s * 2, BACK_OFF_LAST_S)
            log.error("worker ended", slot=slot, status=worker.returncode, restart_in_s=back_off_s)
            self._telemetry.add(metrics.RESTARTS, 1)
            await asyncio.wait({stopping}, timeout=back_off_s)
        stopping.cancel()
        self._note(slot, None)

    async def _drain(self, worker: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        """Ask a worker to finish; one that does not is killed."""
        if not ended.done():
            worker.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait({ended}, timeout=self._crew.drain_s)
        if not done:
            log.error("worker killed", pid=worker.pid, after_s=self._crew.drain_s)
            worker.kill()
            await ended

    def _note(self, slot: int, worker: asyncio.subprocess.Process | None) -> None:
        if worker is None:
            self._running.pop(slot, None)
        else:
            self._running[slot] = worker
        self._telemetry.set(metrics.WORKERS, len(self._running))
        self._file.write([self._running[place].pid for place in sorted(self._running)])
