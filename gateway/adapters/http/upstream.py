"""Upstreams: keep-alive connections to the targets of one upstream, the one retry rule, and all deadlines.

The retry rule: while not a byte was sent, any request may go to a fresh connection, once. Bytes sent on a reused
connection that ended without a byte of answer: GET, HEAD and OPTIONS without a body, once (it had gone stale). All
else is a fault, because the upstream may have acted.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.adapters.http.connection import UpstreamConnection
from gateway.adapters.http.exchange import NEVER, Exchange
from gateway.adapters.http.faults import UpstreamClosed, UpstreamTooSlow, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.core.headers import Field
    from gateway.core.snapshot import UpstreamSettings, UpstreamTarget

SWEEP_S: Final = 0.05
IDLE_MAX_S: Final = 60.0
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class UpstreamAnswer:
    """The head of an answer, and as much of its body as came with it. Whoever has it must call `release` at the end."""

    __slots__ = ("_connection", "_exchange", "_target", "_upstream", "fields", "reason", "status")

    def __init__(self, upstream: Upstream, target: _Target, connection: UpstreamConnection, exchange: Exchange) -> None:
        """Wrap an exchange whose head has come."""
        self._upstream = upstream
        self._target = target
        self._connection = connection
        self._exchange = exchange
        self.status = exchange.status
        self.reason = exchange.reason
        self.fields: list[Field] = exchange.fields

    @property
    def target(self) -> UpstreamTarget:
        """Who answered."""
        return self._target.address

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
        self._upstream.release(self._target, self._connection)


class _Target:
    """One address, with its idle connections, the most recently used last."""

    __slots__ = ("address", "busy", "idle")

    def __init__(self, address: UpstreamTarget) -> None:
        self.address = address
        self.idle: deque[UpstreamConnection] = deque()
        self.busy: set[UpstreamConnection] = set()


class Upstream:
    """One upstream by name: forwards a request's bytes to one of its targets."""

    def __init__(self, settings: UpstreamSettings, loop: asyncio.AbstractEventLoop) -> None:
        """Prepare; nothing is connected until the first request."""
        self.settings = settings
        self._loop = loop
        self._targets = [_Target(address) for address in settings.targets]
        self._turn = itertools.cycle(self._targets)
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle_count(self) -> int:
        """How many connections wait for a request."""
        return sum(len(target.idle) for target in self._targets)

    @property
    def busy_count(self) -> int:
        """How many connections carry one."""
        return sum(len(target.busy) for target in self._targets)

    async def forward(
        self,
        method: str,
        head: Callable[[UpstreamTarget], bytes],
        body: bytes | AsyncIterator[bytes],
        *,
        endless: bool = False,
        upgrade: bool = False,
    ) -> UpstreamAnswer:
        """Send a request and give the head of its answer; raises UpstreamFault.

        *head* makes the request's head for a target. A body in bytes is complete, an iterator is streamed as it comes,
        already framed; what it raises is raised here. What is *endless* has no time in all; with *upgrade* the answer
        may be a switch of protocols (101).
        """
        timeouts = self.settings.timeouts
        began = self._loop.time()
        total_deadline = NEVER if endless else began + timeouts.total_s
        target = next(self._turn)
        fresh = False
        for attempt in (1, 2):
            connection = None if fresh else self._reuse(target, began)
            reused = connection is not None
            if connection is None:
                try:
                    connection = await self._connect(target)
                except UpstreamUnreachable:
                    if attempt == 2:
                        raise
                    target, fresh = next(self._turn), True
                    continue
                began = self._loop.time()
            answered = self._loop.create_future()
            deadline = min(total_deadline, began + timeouts.first_byte_s) if isinstance(body, bytes) else total_deadline
            exchange = Exchange(answered, method == "HEAD", timeouts.idle_s, deadline, total_deadline)
            exchange.upgrade = upgrade
            target.busy.add(connection)
            if self._sweeper is None:
                self._sweep_soon()
            try:
                if isinstance(body, bytes):
                    connection.begin(exchange, head(target.address) + body)
                    await answered
                else:
                    connection.begin(exchange, head(target.address))
                    await self._stream(connection, exchange, body)
            except UpstreamClosed:
                self._drop(target, connection)
                stale = reused and not exchange.touched and method in _REPEATABLE and body == b""
                if attempt == 1 and stale:
                    fresh = True
                    continue
                raise
            except BaseException:
                self._drop(target, connection)
                raise
            return UpstreamAnswer(self, target, connection, exchange)
        raise AssertionError  # The second attempt returns or raises.

    async def _stream(self, connection: UpstreamConnection, exchange: Exchange, body: AsyncIterator[bytes]) -> None:
        """Send a body as it comes; an answer that comes first ends the sending, and the connection with it later."""
        sending = self._loop.create_task(self._send_all(connection, exchange, body))
        try:
            await asyncio.wait({sending, exchange.answered}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and (error := sending.exception()) is not None:
                raise error
            if not sending.done():
                connection.reusable = False
            await exchange.answered
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending})
            # What is raised above comes first; the other's failure is looked at, so that it is not reported as lost.
            for ended in (sending, exchange.answered):
                if ended.done() and not ended.cancelled():
                    ended.exception()

    async def _send_all(self, connection: UpstreamConnection, exchange: Exchange, body: AsyncIterator[bytes]) -> None:
        timeouts = self.settings.timeouts
        async for chunk in body:
            exchange.expect_within(timeouts.idle_s, self._loop.time())
            await connection.send(chunk)
            # The client's pauses are its own; only the upstream's are timed here.
            exchange.expect_within(timeouts.total_s, self._loop.time())
        exchange.expect_within(timeouts.first_byte_s, self._loop.time())

    def _reuse(self, target: _Target, now: float) -> UpstreamConnection | None:
        oldest = now - IDLE_MAX_S
        while target.idle:
            connection = target.idle.pop()
            if connection.closed or not connection.reusable:
                continue
            if connection.idle_since < oldest:
                connection.abort()
                continue
            return connection
        return None

    async def _connect(self, target: _Target) -> UpstreamConnection:
        address = target.address
        try:
            async with asyncio.timeout(self.settings.timeouts.connect_s):
                _, connection = await self._loop.create_connection(
                    lambda: UpstreamConnection(self._loop), address.host, address.port
                )
        except (OSError, TimeoutError) as error:
            message = f"cannot connect to upstream {self.settings.name}: {type(error).__name__}"
            raise UpstreamUnreachable(message) from error
        return connection

    def release(self, target: _Target, connection: UpstreamConnection) -> None:
        """Take a connection back, or drop it (an UpstreamAnswer calls this)."""
        target.busy.discard(connection)
        exchange = connection.exchange
        connection.exchange = None
        over = exchange is not None and exchange.complete
        if (
            self._closed
            or not over
            or not connection.reusable
            or connection.closed
            or len(target.idle) >= self.settings.idle_connections_max
        ):
            connection.abort()
        else:
            connection.idle_since = self._loop.time()
            target.idle.append(connection)

    def _drop(self, target: _Target, connection: UpstreamConnection) -> None:
        target.busy.discard(connection)
        connection.exchange = None
        connection.abort()

    def _sweep_soon(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Fail every exchange that is past its deadline: one timer for all of them."""
        self._sweeper = None
        now = self._loop.time()
        busy = [connection for target in self._targets for connection in target.busy]
        for connection in busy:
            exchange = connection.exchange
            if exchange is not None and exchange.deadline <= now:
                connection.fail(UpstreamTooSlow(f"upstream {self.settings.name} did not answer in time"))
        if busy:
            self._sweep_soon()

    def close(self) -> None:
        """Drop all idle connections; busy ones are dropped when they are released."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for target in self._targets:
            while target.idle:
                target.idle.pop().abort()
