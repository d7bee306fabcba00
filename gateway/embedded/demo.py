"""Runs the whole gateway on one machine: databases, demo backends and the gateway itself, each a process of its own.

The gateway runs as in production, from the same `gateway.yaml`; only its environment is ours. What ends by itself is
reported and stays away, so that people can watch the gateway do without it; only the gateway's own end is ours too.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gateway.adapters.postgres.migrate import migrate
from gateway.embedded.errors import EmbeddedError
from gateway.embedded.listening import LOOPBACK, is_free
from gateway.embedded.parts import Parts
from gateway.embedded.polling import until
from gateway.embedded.ready import Running, announce
from gateway.embedded.seed import seeded
from gateway.embedded.state import State, locked

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

    from gateway.embedded.seed import Seed

First = TypeVar("First")
Second = TypeVar("Second")

_PORT_TIMEOUT_S = 5.0
_WATCH_S = 0.1


@dataclass(frozen=True)
class Options:
    """What the person at the terminal chose. *environ* is what the children inherit."""

    directory: Path
    config: Path
    port: int
    admin_port: int
    ready_file: Path | None
    environ: Mapping[str, str]


class Audience(Protocol):
    """Who is told what happens."""

    def progress(self, step: str) -> None:
        """Something that takes a moment has begun."""

    def ready(self, running: Running) -> None:
        """Everything serves."""

    def notice(self, line: str) -> None:
        """Something happened that nobody asked for."""


async def serve(options: Options, audience: Audience) -> None:
    """Run the demo until SIGINT, SIGTERM or SIGHUP; nothing of it is left on return, however it ends.

    Raises EmbeddedError when it could not start or the gateway ended by itself, MigrationError when the database could
    not be brought up to date, and OSError when the state directory cannot be used.
    """
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    with locked(options.directory) as state:
        demo = _Demo(options, state, audience)
        working = asyncio.create_task(demo.work())
        stopped = asyncio.create_task(asked_to_stop.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            stopped.cancel()
            await asyncio.gather(working, stopped, return_exceptions=True)
            await demo.stop()
        if not asked_to_stop.is_set():
            await working  # It ends by itself only to say what went wrong.


class _Demo:
    """One run, from the first process to the last."""

    def __init__(self, options: Options, state: State, audience: Audience) -> None:
        self._options = options
        self._state = state
        self._audience = audience
        self._parts = Parts(state, options.environ)

    async def work(self) -> None:
        self._forget_ready_file()  # Of a run that was killed.
        await self._require_port(self._options.port, "--port")
        await self._require_port(self._options.admin_port, "--admin-port")
        self._audience.progress("starting Postgres, Valkey, three backends and the gateway")
        # All at once: the programs need a second to load, by when the databases are there.
        seed, _ = await _both(self._start_databases(), self._start_programs())
        running = self._announce(seed)
        self._audience.ready(running)
        await self._watch(running)

    async def stop(self) -> None:
        self._forget_ready_file()
        self._audience.progress("stopping")
        await self._parts.stop()

    def _forget_ready_file(self) -> None:
        if self._options.ready_file:
            self._options.ready_file.unlink(missing_ok=True)

    async def _require_port(self, port: int, option: str) -> None:
        async def free() -> bool:
            return is_free(port)

        # After a demo that was killed, its gateway may need a moment to notice.
        if not await until(free, _PORT_TIMEOUT_S if self._state.killed else 0.0):
            message = f"port {port} is taken: stop what uses it, or choose another with {option}"
            raise EmbeddedError(message)

    async def _start_databases(self) -> Seed:
        await _both(self._parts.postgres.start(), self._parts.valkey.start())
        dsn = self._parts.postgres.dsn
        await migrate(dsn)
        return await seeded(dsn, self._state.path / "demo.json")

    async def _start_programs(self) -> None:
        options = self._options
        starting = self._parts.start_gateway(options.config, options.port, options.admin_port)
        await _both(starting, self._parts.start_backends())

    def _announce(self, seed: Seed) -> Running:
        parts = self._parts
        running = Running(
            url=f"http://{LOOPBACK}:{self._options.port}",
            admin_url=f"http://{LOOPBACK}:{self._options.admin_port}",
            seed=seed,
            postgres=parts.postgres.dsn,
            redis=parts.valkey.url,
            backends=parts.backend_urls,
            pids=parts.pids(),
            logs=self._state.log("gateway").parent,
        )
        if self._options.ready_file:
            announce(running, self._options.ready_file)
        return running

    async def _watch(self, running: Running) -> None:
        """Report what ends, and keep the ready file true, until the gateway itself ends."""
        reported: set[str] = set()
        while self._parts.gateway.alive:
            for child in self._parts.bystanders():
                if not child.alive and child.name not in reported:
                    reported.add(child.name)
                    self._audience.notice(
                        f"{child.name} ended ({child.ending}); the gateway goes on without it; "
                        "Ctrl-C and start again to bring it back"
                    )
            if self._parts.workers() != running.pids["workers"]:
                running = self._announce(running.seed)
            await asyncio.sleep(_WATCH_S)
        raise EmbeddedError(self._parts.gateway.obituary("ended"))


async def _both(first: Coroutine[Any, Any, First], second: Coroutine[Any, Any, Second]) -> tuple[First, Second]:
    """Do both at once; when one fails, end the other and raise that failure as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = group.create_task(first), group.create_task(second)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return tasks[0].result(), tasks[1].result()
