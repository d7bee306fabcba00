"""Incoming requests: aiohttp's request, with the parsed message that it was made from within reach.

aiohttp keeps every property of a request in a cache that costs more than what most of ours cost to compute.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiohttp import hdrs, web
from aiohttp.streams import EmptyStreamReader

from gateway.proxy.head import RequestHead

if TYPE_CHECKING:
    from collections.abc import Callable

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
    def head(self) -> RequestHead:
        """The head."""

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
        """Whether what comes next is not the next request: a part of the body, or another protocol."""

    async def drain(self) -> None:
        """Wait while the client does not read; raises ConnectionError when it is gone."""


class _Receiver:
    """What aiohttp feeds with a connection's bytes once its protocol has changed."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass *data* on; there is no end and nothing is left over (aiohttp calls this)."""
        self._receive(data)
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: the request is cancelled then (aiohttp calls this)."""


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
        if protocol.is_last() and not message.upgrade:
            message = message._replace(should_close=True)
        super().__init__(message, payload, protocol, writer, task, asyncio.get_running_loop())
        self.head = RequestHead.from_message(message)
        self.stream = payload
        self.has_stream = type(payload) is not EmptyStreamReader
        self.peer = protocol.peer

    def close_after(self) -> None:
        """Have the connection end with the answer, which says so unless it has begun."""
        self.head.should_close = True

    @property
    def unread(self) -> bool:
        """Whether what comes next is not the next request: a part of the body, or another protocol."""
        head = self.head
        if head.upgrade and (head.method == "CONNECT" or head.headers.get(hdrs.UPGRADE, "").lower() == "websocket"):
            return True  # aiohttp reads no more requests, whatever the answer is.
        return self.has_stream and not self.stream.is_eof()

    def take_over(self, receive: Callable[[bytes], None]) -> None:
        """Have *receive* called with all that comes from now on, instead of parsing it."""
        # It is what aiohttp does for its own WebSockets, and all that it asks of a reader of them.
        self.protocol.set_parser(cast("Any", _Receiver(receive)))

    def pause(self) -> None:
        """Let the client wait: nothing more is received."""
        self.protocol.pause_reading()

    def resume(self) -> None:
        """Receive again."""
        self.protocol.resume_reading()

    async def drain(self) -> None:
        """Wait while the client does not read; raises ConnectionError when it is gone."""
        await self.writer.drain()
