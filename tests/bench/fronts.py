"""What asking for decisions adds to a request of a proxy that others use: beside the same proxy that asks nobody.

Both run with the configuration that is rendered for the proxy, one of them without the questions in it, and a request
goes through each in turn on one connection, so that what disturbs this machine disturbs both alike.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli.render import render
from gateway.embedded.listening import free_port
from tests.bench.front_configurations import FRONTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from tests.bench.front_configurations import Front
    from tests.bench.stack import Running

REQUESTS: Final = 700
WARM_UP: Final = 200
"""With those that count no more than the 1,000 after which nginx ends a connection."""
PLACES: Final = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: (\d+)")


def measured_fronts(running: Running, directory: Path, stack: ExitStack, core: str) -> Iterator[str]:
    """Measure every proxy that configurations are rendered for, and give a line about each."""
    for name in sorted(render.commands):
        front = FRONTS.get(name)
        program = None if front is None else shutil.which(front.program, path=PLACES)
        if front is None or program is None:
            yield f"{name:34}not measured: {'not known here' if front is None else 'not installed'}"
            continue
        ports = _started(front, program, running, directory, stack, core)
        yield _line(name, *(_measured(port, running.key) for port in ports))


def _started(
    front: Front, program: str, running: Running, directory: Path, stack: ExitStack, core: str
) -> tuple[int, int]:
    """Start the proxy on *core*, without questions and with them; give both ports."""
    ports = free_port(), free_port()
    for port, configuration in zip(ports, (front.alone, front.asking), strict=True):
        place = directory / f"{front.program}-{port}"
        place.mkdir()
        file, log = place / front.file, place / "log"
        file.write_text(configuration(running, port, place))
        with log.open("wb") as output:
            command = ["taskset", "-c", core, *front.command(program, file, place)]
            process = subprocess.Popen(command, stdout=output, stderr=output)
        stack.callback(process.wait)
        stack.callback(process.terminate)
    return ports


def _measured(port: int, key: str) -> Iterator[float]:
    """Give the microseconds of a request at a time, after some that do not count."""
    request = f"GET /api/public/budgets/7 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    with _connected(port) as connection:
        number = 0
        while True:
            began = time.perf_counter()
            connection.sendall(request)
            _read_answer(connection)
            number += 1
            if number > WARM_UP:
                yield (time.perf_counter() - began) * 1e6


def _connected(port: int) -> socket.socket:
    due = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), 10)
        except OSError:
            if time.monotonic() > due:
                raise
            time.sleep(0.05)  # noqa: TID251  # a benchmark serves nobody
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def _read_answer(connection: socket.socket) -> None:
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = connection.recv(65536)
        assert piece, "the proxy ended the connection"
        data += piece
    length = _LENGTH.search(data, 0, end)
    assert data.startswith(b"HTTP/1.1 200"), data[:200]
    assert length is not None
    missing = int(length[1]) - (len(data) - end - 4)
    while missing > 0:
        piece = connection.recv(65536)
        assert piece, "the proxy ended the connection"
        missing -= len(piece)


def _line(name: str, alone: Iterator[float], asking: Iterator[float]) -> str:
    pairs = [(next(alone), next(asking)) for _ in range(REQUESTS)]
    shown = []
    for share in (50, 99):
        bare, whole = (statistics.quantiles(times, n=100)[share - 1] for times in zip(*pairs, strict=True))
        shown.append(f"{bare:9,.0f} {whole:9,.0f} {whole - bare:+9,.0f}")
    return f"{name:34}{'   '.join(shown)}"
