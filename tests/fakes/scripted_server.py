"""A server that says exactly what the test tells it to, byte by byte, which no real server can be made to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class ScriptedServer:
    """Accepts one client at a time on 127.0.0.1 or a Unix socket; *heard* are the chunks as they were read."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.greeting = b""
        self.port = 0
        self._changed = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def start(self, path: Path | None = None) -> None:
        if path is not None:
            self._server = await asyncio.start_unix_server(self._serve, path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.hang_up()
            await self._server.wait_closed()

    def send(self, data: bytes) -> None:
        """Say *data* to the client."""
        assert self._writer is not None
        self._writer.write(data)

    def hang_up(self) -> None:
        """End the client's connection."""
        if self._writer is not None:
            self._writer.close()

    async def hears(self, text: bytes) -> None:
        """Wait until the client has said *text*; raises TimeoutError after 5 s."""
        async with asyncio.timeout(5):
            while text not in b"".join(self.heard):
                await self._changed.wait()
                self._changed.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        writer.write(self.greeting)
        try:
            while data := await reader.read(1 << 20):
                self.heard.append(data)
                self._changed.set()
        except ConnectionError:
            pass
        finally:
            writer.close()
