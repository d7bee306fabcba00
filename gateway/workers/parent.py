"""The parent process: serves nothing; keeps a worker in each place, and has them reload or begin anew when it is told.

What is told it comes as a signal or through its control socket. Only the parent reads the settings file: a worker that
is started again has the settings that are in force, whatever the file says by then.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.settings.changes import Needs, adopted
from gateway.settings.compile import version_of
from gateway.settings.handover import handed_over
from gateway.settings.load import load
from gateway.settings.problems import SettingsError
from gateway.telemetry import metrics
from gateway.telemetry.telemetry import Telemetry
from gateway.workers.control import Control, Outcome
from gateway.workers.files import WorkersFile
from gateway.workers.listeners import Listeners
from gateway.workers.place import Place
from gateway.workers.process import Start
from gateway.workers.watch import changes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.settings.schema import Config
    from gateway.workers.process import WorkerProcess

REMEDIES: Final = {Needs.RESTART: "gateway restart", Needs.START: "a stop and a start"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Crew:
    """How many workers to keep, by which command, and the settings with the file and environment that they are from.

    With *watch* a file that changes is reloaded without being told.
    """

    count: int
    command: Sequence[str]
    environ: Mapping[str, str]
    config_file: Path
    config: Config
    watch: bool = False


class Parent:
    """Keeps a crew of workers until told to stop."""

    def __init__(self, crew: Crew) -> None:
        """Bind the addresses and prepare the state directory; nothing is started. Raises AddressTaken and OSError."""
        self._crew = crew
        self._config = crew.config
        self._since = time.time()
        self._stopping = asyncio.Event()
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Outcome]] = set()
        directory = crew.config.state_directory
        counters = directory / "counters"
        counters.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._listeners = Listeners(crew.config.listen, crew.config.sidecar)
        for old in counters.glob("*.counters"):
            old.unlink()
        self._telemetry = Telemetry(counters / "parent.counters")
        self._file = WorkersFile(directory)
        self._control = Control(directory, {"reload": self.reload, "restart": self.restart})
        self._places = [
            Place(
                *(number, (number, number + crew.count), self._listeners, self._telemetry),
                prepare=self._start,
                changed=self._note,
                drain_s=lambda: self._config.drain.grace_s + self._config.drain.timeout_s,
            )
            for number in range(crew.count)
        ]
        self._telemetry.set(metrics.CONFIG_RELOADED, 1)
        for action, result in ((action, result) for action in ("reload", "restart") for result in ("done", "failed")):
            self._telemetry.add(metrics.CONFIG_CHANGES, 0, action, result)

    async def run(self) -> int:
        """Keep the workers running until SIGTERM or SIGINT; the exit status is 1 when they could not start.

        SIGHUP reloads the settings, SIGUSR2 replaces the workers one after the other.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._begin, self.reload)
        loop.add_signal_handler(signal.SIGUSR2, self._begin, self.restart)
        watching = loop.create_task(self._watch())
        try:
            async with self._control.listening():
                kept = await asyncio.gather(*(self._keep(place) for place in self._places))
            await asyncio.gather(*self._tasks)
        finally:
            watching.cancel()
            self._listeners.close()
            self._file.remove()
            self._telemetry.close()
        return 0 if all(kept) else 1

    async def reload(self) -> Outcome:
        """Have all workers take up what the file says now; all of them do, or none does."""
        return await self._change("reload", Needs.RELOAD, self._swap)

    async def restart(self) -> Outcome:
        """Replace all workers, one after the other, by new ones with what the file says now."""
        return await self._change("restart", Needs.RESTART, self._replace)

    async def _change(
        self, action: str, step: Needs, work: Callable[[Config, Config], Awaitable[list[str]]]
    ) -> Outcome:
        """Read the file, and do *work* with what can be changed by this *step*; problems leave all as it is."""
        async with self._changing:
            problems: list[str]
            held: dict[str, Needs] = {}
            try:
                wanted = await asyncio.to_thread(load, self._crew.config_file, self._crew.environ)
            except SettingsError as error:
                problems = str(error).splitlines()
            else:
                config, held = adopted(self._config, wanted, step)
                problems = await work(config, self._config)
            self._telemetry.add(metrics.CONFIG_CHANGES, 1, action, "failed" if problems else "done")
            self._telemetry.set(metrics.CONFIG_RELOADED, not problems)
            waiting = [f"{name}: a change needs {REMEDIES[needs]}" for name, needs in held.items()]
            version = version_of(self._config)
            if problems:
                log.error("settings refused", action=action, problems=problems, config_version=version)
                return Outcome(problems, [], version)
            log.info("settings taken up", action=action, config_version=version, waiting=waiting)
            return Outcome([], waiting, version)

    async def _swap(self, config: Config, _before: Config) -> list[str]:
        """Let every worker prepare, and go over to the new settings only when all are prepared."""
        workers = [worker for place in self._places for worker in place.workers]
        since = time.time()
        order = {"settings": handed_over(config), "since": since}
        problems = await asyncio.gather(*(worker.ask("prepare", **order) for worker in workers))
        if any(problems):
            await asyncio.gather(*(worker.ask("abandon") for worker in workers))
            return sorted({problem for problem in problems if problem})
        self._config, self._since = config, since
        # Who began meanwhile began with the old settings.
        late = [worker for place in self._places for worker in place.workers if worker not in workers]
        await asyncio.gather(
            *(_go_over(worker, {}) for worker in workers), *(_go_over(worker, order) for worker in late)
        )
        return []

    async def _replace(self, config: Config, before: Config) -> list[str]:
        """Replace the workers; as long as no new one became ready the settings stay as they were."""
        since, self._config, self._since = self._since, config, time.time()
        for done, place in enumerate(self._places):
            problem = await place.replace(self._stopping)
            if problem is not None and not done:
                self._config, self._since = before, since
                return [problem]
            if problem is not None:
                return [f"{problem}; {done} of {len(self._places)} workers have begun anew"]
        return []

    async def _watch(self) -> None:
        """Reload whenever the file has changed, if that is wanted."""
        if self._crew.watch:
            async for _ in changes(self._crew.config_file):
                await self.reload()

    def _stop(self) -> None:
        """Let the workers end; the sockets are theirs alone from now on, and closed when they close them."""
        self._listeners.close()
        self._stopping.set()

    def _begin(self, change: Callable[[], Awaitable[Outcome]]) -> None:
        """Begin what a signal wants."""
        task = asyncio.ensure_future(change())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, place: Place) -> bool:
        try:
            return await place.keep(self._stopping)
        finally:
            self._stop()

    def _start(self, place: int, seat: int) -> Start:
        return Start(
            command=self._crew.command,
            environ=self._crew.environ,
            settings=lambda: {"config": handed_over(self._config), "since": self._since},
            seat=seat,
            public=self._listeners.public(place),
            internal=self._listeners.internal,
            decisions=self._listeners.decisions,
            reports=self._listeners.reports,
        )

    def _note(self) -> None:
        """Say which workers run."""
        pids = [worker.pid for place in self._places for worker in place.workers]
        self._telemetry.set(metrics.WORKERS, len(pids))
        self._file.write(pids)


async def _go_over(worker: WorkerProcess, order: dict[str, Any]) -> None:
    """Have a worker go over to what it has prepared, or to what *order* has; one that cannot is killed.

    Its place is filled again, with the new settings.
    """
    problem = (await worker.ask("prepare", **order) if order else None) or await worker.ask("commit")
    if problem:
        log.error("worker killed", pid=worker.pid, reason=problem)
        await worker.kill()
