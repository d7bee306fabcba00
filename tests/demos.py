"""`gateway demo` as a process, for tests that want everything: start it, look at it, end it, and see what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.embedded import placement
from gateway.embedded.listening import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 30.0
_POLL_S, _POLL_MAX_S = 0.02, 0.1


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Ask *condition* until it is true, less often with time, and say whether that came within *timeout_s*."""
    deadline, pause_s = time.monotonic() + timeout_s, _POLL_S
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(pause_s)  # noqa: TID251  # a test watches another process and serves nobody meanwhile
        pause_s = min(pause_s * 1.25, _POLL_MAX_S)
    return held


class DemoProcess:
    """One `gateway demo` in a session of its own, with its files in *directory*, and on ports of its own.

    *state* is the directory of its databases, by default below *directory*.
    """

    def __init__(self, directory: Path, state: Path | None = None) -> None:
        self.state = state or directory / "state"
        self.ready_file = directory / "ready.json"
        self.port, self.admin_port = free_port(), free_port()
        self._output = directory / "output"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The demo's own process, once it was started."""
        assert self._process
        return self._process

    @property
    def output(self) -> str:
        """All that it said so far, on stdout and stderr."""
        return self._output.read_text()

    @property
    def ready(self) -> dict[str, Any]:
        """What the ready file says."""
        document: dict[str, Any] = json.loads(self.ready_file.read_text())
        return document

    def begin(self) -> None:
        """Start the process and do not wait for anything."""
        ports = ["--port", str(self.port), "--admin-port", str(self.admin_port)]
        files: list[str | Path] = [
            "--data",
            self.state,
            "--ready-file",
            self.ready_file,
            "--config",
            ROOT / "gateway.yaml",
        ]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "demo", *ports, *files],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start(self) -> dict[str, Any]:
        """Start the process, wait until it serves, and give what the ready file says."""
        self.ready_file.unlink(missing_ok=True)  # A demo that was killed leaves one.
        self.begin()
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None, START_TIMEOUT_S)
        assert self.ready_file.exists(), self.output
        return self.ready

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send *number* and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(10)

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def left_behind(self) -> list[str]:
        """Whatever of it runs, but its own process."""
        return [f"{pid} {said!r}" for pid, said in self.others().items()]

    def others(self) -> dict[int, bytes]:
        """Every process, but the demo's own, whose arguments or environment name this demo's state, with its start."""
        homes = {os.fsencode(home) for home in (self.state, (self.state / "postgres").resolve())}
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                said = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
            except OSError:
                continue  # It ended meanwhile.
            if int(directory.name) != self.process.pid and any(home in said for home in homes):
                found[int(directory.name)] = said[:200]
        return found

    def leave_nothing(self) -> None:
        """End it at once, whatever it is doing, and fail when something outlives it."""
        self.process.kill()
        self.process.wait(10)
        assert wait_until(lambda: not self.left_behind(), 10), self.left_behind()


@pytest.fixture
def new_demo(tmp_path: Path) -> Iterator[DemoProcess]:
    """A demo that is not started yet and has never been; whatever the test does, nothing of it is left afterwards."""
    demo = DemoProcess(tmp_path)
    try:
        yield demo
        demo.leave_nothing()
    finally:
        placement.forget(demo.state / "postgres")
