"""An upstream's answer, as whoever asked reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import asyncio

    from gateway.adapters.http.connection import UpstreamConnection
    from gateway.adapters.http.endpoint import Endpoint
    from gateway.adapters.http.exchange import Exchange
    from gateway.adapters.http.upstream import Upstream
    from gateway.core.headers import Field
    from gateway.core.upstreams import UpstreamTarget


class UpstreamAnswer(Struct):
    """The head of an answer, and as much of its body as came with it. Whoever has it must call `release` at the end."""

    status: int
    reason: bytes
    fields: list[Field]
    _exchange: Exchange
    _connection: UpstreamConnection
    _endpoint: Endpoint
    _upstream: Upstream

    @property
    def target(self) -> UpstreamTarget:
        """Who answered."""
        return self._endpoint.target

    @property
    def length(self) -> int | None:
        """The declared length of the body, None for chunks or until the close."""
        return self._exchange.length

    @property
    def complete(self) -> bool:
        """Say whether the whole answer is here, so that one `read` gives all of the body."""
        return self._exchange.complete

    async def read(self) -> tuple[bytes, bool]:
        """Give the next bytes of the body and whether they are the last; raises UpstreamFault."""
        return await self._connection.read()

    @property
    def trailers(self) -> list[Field] | None:
        """The fields after the body, once it is complete; None where there are none."""
        return self._exchange.trailers

    def write(self, data: bytes) -> asyncio.Future[None] | None:
        """Send bytes after a switch of protocols; gives what resolves when more may be sent, None if at once."""
        return self._connection.write(data)

    def take_body(self) -> bytes:
        """Give the body of a complete answer."""
        chunks = self._exchange.chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self) -> None:
        """Give the connection back if the exchange is over, and drop it otherwise."""
        self._upstream.release(self._endpoint, self._connection)
