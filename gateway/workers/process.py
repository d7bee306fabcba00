"""One worker as its parent sees it: started with its settings and sockets, told what to do, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from gateway.workers.channel import Channel, ChannelClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CANNOT_START: Final = 78
"""Exit status of a worker whose start would fail again in the same way (EX_CONFIG)."""
ANSWER_S: Final = 15.0
"""How long a worker may take to answer; one that has just been started has to come up first."""
DRAIN_MARGIN_S: Final = 3.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is started with: the command, to which sockets and *seat* are appended, and its settings.

    *seat* names the files of its own that it counts in; no two workers have the same one at a time. *settings* gives
    those that are in force by then.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    settings: Callable[[], Any]
    seat: int
    public: socket.socket
    internal: socket.socket
    decisions: socket.socket | None = None
    reports: socket.socket | None = None


class WorkerProcess:
    """A worker that was started, from then to its end."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        """Take a process and the parent's end of its channel."""
        loop = asyncio.get_running_loop()
        self._process = process
        self._channel = channel
        self._asked = asyncio.Lock()
        self._ready: asyncio.Future[str | None] = loop.create_future()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = loop.create_task(self._read())
        self.ended = loop.create_task(process.wait())

    @classmethod
    async def start(cls, start: Start) -> Self:
        """Start a worker; raises OSError when the command cannot be run.

        It is a session of its own, so that a Ctrl-C reaches only the parent, which then drains it.
        """
        ours, its = socket.socketpair()
        with its:
            sockets = {"channel": its, "public": start.public, "internal": start.internal}
            optional = {"decisions": start.decisions, "reports": start.reports}
            sockets |= {name: one for name, one in optional.items() if one is not None}
            files = {name: one.fileno() for name, one in sockets.items()}
            process = await asyncio.create_subprocess_exec(
                *start.command,
                *(part for name, number in files.items() for part in (f"--{name}", str(number))),
                str(start.seat),
                env=dict(start.environ),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=tuple(files.values()),
            )
        channel = await Channel.on(ours)
        channel.send({"settings": start.settings()})
        return cls(process, channel)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.returncode

    @property
    def served(self) -> bool:
        """Whether it has become ready."""
        return self._ready.done() and self._ready.result() is not None

    @property
    def gone(self) -> bool:
        """Whether it has let go of its channel: it ends, or has ended."""
        return self._reading.done()

    async def ready(self, timeout_s: float) -> str | None:
        """Wait until it takes traffic and give its version, or None when it ended or *timeout_s* was over."""
        await asyncio.wait({self._ready}, timeout=timeout_s)
        return self._ready.result() if self._ready.done() else None

    async def ask(self, order: str, **more: Any) -> str | None:
        """Give an order and wait until it is carried out; gives what went wrong. A worker that has ended is content."""
        async with self._asked:
            if self.gone:
                return None
            self._channel.send({"order": order, **more})
            try:
                async with asyncio.timeout(ANSWER_S):
                    while (answer := await self._answers.get()).get("order") not in {order, None}:
                        pass
            except TimeoutError:
                return f"worker {self.pid} has not answered within {ANSWER_S:.0f} s"
        problem: str | None = answer.get("problem")
        return problem

    async def drain(self, timeout_s: float) -> None:
        """Have it finish what it began and end; one that takes longer than *timeout_s* is killed."""
        self._signal(signal.SIGTERM)
        await self.expire(timeout_s)

    async def expire(self, timeout_s: float) -> None:
        """Wait for its end; after *timeout_s* it is killed."""
        done, _ = await asyncio.wait({self.ended}, timeout=timeout_s + DRAIN_MARGIN_S)
        if not done:
            log.error("worker killed", pid=self.pid, after_s=timeout_s + DRAIN_MARGIN_S)
            await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        await self.ended

    def _signal(self, number: signal.Signals) -> None:
        # It may have ended already, and nobody been told yet.
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _read(self) -> None:
        """Take what the worker says, until it ends."""
        try:
            while True:
                message = await self._channel.receive()
                if "ready" in message:
                    self._ready.set_result(message["ready"])
                else:
                    self._answers.put_nowait(message)
        except ChannelClosed:
            self._channel.close()
            if not self._ready.done():
                self._ready.set_result(None)
            self._answers.put_nowait({})
