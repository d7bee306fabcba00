"""Tunnels: a WebSocket that its upstream has accepted, as bytes both ways, at the pace of the slower side.

The usage event is written with the handshake: it counts once whatever ends the tunnel, also a killed worker. What
flows afterwards is in metrics. Nothing is put between the bytes that pass, so a tunnel that must end is cut.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from gateway.adapters.http.faults import UpstreamFault, UpstreamGarbled
from gateway.core.websocket import is_accepted
from gateway.proxy.respond import CLOSES
from gateway.proxy.watch import Watched
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.accounting.record import RequestRecord
    from gateway.adapters.http.answer import UpstreamAnswer
    from gateway.proxy.incoming import ClientRequest, Incoming
    from gateway.proxy.respond import Written
    from gateway.proxy.watch import Watch
    from gateway.telemetry.telemetry import Telemetry

LINGER_S: Final = 2.0
"""How long a side that does not read may hold up the end."""

log = structlog.get_logger()


def require_accepted(request: ClientRequest, answer: UpstreamAnswer) -> None:
    """Raise UpstreamGarbled unless a 101 proves that the upstream understood the handshake."""
    if not is_accepted(answer.fields, request.head.headers["Sec-WebSocket-Key"]):
        message = "a 101 that does not accept the WebSocket"
        raise UpstreamGarbled(message)


class Tunnel:
    """One tunnel, from the moment that the client has been told of it."""

    def __init__(
        self, request: Incoming, transport: asyncio.Transport, answer: UpstreamAnswer, telemetry: Telemetry
    ) -> None:
        """Take both sides."""
        self._request = request
        self._transport = transport
        self._answer = answer
        self._telemetry = telemetry
        self._loop = asyncio.get_running_loop()
        self._watched: Watched | None = None
        self._held_up: asyncio.Future[None] | None = None
        self._ended = "client"
        self._up: list[float] = []
        self._down: list[float] = []

    async def carry(self, record: RequestRecord, watch: Watch) -> Written:
        """Pass bytes both ways until one side, the *watch* or the end of the worker ends it."""
        facts, route = record.facts, record.route
        assert facts is not None
        assert route is not None
        self._up = self._telemetry.counter(metrics.TUNNEL_BYTES, route.name, "in")
        self._down = self._telemetry.counter(metrics.TUNNEL_BYTES, route.name, "out")
        began = self._loop.time()
        watched = self._watched = Watched(facts, route, self._end, began, route.websocket_idle_s)
        watch.add(watched)
        try:
            self._request.take_over(self._to_upstream)
            await self._to_client(watched)
        finally:
            watch.remove(watched)
            self._telemetry.add(metrics.TUNNELS_ENDED, 1, self._ended)
            seconds = round(self._loop.time() - began, 3)
            log.info("tunnel ended", request_id=record.request_id, reason=self._ended, seconds=seconds)
        self._loop.call_later(LINGER_S, self._transport.abort)
        return CLOSES

    def _to_upstream(self, data: bytes) -> None:
        """Pass on what the client sent, and let it wait while the upstream does not read."""
        assert self._watched is not None
        self._watched.active = self._loop.time()
        self._up[0] += len(data)
        held_up = self._answer.write(data)
        if held_up is not None and self._held_up is None:
            self._held_up = held_up
            self._request.pause()
            held_up.add_done_callback(self._go_on)

    def _go_on(self, _: asyncio.Future[None]) -> None:
        self._held_up = None
        self._request.resume()

    async def _to_client(self, watched: Watched) -> None:
        """Pass on what the upstream sends, until it ends."""
        last = False
        while not last:
            try:
                data, last = await self._answer.read()
            except UpstreamFault:
                break
            watched.active = self._loop.time()
            self._down[0] += len(data)
            self._transport.write(data)
            try:
                await self._request.drain()
            except ConnectionError:
                return
        self._ended = "upstream"

    def _end(self, reason: str) -> None:
        self._ended = reason
        self._transport.abort()
