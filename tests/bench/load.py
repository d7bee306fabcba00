"""The load: keep-alive connections that ask again as soon as they were answered. wrk if it is there, else this file."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 64
FIELDS = ("User-Agent: bench/1.0", "Accept: application/json", "Accept-Encoding: gzip, deflate")
_SCRIPT = Path(__file__).with_name("load.lua")
_WRK_REQUESTS = re.compile(r"(\d+) requests in ([0-9.]+)s")
_WRK_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")


class Asking(asyncio.Protocol):
    """Sends a request, waits for an answer of known length, and sends the next."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._missing = 0
        self.answered = 0
        self.bad = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            head = data.index(b"\r\n\r\n") + 4
            length = re.search(rb"(?i)content-length: (\d+)", data[:head])
            assert length is not None
            self._missing = head + int(length[1])
            self.bad += not data.startswith(b"HTTP/1.1 200")
        self._missing -= len(data)
        if not self._missing:
            self.answered += 1
            self._transport.write(next(self._requests))


async def ask(port: int, path: str, key: str, seconds: float) -> tuple[int, int, float]:
    loop = asyncio.get_running_loop()
    fields = "\r\n".join((f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {key}", *FIELDS))
    requests = itertools.cycle([f"GET {path}{id_} HTTP/1.1\r\n{fields}\r\n\r\n".encode() for id_ in range(1, 101)])
    began = time.perf_counter()
    clients = [
        (await loop.create_connection(lambda: Asking(requests), "127.0.0.1", port))[1] for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    return sum(client.answered for client in clients), sum(client.bad for client in clients), took


def command(port: int, path: str, key: str, seconds: float) -> list[str]:
    """Give the command line that asks for resources below *path*, to be run on a core of its own."""
    wrk = shutil.which("wrk")
    if wrk:
        fields = [part for field in (f"Authorization: Bearer {key}", *FIELDS) for part in ("-H", field)]
        how = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}", "-s", str(_SCRIPT)]
        return [wrk, *how, *fields, f"http://127.0.0.1:{port}", "--", path]
    return [sys.executable, "-m", "tests.bench.load", str(port), path, key, str(seconds)]


def parse(output: str) -> tuple[int, float]:
    """Read what the command printed: requests answered, and seconds; raises ValueError when any was not a 200."""
    bad = _WRK_BAD.search(output)
    counted = _WRK_REQUESTS.search(output)
    if bad or counted is None:
        raise ValueError(output)
    return int(counted[1]), float(counted[2])


if __name__ == "__main__":
    import uvloop

    answered, bad, took = uvloop.run(ask(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])))
    sys.stdout.write(f"{answered} requests in {took:.2f}s\n")
    if bad:
        sys.stdout.write(f"Non-2xx or 3xx responses: {bad}\n")
