"""The fast tier: plain questions on their own connections, each answered with one write.

Whatever is odd, and every other path of the listener, goes to the complete tier, and the connection with it, for good.
Proxies keep their connections, so few of them ever go there. What a proxy sends ahead is answered in its order.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from aiohttp.tcp_helpers import tcp_keepalive

from gateway.sidecar.answer import written
from gateway.sidecar.decisions import Asked
from gateway.sidecar.head import PlainHead, PlainHeadReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.accounting.moments import Moments
    from gateway.adapters.journal import Journal
    from gateway.sidecar.decisions import Decisions

AHEAD_MAX: Final = 64 * 1024
"""Bytes that are kept of what was not read yet; a head that is longer is not plain."""
HEAD_S: Final = 10.0
"""How long a head may be under way."""
_END: Final = b"\r\n\r\n"


class DecisionServer:
    """All connections of the fast tier."""

    def __init__(
        self, decisions: Decisions, endpoint: str, journal: Journal, moments: Moments, *, head_s: float = HEAD_S
    ) -> None:
        """Answer questions at and below the path *endpoint*; a head may be under way for *head_s*."""
        self.decisions = decisions
        self.endpoint = endpoint.encode()
        self.journal = journal
        self.moments = moments
        self.loop = asyncio.get_running_loop()
        self.connections: set[DecisionConnection] = set()
        self.head_s = head_s
        self.ending = False

    def over(self, complete: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Give the factory of connections; *complete* makes the protocol that takes one over."""
        return lambda: DecisionConnection(self, complete)

    def wind_down(self) -> None:
        """Have every connection end with its next answer, which says so."""
        self.ending = True

    async def shutdown(self, timeout_s: float) -> None:
        """Close what is idle, wait *timeout_s* for decisions under way, then end them."""
        self.ending = True
        for connection in list(self.connections):
            connection.close_if_idle()
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class DecisionConnection(asyncio.Protocol):
    """A proxy's connection on which only plain questions have come so far."""

    __slots__ = (
        "_ahead",
        "_complete",
        "_head",
        "_late",
        "_next",
        "_peer",
        "_reader",
        "_server",
        "_transport",
        "task",
    )

    def __init__(self, server: DecisionServer, complete: Callable[[], asyncio.Protocol]) -> None:
        """Make an unconnected connection; asyncio connects it."""
        self._server = server
        self._complete = complete
        self._reader = PlainHeadReader()
        self._ahead = b""
        self._head: PlainHead | None = None
        self._late: asyncio.TimerHandle | None = None
        self._next: asyncio.Future[None] | None = None
        self._peer = ""
        self._transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None

    # The asyncio side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare (asyncio calls this)."""
        # uvloop's transports are asyncio's by behaviour, not by class.
        made = self._transport = cast("asyncio.Transport", transport)
        peer = made.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._peer = peer[0]
            tcp_keepalive(made)
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Answer a question, or hand the connection over (asyncio calls this)."""
        if self._ahead:
            data = self._ahead + data
        if self._head is not None:
            self._ahead = data
            if len(data) >= AHEAD_MAX and self._transport is not None:
                self._transport.pause_reading()
            return
        self._take(data)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # the signature is asyncio's
        """End; a decision under way is made to its end, and recorded (asyncio calls this)."""
        self._transport = None
        self._on_time()
        self._server.connections.discard(self)
        if self.task is not None and self._head is None:
            self.task.cancel()

    def pause_writing(self) -> None:
        """Read no more questions from a caller who does not read the answers (asyncio calls this)."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on (asyncio calls this)."""
        if self._transport is not None:
            self._transport.resume_reading()

    # Our side.

    def close_if_idle(self) -> None:
        """Close unless a question is being answered."""
        if self._head is None and self._transport is not None:
            self._transport.close()

    def _take(self, data: bytes) -> bool:
        """Take the first question of *data*, if it has one, and keep the rest for later."""
        end = data.find(_END) + len(_END)
        if end < len(_END):
            if len(data) < AHEAD_MAX:
                self._wait_for_the_rest(data)
            else:
                self._hand_over(data)
            return False
        whole = end == len(data)
        head = self._reader.read(data if whole else data[:end], self._server.endpoint)
        if head is None:
            self._hand_over(data)
            return False
        self._ahead = b"" if whole else data[end:]
        self._head = head
        self._on_time()
        if self.task is None:
            self.task = self._server.loop.create_task(self._serve())
        elif self._next is not None:
            self._next.set_result(None)
        return True

    async def _serve(self) -> None:
        """Answer one question after another, until the connection is closed, lost or handed over."""
        server = self._server
        endpoint_length = len(server.endpoint)
        try:
            while (head := self._head) is not None:
                asked = Asked(head.method, head.target[endpoint_length:], head.fields, head.names, self._peer)
                reply = await server.decisions.decide(asked)
                transport = self._transport
                if transport is None:
                    return
                date, last = server.moments.date(server.moments.now()), server.ending
                data = written(reply, date, without_body=head.method == "HEAD", last=last)
                server.journal.answer(transport, data)
                if last:
                    return
                self._head = None
                if self._ahead:
                    goes_on = self._take(self._ahead)
                    transport.resume_reading()
                    if goes_on:
                        continue
                if self._transport is None:
                    return
                self._next = server.loop.create_future()
                await self._next
                self._next = None
        finally:
            self._head = None
            if self._transport is not None:
                # After the answer, which the journal writes at the end of this turn.
                server.loop.call_soon(self._transport.close)

    def _wait_for_the_rest(self, data: bytes) -> None:
        """Keep a part of a head, for a while."""
        self._ahead = data
        if self._late is None:
            self._late = self._server.loop.call_later(self._server.head_s, self.close_if_idle)

    def _on_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hand_over(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        self._transport, self._ahead = None, b""
        self._on_time()
        self._server.connections.discard(self)
        self._server.journal.flush()  # Answers to what came before go first.
        complete = self._complete()
        transport.set_protocol(complete)
        complete.connection_made(transport)
        transport.resume_reading()
        complete.data_received(data)
        if self._next is not None:
            self._next.cancel()
