"""Listening: both listeners of a worker, from the first connection to the end of the last one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web

from gateway.proxy.accepting import TLS_CLOSE_S, Accepting

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Callable

    from gateway.proxy.server import PublicServer

BACKLOG: Final = 1024
HANDSHAKE_S: Final = 10.0
INTERNAL_SHUTDOWN_S: Final = 1.0
INTERNAL_FIELDS: Final[dict[str, Any]] = {"max_line_size": 131_072, "max_field_size": 131_072, "max_headers": 2000}
"""Bounds above those that proxies and our own settings have: what is too long is refused by its own name."""
LINGER_S: Final = 0.5
RETIRED_LINGER_S: Final = 2.0


class PlainTier(Protocol):
    """What answers plain requests of the internal listener in front of its application."""

    def over(self, complete: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Give the factory of connections; *complete* makes the protocol that takes one over."""
        ...

    def wind_down(self) -> None:
        """Have every connection end with its next answer."""
        ...

    async def shutdown(self, timeout_s: float) -> None:
        """End all connections within about *timeout_s*."""
        ...


@dataclass(frozen=True, slots=True)
class Sockets:
    """What to listen on: bound, and shared with those who listen before and after this worker."""

    public: socket.socket
    internal: socket.socket
    decisions: socket.socket | None = None
    reports: socket.socket | None = None


@dataclass(frozen=True, slots=True)
class Contexts:
    """The TLS of each listener, None for plain HTTP; and whether balancers announce clients at the public one."""

    public: ssl.SSLContext | None
    internal: ssl.SSLContext | None
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Listening:
    """Both listeners while they are open."""

    server: PublicServer
    public: asyncio.Server | Accepting
    internal: tuple[asyncio.Server, ...]
    plain: PlainTier | None

    async def drain(self, timeout_s: float) -> None:
        """Take no more connections and let requests in flight finish; who asks for health is answered to the end."""
        await self._close_public()
        await self.server.finish(LINGER_S, timeout_s)

    async def retire(self, timeout_s: float) -> None:
        """Leave new connections to the worker that has taken this one's place, and let requests in flight finish."""
        for server in self.internal:
            server.close()
        if self.plain is not None:
            self.plain.wind_down()
        await self._close_public()
        await self.server.finish(RETIRED_LINGER_S, timeout_s)

    async def _close_public(self) -> None:
        self.public.close()
        if isinstance(self.public, Accepting):
            await self.public.settle(LINGER_S)


@asynccontextmanager
async def listening(
    server: PublicServer,
    application: web.Application,
    plain: PlainTier | None,
    sockets: Sockets,
    contexts: Contexts,
) -> AsyncIterator[Listening]:
    """Listen with *server* for clients and with *application* for operators while the block runs.

    *plain* comes before the application, and hands over to it what it does not answer.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=INTERNAL_SHUTDOWN_S, **INTERNAL_FIELDS)
    await runner.setup()
    try:
        assert runner.server is not None
        factory = runner.server if plain is None else plain.over(runner.server)
        internal = [await _listen(factory, sockets.internal, contexts.internal)]
        if sockets.decisions is not None:
            internal.append(await _listen(factory, sockets.decisions))
        public: asyncio.Server | Accepting
        if contexts.public is None and not contexts.announced:
            public = await _listen(server, sockets.public)
        else:
            sockets.public.listen(BACKLOG)
            public = Accepting(server, sockets.public, contexts.public, announced=contexts.announced)
        try:
            yield Listening(server, public, tuple(internal), plain)
        finally:
            for one in (public, *internal):
                one.close()
    finally:
        if plain is not None:
            await plain.shutdown(INTERNAL_SHUTDOWN_S)
        await runner.cleanup()


async def _listen(
    factory: Callable[[], asyncio.Protocol], sock: socket.socket, context: ssl.SSLContext | None = None
) -> asyncio.Server:
    tls: dict[str, Any] = {}
    if context is not None:
        tls = {"ssl": context, "ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": TLS_CLOSE_S}
    return await asyncio.get_running_loop().create_server(factory, sock=sock, backlog=BACKLOG, **tls)
