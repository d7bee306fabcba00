"""A worker's own side: takes its settings and sockets from the parent, serves, and carries out its orders."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway import VERSION
from gateway.app import serve
from gateway.proxy.listening import Sockets
from gateway.settings.handover import taken_over
from gateway.telemetry.logs import configure_logs
from gateway.workers.channel import Channel, ChannelClosed

if TYPE_CHECKING:
    from gateway.assembly import Worker

READY_LOOK_S: Final = 0.02

log = structlog.get_logger()


async def work(channel: int, public: int, internal: int, seat: int, **sidecar: int | None) -> None:
    """Be a worker with these inherited sockets, those of the *sidecar* too, until told to end or the parent is gone.

    Raises ChannelClosed when it is gone already, otherwise what `serve` does.
    """
    parent = await Channel.on(socket.socket(fileno=channel))
    settings = (await parent.receive())["settings"]
    config = taken_over(settings["config"])
    configure_logs(config.log.level, config.log.format)
    crew = _Orders(parent)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, crew.stop)
    more = {name: socket.socket(fileno=number) for name, number in sidecar.items() if number is not None}
    sockets = Sockets(socket.socket(fileno=public), socket.socket(fileno=internal), **more)
    await serve(config, settings["since"], seat, sockets, crew.obey)


class _Orders:
    """Carries out what the parent wants, one order after the other."""

    def __init__(self, parent: Channel) -> None:
        self._parent = parent
        self._stopping = asyncio.Event()
        self._retiring = False

    def stop(self) -> None:
        """End in order."""
        self._stopping.set()

    async def obey(self, worker: Worker) -> bool:
        """Tell the parent when this worker is ready, and do what it says until the end; True when replaced."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._announce(worker)), loop.create_task(self._listen(worker))]
        try:
            await self._stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._retiring

    async def _announce(self, worker: Worker) -> None:
        while not worker.health.ready:  # noqa: ASYNC110  # health is asked, it does not tell
            await asyncio.sleep(READY_LOOK_S)
        self._parent.send({"ready": VERSION})

    async def _listen(self, worker: Worker) -> None:
        try:
            while True:
                message = await self._parent.receive()
                problem = await self._carry_out(worker, message)
                self._parent.send({"order": message["order"], "problem": problem})
        except ChannelClosed:
            log.warning("parent gone")
        finally:
            self._stopping.set()

    async def _carry_out(self, worker: Worker, message: dict[str, Any]) -> str | None:
        """Do it, what changes anything between two requests; gives what went wrong."""
        match message["order"]:
            case "prepare":
                try:
                    await worker.reload.prepare(taken_over(message["settings"]), message["since"])
                except ValueError as error:
                    return str(error)
            case "commit":
                worker.reload.commit()
            case "abandon":
                worker.reload.abandon()
            case "retire":
                self._retiring = True
                self._stopping.set()
        return None
