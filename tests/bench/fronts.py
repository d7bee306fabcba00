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
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.cli.render import render
from gateway.embedded.listening import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from tests.bench.stack import Running

REQUESTS: Final = 1500
WARM_UP: Final = 300
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: (\d+)")


@dataclass(frozen=True)
class Front:
    """A proxy: its *program*, what of a rendered *configuration* has to be different here, and how it is started.

    *asking_nobody* takes the questions out of a configuration and sends all requests to the upstream of budgets.
    """

    program: str
    here: Callable[[str, Path], str]
    asking_nobody: Callable[[str], str]
    command: Callable[[str, Path, Path], list[str]]


def _nginx_here(text: str, directory: Path) -> str:
    places = "".join(
        f"    {name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    return user + text.replace("http {\n", "http {\n" + places, 1).replace("processes auto;", "processes 1;", 1)


def _nginx_asking_nobody(text: str) -> str:
    text, questions = re.subn(r"\n *auth_request /.*;", "", text)
    text, choices = re.subn(r"auth_request_set \$gateway_upstream .*;", "set $gateway_upstream budgets;", text)
    text, targets = re.subn(r"auth_request_set \$gateway_target .*;", "set $gateway_target $request_uri;", text)
    assert (questions, choices, targets) == (1, 1, 1), "the rendered nginx.conf asks otherwise now"
    return text


def _nginx_command(program: str, file: Path, directory: Path) -> list[str]:
    errors = directory / "errors"
    return [
        program,
        "-p",
        str(directory),
        "-e",
        str(errors),
        "-c",
        str(file),
        "-g",
        f"daemon off; pid {directory}/pid;",
    ]


FRONTS: Final = {"nginx": Front("nginx", _nginx_here, _nginx_asking_nobody, _nginx_command)}
"""By the names of `gateway render`."""


def measured_fronts(running: Running, directory: Path, stack: ExitStack, core: str) -> Iterator[str]:
    """Measure every proxy that configurations are rendered for, and give a line about each."""
    for name in sorted(render.commands):
        front = FRONTS.get(name)
        program = None if front is None else shutil.which(front.program)
        if front is None or program is None:
            yield f"{name:34}not measured: {'not known here' if front is None else 'not installed'}"
            continue
        ports = _started(name, front, program, running, directory, stack, core)
        yield _line(name, *(_measured(port, running.key) for port in ports))


def _started(
    name: str, front: Front, program: str, running: Running, directory: Path, stack: ExitStack, core: str
) -> tuple[int, int]:
    """Start the proxy on *core*, without questions and with them; give both ports."""
    ports = free_port(), free_port()
    for port, change in zip(ports, (front.asking_nobody, str), strict=True):
        place = directory / f"{name}-{port}"
        place.mkdir()
        file = place / "configuration"
        file.write_text(change(front.here(running.rendered(name, f"127.0.0.1:{port}"), place)))
        process = subprocess.Popen(["taskset", "-c", core, *front.command(program, file, place)])
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
        data += connection.recv(65536)
    length = _LENGTH.search(data, 0, end)
    assert data.startswith(b"HTTP/1.1 200"), data[:200]
    assert length is not None
    missing = int(length[1]) - (len(data) - end - 4)
    while missing > 0:
        missing -= len(connection.recv(65536))


def _line(name: str, alone: Iterator[float], asking: Iterator[float]) -> str:
    pairs = [(next(alone), next(asking)) for _ in range(REQUESTS)]
    shown = []
    for share in (50, 99):
        bare, whole = (statistics.quantiles(times, n=100)[share - 1] for times in zip(*pairs, strict=True))
        shown.append(f"{bare:9,.0f} {whole:9,.0f} {whole - bare:+9,.0f}")
    return f"{name:34}{'   '.join(shown)}"
