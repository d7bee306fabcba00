"""Incoming requests: aiohttp's request, with the parsed message that it was made from within reach.

aiohttp keeps every property of a request in a cache that costs more than what most of ours cost to compute.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from aiohttp.streams import EmptyStreamReader

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage
    from aiohttp.streams import StreamReader

    from gateway.proxy.server import ClientConnection


class ClientRequest(Protocol):
    """One request from a client, as both tiers have it.

    *peer* is the address at the other end of its connection, empty on a Unix socket. *transport* is None once the
    client is gone.
    """

    @property
    def head(self) -> RawRequestMessage:
        """The head, as aiohttp parsed it."""

    @property
    def head_bytes(self) -> int | None:
        """The size of the head, where it is known; its parts are not larger."""

    @property
    def peer(self) -> str:
        """See above."""

    @property
    def scheme(self) -> str:
        """How the client came: http or https."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """See above."""

    @property
    def stream(self) -> StreamReader:
        """The body, as it comes."""

    @property
    def has_stream(self) -> bool:
        """Whether there is a body, be it empty."""

    @property
    def unread(self) -> bool:
        """Whether a part of the body has not come yet, or was not asked for."""

    async def drain(self) -> None:
        """Wait while the client does not read; raises ConnectionError when it is gone."""


class Incoming(web.BaseRequest):
    """A request of the complete tier."""

    head_bytes = None

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: ClientConnection,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> None:
        """Keep what aiohttp gives (aiohttp calls this, as its request factory)."""
        if protocol.is_last():
            message = message._replace(should_close=True)
        super().__init__(message, payload, protocol, writer, task, asyncio.get_running_loop())
        self.head = message
        self.stream = payload
        self.has_stream = type(payload) is not EmptyStreamReader
        peer = protocol.peername
        self.peer: str = peer[0] if isinstance(peer, tuple) else ""

    def close_after(self) -> None:
        """Have the connection end with the answer, which says so unless it has begun."""
        self.head = self.head._replace(should_close=True)

    @property
    def unread(self) -> bool:
        """Whether a part of the body has not come yet, or was not asked for."""
        return self.has_stream and not self.stream.is_eof()

    async def drain(self) -> None:
        """Wait while the client does not read; raises ConnectionError when it is gone."""
        await self.writer.drain()
