"""Gateways that start at once: forked from a process that has imported all that they need, and does nothing else.

Imports are nearly all that a start costs, and the tests start hundreds. What is forked is a process of its own, with
its session, environment, sockets and signals; the one thing it has not done is `exec`. The start as users know it is
tested by the gateway that most tests share, by the demos, and by whatever runs from another directory.
Linux only: requests are datagrams that keep their boundaries.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import functools
import gc
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parent.parent
WORKER = (sys.executable, "-m", "gateway", "worker")
_TIMEOUT_S = 20.0
_REQUEST_BYTES = 1 << 17
_FILES = 16
_ABOVE = 512
"""Above all numbers that a file of a process that starts has."""


class Forked:
    """A `gateway` that was forked, with the members of `subprocess.Popen` that tests use.

    *files* are open here, by the number that each will have there; it may open as many *descriptors* as are given.
    """

    def __init__(
        self,
        address: str,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        directory: Path,
        files: Mapping[int, int],
        descriptors: int | None = None,
    ) -> None:
        self.returncode: int | None = None
        self.attendant = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.attendant.settimeout(_TIMEOUT_S)
        self.attendant.connect(address)
        request = {"arguments": arguments, "environ": dict(environ), "directory": str(directory), "files": list(files)}
        request["descriptors"] = descriptors
        socket.send_fds(self.attendant, [json.dumps(request).encode()], list(files.values()))
        self.pid = int(self.attendant.recv(32))

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self.attendant], [], [], 0)[0]:
            self.ended(self.attendant.recv(32))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self.attendant], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("gateway", timeout or 0)
            self.ended(self.attendant.recv(32))
        assert self.returncode is not None
        return self.returncode

    def ended(self, status: bytes) -> None:
        """Take what the attendant says of its end."""
        self.returncode = int(status)
        self.attendant.close()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedWorker:
    """The same with the members of `asyncio.subprocess.Process`, for the parent of a worker."""

    def __init__(self, forked: Forked) -> None:
        self._forked = forked
        self.pid, self.send_signal, self.kill = forked.pid, forked.send_signal, forked.kill

    @property
    def returncode(self) -> int | None:
        return self._forked.returncode

    async def wait(self) -> int:
        self._forked.attendant.setblocking(False)
        self._forked.ended(await asyncio.get_running_loop().sock_recv(self._forked.attendant, 32))
        return self._forked.wait()


@functools.cache
def nursery() -> str:
    """The address to ask for a process at; it is there as long as this process."""
    directory = tempfile.mkdtemp(prefix="nursery-")
    address = f"{directory}/socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        serving = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            cwd=ROOT,
            start_new_session=True,
        )

    def close() -> None:
        serving.communicate(timeout=_TIMEOUT_S)
        os.unlink(address)
        os.rmdir(directory)

    atexit.register(close)
    return address


def fork(arguments: Sequence[str], environ: Mapping[str, str], output: int, descriptors: int | None = None) -> Forked:
    """Start `gateway` with *arguments*, which says everything to *output*; its workers are forked too."""
    return Forked(nursery(), arguments, environ, ROOT, {1: output, 2: output}, descriptors)


def _serve(number: int) -> list[str]:
    """Fork whoever is asked for until the end of standard input; gives, in each that was forked, its arguments."""
    listener = socket.socket(fileno=number)
    address = listener.getsockname()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        attendant, _ = listener.accept()
        if not os.fork():
            listener.detach()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _attend(attendant, address)
        attendant.close()
    sys.exit()


def _attend(client: socket.socket, address: str) -> list[str]:
    """Start one process and say how it ends."""
    message, files, _, _ = socket.recv_fds(client, _REQUEST_BYTES, _FILES)
    pid = os.fork()
    if not pid:
        client.detach()
        return _become(json.loads(message), files, address)
    for file in files:
        os.close(file)
    with contextlib.suppress(BrokenPipeError):
        client.send(b"%d" % pid)
        _, status = os.waitpid(pid, 0)
        client.send(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(request: dict[str, Any], files: list[int], address: str) -> list[str]:
    """Have nothing but what the request says, as after `exec`."""
    os.setsid()
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, _ABOVE) for file in files]
    os.closerange(0, _ABOVE)
    os.open(os.devnull, os.O_RDONLY)
    for file, number in zip(moved, request["files"], strict=True):
        os.dup2(file, number)
        os.close(file)
    descriptors: int | None = request["descriptors"]
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environ"])

    async def start(*command: str, env: Mapping[str, str], pass_fds: Sequence[int], **_: Any) -> ForkedWorker:
        assert command[: len(WORKER)] == WORKER
        files = {number: number for number in (1, 2, *pass_fds)}
        return ForkedWorker(Forked(address, command[len(WORKER) - 1 :], env, Path.cwd(), files, descriptors))

    asyncio.create_subprocess_exec = start  # type: ignore[assignment]  # what the parent of workers uses of it
    arguments: list[str] = request["arguments"]
    return arguments


if __name__ == "__main__":
    import uvloop  # noqa: F401  # what a worker imports while it runs

    import gateway.adapters.journal
    import gateway.app
    import gateway.cli.run
    import gateway.workers.listeners
    import gateway.workers.parent
    import gateway.workers.worker  # noqa: F401  # as above
    from gateway.cli.main import main

    gc.freeze()
    main(_serve(int(sys.argv[1])))
