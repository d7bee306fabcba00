"""A pipelined Redis connection: commands in as prebuilt bytes, answers out in order, one write per loop turn.

It exists because the limiter asks once per request; redis-py's pool, retries and parser cost many times the question.
Everything that is not per request uses redis-py.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUED_MAX: Final = 10_000


def pack_command(words: tuple[str | bytes, ...]) -> bytes:
    """Write a command in the Redis protocol."""
    # hiredis declares one-word tuples only.
    packed: bytes = hiredis.pack_command(cast("Any", words))
    return packed


class RedisDown(Exception):
    """The server did not answer: not connected, lost, too slow, or it answered with a failure of its own."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the server is and how to be let in; its password is in no repr."""

    host: str
    port: int
    path: str | None
    tls: bool
    greeting: tuple[bytes, ...]

    def __repr__(self) -> str:
        """Show the place only."""
        return f"RedisAddress({self.path or f'{self.host}:{self.port}'})"

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Read a `redis://`, `rediss://` or `unix://` URL; raises ValueError."""
        options: dict[str, Any] = dict(parse_url(url))
        greeting: list[bytes] = []
        if options.get("password"):
            user = (options["username"],) if options.get("username") else ()
            greeting.append(pack_command(("AUTH", *user, options["password"])))
        if options.get("db"):
            greeting.append(pack_command(("SELECT", str(options["db"]))))
        kind = options.get("connection_class")
        return cls(
            host=options.get("host", "127.0.0.1"),
            port=int(options.get("port", 6379)),
            path=options.get("path") if kind is UnixDomainSocketConnection else None,
            tls=kind is SSLConnection,
            greeting=tuple(greeting),
        )


class PipelinedConnection(asyncio.Protocol):
    """Sends commands in the order of `call`; the oldest unanswered one is timed, and *budget_s* is its limit."""

    def __init__(self, loop: asyncio.AbstractEventLoop, budget_s: float, on_lost: Callable[[], None]) -> None:
        """Make an unconnected connection; *on_lost* is called once when a made connection ends."""
        self._loop = loop
        self._budget_s = budget_s
        self._on_lost = on_lost
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._outgoing: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.slow_in_a_row = 0

    @classmethod
    async def open(
        cls, address: RedisAddress, budget_s: float, connect_timeout_s: float, on_lost: Callable[[], None]
    ) -> PipelinedConnection:
        """Connect and greet; raises RedisDown."""
        loop = asyncio.get_running_loop()
        connection = cls(loop, budget_s, on_lost)
        try:
            async with asyncio.timeout(connect_timeout_s):
                if address.path is not None:
                    await loop.create_unix_connection(lambda: connection, address.path)
                else:
                    context = tls.create_default_context() if address.tls else None
                    await loop.create_connection(lambda: connection, address.host, address.port, ssl=context)
                for command in address.greeting:
                    await connection.call(command)
        except (OSError, TimeoutError) as error:
            connection.close()
            message = f"cannot connect to Redis at {address!r}: {type(error).__name__}"
            raise RedisDown(message) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def call(self, command: bytes) -> asyncio.Future[Any]:
        """Queue *command*; the future gives its answer, or fails with RedisDown or with the server's ReplyError."""
        answer = self._loop.create_future()
        if self._transport is None or len(self._waiting) >= QUEUED_MAX:
            answer.set_exception(RedisDown("not connected to Redis, or its queue is full"))
            return answer
        if not self._outgoing:
            self._loop.call_soon(self._write)
        self._outgoing.append(command)
        due = self._loop.time() + self._budget_s
        self._waiting.append((answer, due))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look_again)
        return answer

    def close(self) -> None:
        """Drop the connection; whoever waits is told."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        # uvloop's transports are asyncio's by behaviour, not by class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give answers to those who wait (asyncio calls this)."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                future, _ = self._waiting.popleft()
                if future.done():
                    continue
                self.slow_in_a_row = 0
                if isinstance(answer, hiredis.ReplyError):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except (hiredis.ProtocolError, IndexError):
            self.close()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # the signature is asyncio's
        """Fail all who wait (asyncio calls this)."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(RedisDown("the connection to Redis was lost"))
        self._on_lost()

    def _write(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None:
            self._transport.write(b"".join(outgoing))

    def _look_again(self) -> None:
        # A stalled loop runs its timers before it reads its sockets: the answer may be here already.
        self._timer = self._loop.call_later(0.001, self._expire)

    def _expire(self) -> None:
        """Fail those whose time is over; their answers, should they come, are thrown away."""
        self._timer = None
        now = self._loop.time()
        for future, due in self._waiting:
            if due > now:
                self._timer = self._loop.call_at(due, self._look_again)
                return
            if not future.done():
                self.slow_in_a_row += 1
                future.set_exception(RedisDown("Redis did not answer within its budget"))
