"""The control socket: how `gateway reload` and `gateway restart` reach the parent, and hear what came of it.

It is `control.sock` in the state directory; whoever may write there may give orders.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

NAME: Final = "control.sock"
ORDER_S: Final = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an order: *problems* for which nothing changed, what is *waiting* for a later step, the version."""

    problems: list[str]
    waiting: list[str]
    version: str


class Control:
    """Takes orders, a line of text each, and answers each with its outcome as JSON."""

    def __init__(self, directory: Path, orders: Mapping[str, Callable[[], Awaitable[Outcome]]]) -> None:
        """Take the state directory, and what to do by the name of the order."""
        self._directory = directory
        self._orders = orders

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take orders while the block runs."""
        path = self._directory / NAME
        path.unlink(missing_ok=True)  # Of a parent that was killed.
        listener = socket.socket(socket.AF_UNIX)
        with _short(self._directory) as name:
            listener.bind(name)
        path.chmod(0o600)
        server = await asyncio.start_unix_server(self._serve, sock=listener)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(ORDER_S):
                order = (await reader.readline()).decode().strip()
            work = self._orders.get(order)
            if work is not None:
                writer.write(json.dumps(asdict(await work())).encode() + b"\n")
                async with asyncio.timeout(ORDER_S):
                    await writer.drain()
        writer.close()


def give_order(directory: Path, order: str, timeout_s: float) -> Outcome:
    """Have the parent that works in *directory* carry out an order.

    Raises FileNotFoundError or ConnectionRefusedError when there is none, other OSErrors when it does not answer.
    """
    with socket.socket(socket.AF_UNIX) as client, _short(directory) as name:
        client.settimeout(timeout_s)
        client.connect(name)
        client.sendall(order.encode() + b"\n")
        with client.makefile("rb") as answer:
            line = answer.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("the gateway ended before it answered")
    return Outcome(**json.loads(line))


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """Give a name of the socket that fits into an address, however long the directory's own is (Linux)."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{NAME}" if sys.platform == "linux" else str(directory / NAME)
    finally:
        os.close(handle)
