"""One backend's Postgres schema: connected on first use, created and seeded once, and able to be away."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Seed: TypeAlias = Callable[[Connection], Awaitable[None]]

_CONNECT_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 2.0
# For taking a connection, and once more for giving it back: after a query that hung, that waits for its cancellation.
_LEND_TIMEOUT_S = 1.0
_CLOSE_TIMEOUT_S = 0.3
_POOL_MAX = 5

# What a query can meet when the server, and not the request, is at fault.
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InternalClientError,  # How asyncpg meets a connection that ends between two messages.
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


class DatabaseAwayError(Exception):
    """Postgres does not answer now; the same request may succeed later."""


class Database:
    """The tables of *schema*, created by *statements* and filled by *seeds* when they are first created.

    Nothing is connected until it is needed, so that a backend starts while Postgres is still starting.
    """

    def __init__(self, dsn: str, schema: str, statements: str, seeds: Sequence[Seed]) -> None:
        self._dsn = dsn
        self._schema = schema
        self._statements = statements
        self._seeds = seeds
        # Waiting for the pool itself is not fair: a newcomer may overtake, and some requests would starve.
        self._turns = asyncio.Semaphore(_POOL_MAX)
        self._opening: asyncio.Task[asyncpg.Pool[asyncpg.Record]] | None = None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for the queries of one request, which have 2 s. Raises DatabaseAwayError, within 3 s."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                # Shielded: one impatient request must not end the opening that all are waiting for.
                pool = await asyncio.shield(self.open())
                async with self._turns, pool.acquire(timeout=_LEND_TIMEOUT_S) as connection:
                    yield connection
        except _AWAY as error:
            raise DatabaseAwayError from error

    def open(self) -> asyncio.Task[asyncpg.Pool[asyncpg.Record]]:
        """The task that opens the pool: the one under way or done, or a new one after a failure."""
        if self._opening is None or (self._opening.done() and (self._opening.cancelled() or self._opening.exception())):
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(_log_failure)
        return self._opening

    async def close(self) -> None:
        """Close all connections, politely for 0.3 s."""
        if self._opening is None:
            return
        self._opening.cancel()
        with contextlib.suppress(asyncio.CancelledError, DatabaseAwayError):
            pool = await self._opening
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def _open(self) -> asyncpg.Pool[asyncpg.Record]:
        pool = asyncpg.create_pool(
            self._dsn,
            min_size=1,
            max_size=_POOL_MAX,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_ANSWER_TIMEOUT_S,
        )
        with contextlib.ExitStack() as undo:
            undo.callback(pool.terminate)
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await pool
                    async with pool.acquire() as connection, connection.transaction():
                        await self._prepare(connection)
            except (*_AWAY, asyncpg.PostgresError) as error:
                raise DatabaseAwayError from error
            undo.pop_all()
        return pool

    async def _prepare(self, connection: Connection) -> None:
        # Two processes of one backend may start at the same time; CREATE ... IF NOT EXISTS alone is not safe then.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", self._schema)
        known = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", self._schema)
        if not known:
            await connection.execute(f"CREATE SCHEMA {self._schema}; {self._statements}")
            for seed in self._seeds:
                await seed(connection)


def _log_failure(opening: asyncio.Task[Any]) -> None:
    if not opening.cancelled() and (error := opening.exception()):
        structlog.get_logger().warning("database away", reason=repr(error.__cause__))
