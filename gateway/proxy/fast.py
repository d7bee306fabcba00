"""The fast tier: plain requests on their own connections, without the machinery that the others need.

Plain is a GET, HEAD or DELETE in HTTP/1.1 whose head comes complete and alone, without a body, an upgrade, an
expectation or a wish to close. Everything else, and whatever is in doubt, goes to the complete tier, and the connection
with it, for good: this tier never has to be right about the odd cases. Both read with llhttp, and have one `Gateway`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import EMPTY_PAYLOAD
from aiohttp.tcp_helpers import tcp_keepalive

from gateway.proxy.head import PlainHeadReader
from gateway.proxy.respond import GOES_ON

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.core.snapshot import ConnectionLimits
    from gateway.proxy.clients import Client, Clients
    from gateway.proxy.head import RequestHead
    from gateway.proxy.incoming import ClientRequest
    from gateway.proxy.respond import Written

READ_MAX: Final = 64 * 1024


class PlainServer:
    """All connections of the fast tier: all of them are closed when the worker drains."""

    def __init__(
        self,
        serve: Callable[[ClientRequest], Coroutine[Any, Any, Written]],
        complete: Callable[[], asyncio.Protocol],
        clients: Clients,
        *,
        write_buffer_bytes: int,
    ) -> None:
        """Call *serve* for every plain request; *complete* makes the protocol that takes a connection over."""
        self.serve = serve
        self.complete = complete
        self.clients = clients
        self.write_buffer_bytes = write_buffer_bytes
        self.loop = asyncio.get_running_loop()
        self.connections: set[PlainConnection] = set()

    def __call__(self, announced: str | None = None) -> PlainConnection:
        """Make the protocol of a new connection, from the *announced* address."""
        return PlainConnection(self, announced)

    def wind_down(self) -> None:
        """Have the answers to requests under way say that they are the last, unless they have begun."""
        for connection in self.connections:
            if connection.busy:
                connection.head.should_close = True

    def pre_shutdown(self) -> None:
        """Close what is idle; what is busy closes when it has answered."""
        for connection in list(self.connections):
            connection.close()

    async def shutdown(self, timeout: float | None) -> None:  # noqa: ASYNC109  # as aiohttp's
        """Wait *timeout* seconds for requests under way, then end them."""
        self.pre_shutdown()
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class PlainConnection(asyncio.Protocol):
    """A client connection on which only plain requests have come so far. It is also the request that it serves."""

    has_stream: Final = False
    stream: Final = EMPTY_PAYLOAD
    unread: Final = False

    __slots__ = (
        "_announced",
        "_client",
        "_closing",
        "_drained",
        "_later",
        "_next",
        "_reader",
        "_server",
        "busy",
        "head",
        "head_bytes",
        "idle_since",
        "peer",
        "scheme",
        "task",
        "transport",
    )

    def __init__(self, server: PlainServer, announced: str | None = None) -> None:
        """Make an unconnected connection, of a client at the *announced* address; asyncio connects it."""
        self._server = server
        self._announced = announced
        self._reader = PlainHeadReader()
        self._client: Client | None = None
        self._closing = False
        self._drained: asyncio.Future[None] | None = None
        self._later = b""
        self._next: asyncio.Future[None] | None = None
        self.busy = False
        self.head: RequestHead = cast("RequestHead", None)  # There is one whenever a request is served.
        self.head_bytes = 0
        self.idle_since = 0.0
        self.peer = ""
        self.scheme = "http"
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None

    # The asyncio side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare (asyncio calls this)."""
        # uvloop's transports are asyncio's by behaviour, not by class.
        made = cast("asyncio.Transport", transport)
        self._client = self._server.clients.opened(made, self, self._announced)
        if self._client is None:
            return
        self.transport = made
        tcp_keepalive(made)
        made.set_write_buffer_limits(high=self._server.write_buffer_bytes)
        self.peer = self._client.peer
        if made.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        self.idle_since = self._server.loop.time()
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Serve a plain request, or hand the connection over (asyncio calls this)."""
        if self.busy:
            self._keep_for_later(data)
            return
        head = self._plain(data)
        if head is None:
            self._hand_over(data)
            if self.task is not None:
                self.task.cancel()
            return
        self.head = head
        self.head_bytes = len(data)
        self.busy = True
        if self._next is None:
            self.task = self._server.loop.create_task(self._serve())
        else:
            self._next.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # the signature is asyncio's
        """End the request under way: its client is gone (asyncio calls this)."""
        self.transport = None
        self._server.connections.discard(self)
        if self._client is not None:
            self._server.clients.lost(self._client)
        self.resume_writing()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        """Note that the client reads slowly (asyncio calls this)."""
        self._drained = self._server.loop.create_future()

    def resume_writing(self) -> None:
        """Note that the client reads again (asyncio calls this)."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # Our side.

    async def drain(self) -> None:
        """Wait while the client does not read; raises ConnectionResetError when it is gone."""
        if self._drained is not None:
            await self._drained
        if self.transport is None:
            raise ConnectionResetError

    def close(self) -> None:
        """Close now, or after the answer to the request under way."""
        self._closing = True
        if not self.busy and self.transport is not None:
            self.transport.close()

    def waited_too_long(self, now: float, limits: ConnectionLimits) -> str | None:
        """Close when no request came in time; there is no head under way here (the sweep calls this)."""
        patience_s = limits.head_s if self.task is None else limits.idle_s
        if not self.busy and now - self.idle_since >= patience_s:
            self.close()
        return None

    def _plain(self, data: bytes) -> RequestHead | None:
        """Give the head of a plain request, None for anything else."""
        head = self._reader.read(data)
        if self._server.clients.requests_max and head is not None and self._is_last():
            return None
        return head

    def _is_last(self) -> bool:
        """Say whether the connection is to end with this request, which the complete tier knows how to do."""
        assert self._client is not None
        if self._client.requests + 1 >= self._server.clients.requests_max:
            return True
        self._client.requests += 1
        return False

    async def _serve(self) -> None:
        """Serve one request after another; in the end the connection is closed or handed over, unless it is lost."""
        server = self._server
        try:
            while await server.serve(self) is GOES_ON and not self._closing:
                if self._later:
                    self._hand_over(self._later)
                    return
                self.busy = False
                self.idle_since = server.loop.time()
                self._next = server.loop.create_future()
                await self._next
        finally:
            if self.transport is not None:
                # After the answer, which the journal writes at the end of this turn.
                server.loop.call_soon(self.transport.close)

    def _keep_for_later(self, data: bytes) -> None:
        """Keep what a client sends before it was answered; the complete tier knows how to go on with it."""
        self._later += data
        if len(self._later) >= READ_MAX and self.transport is not None:
            self.transport.pause_reading()

    def _hand_over(self, data: bytes) -> None:
        transport = self.transport
        assert transport is not None
        self._server.connections.discard(self)
        self.transport = None
        complete = self._server.complete()
        transport.set_protocol(complete)
        complete.connection_made(transport)
        transport.resume_reading()
        complete.data_received(data)
