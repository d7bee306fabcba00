"""Child processes that never outlive us, never hear our terminal's Ctrl-C, and leave a log.

Each child leads its own session: a Ctrl-C would otherwise reach Postgres in the same moment as the gateway, and the
drain would lose its database. On Linux the kernel signals the child when the thread that forked it ends, however it
ends, which is why children are spawned from the main thread only. Other systems have no such signal: there a parent
that was killed with SIGKILL leaves its children running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.embedded.polling import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.embedded.placement import Account

_PR_SET_PDEATHSIG = 1
_KILL_TIMEOUT_S = 2.0
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Command:
    """What to run. The kernel sends it *death_signal* when we die; without *account* it runs as ourselves."""

    name: str
    arguments: Sequence[str | Path]
    log: Path
    death_signal: signal.Signals = signal.SIGTERM
    account: Account | None = None
    environ: Mapping[str, str] | None = None
    directory: Path | None = None


class Child:
    """One running child process, from its start to its end."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's and its session's too."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet; a paused child is alive."""
        return self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, for people: "signal 9" or "exit code 1"."""
        code = self._process.poll()
        if code is None:
            return "still running"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    @property
    def succeeded(self) -> bool:
        """Whether it ended by itself and was content."""
        return self._process.poll() == 0

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of its log, at most *count* lines that are not empty."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            text = log.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def obituary(self, fate: str) -> str:
        """What happened to it, where its log is, and on the lines below, how that ends; *fate* is a verb."""
        return "\n".join([f"{self.name} {fate} ({self.ending}); see {self.log}", *self.last_lines()])

    def send(self, number: signal.Signals) -> None:
        """Signal the child; nothing happens when it has ended."""
        if self.alive:
            self._process.send_signal(number)

    async def ended(self, timeout_s: float) -> bool:
        """Wait for its end for at most *timeout_s*, and say whether it came."""

        async def gone() -> bool:
            return not self.alive

        return await until(gone, timeout_s)

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 2.0) -> None:
        """Ask with *number*, and when *timeout_s* was not enough, kill the child and its process group."""
        self.send(number)
        self.send(signal.SIGCONT)  # Somebody may have paused it; it could not hear us.
        if not await self.ended(timeout_s):
            self.kill()
            await self.ended(_KILL_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL the child and whatever shares its process group; nothing happens when it has ended."""
        if self.alive:
            os.killpg(self.pid, signal.SIGKILL)


def spawn(command: Command) -> Child:
    """Start *command* with its output in its log, which begins anew.

    Raises OSError when the program cannot be started, and RuntimeError outside the main thread, whose end the child
    could not tell from ours.
    """
    if threading.current_thread() is not threading.main_thread():
        message = "children must be spawned from the main thread"
        raise RuntimeError(message)
    account = command.account
    with command.log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # the caller's own fixed programs, no shell
            [str(argument) for argument in command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=command.directory,
            env=command.environ,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            start_new_session=True,
            preexec_fn=_dies_with_us(command.death_signal),  # noqa: PLW1509  # one system call, no lock is taken
        )
    return Child(command.name, process, command.log)


def _dies_with_us(number: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def ask_the_kernel() -> None:
        # Runs after the change of user, which would clear the request.
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))
            if os.getppid() != parent:
                os._exit(1)  # We died between the fork and the request.

    return ask_the_kernel
