"""The channel between the parent and one worker: a pair of sockets, a line of JSON for each message.

Its end is how a worker learns that its parent is gone, whatever ended it.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import socket

LINE_MAX_BYTES: Final = 16 * 1024 * 1024


class ChannelClosed(Exception):
    """The process at the other end has ended."""


class Channel:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the streams of a connected socket."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, end: socket.socket) -> Self:
        """Open the channel on a connected socket, which it then owns."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LINE_MAX_BYTES))

    def send(self, message: dict[str, Any]) -> None:
        """Send *message*; to a process that has ended it goes nowhere."""
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any]:
        """Give the next message; raises ChannelClosed."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            line = b""
        if not line.endswith(b"\n"):
            raise ChannelClosed
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
