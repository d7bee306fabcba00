"""Listening: both listeners of a worker, from the first connection to the end of the last one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.proxy.accepting import Accepting

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator

    from gateway.proxy.server import PublicServer

BACKLOG: Final = 1024
INTERNAL_SHUTDOWN_S: Final = 1.0
INTERNAL_FIELDS: Final[dict[str, Any]] = {"max_line_size": 131_072, "max_field_size": 131_072, "max_headers": 2000}
"""Bounds above those that proxies and our own settings have: what is too long is refused by its own name."""
LINGER_S: Final = 0.5
RETIRED_LINGER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Sockets:
    """What to listen on: bound, and shared with those who listen before and after this worker."""

    public: socket.socket
    internal: socket.socket
    decisions: socket.socket | None = None


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
    internal: tuple[web.SockSite, ...]

    async def drain(self, timeout_s: float) -> None:
        """Take no more connections and let requests in flight finish; who asks for health is answered to the end."""
        await self._close_public()
        await self.server.finish(LINGER_S, timeout_s)

    async def retire(self, timeout_s: float) -> None:
        """Leave new connections to the worker that has taken this one's place, and let requests in flight finish."""
        for site in self.internal:
            await site.stop()
        await self._close_public()
        await self.server.finish(RETIRED_LINGER_S, timeout_s)

    async def _close_public(self) -> None:
        self.public.close()
        if isinstance(self.public, Accepting):
            await self.public.settle(LINGER_S)


@asynccontextmanager
async def listening(
    server: PublicServer, application: web.Application, sockets: Sockets, contexts: Contexts
) -> AsyncIterator[Listening]:
    """Listen with *server* for clients and with *application* for operators while the block runs."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=INTERNAL_SHUTDOWN_S, **INTERNAL_FIELDS)
    await runner.setup()
    try:
        internal = [web.SockSite(runner, sockets.internal, ssl_context=contexts.internal, backlog=BACKLOG)]
        if sockets.decisions is not None:
            internal.append(web.SockSite(runner, sockets.decisions, backlog=BACKLOG))
        for site in internal:
            await site.start()
        public: asyncio.Server | Accepting
        if contexts.public is None and not contexts.announced:
            public = await asyncio.get_running_loop().create_server(server, sock=sockets.public, backlog=BACKLOG)
        else:
            sockets.public.listen(BACKLOG)
            public = Accepting(server, sockets.public, contexts.public, announced=contexts.announced)
        try:
            yield Listening(server, public, tuple(internal))
        finally:
            public.close()
    finally:
        await runner.cleanup()
