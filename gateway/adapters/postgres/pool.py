"""The database: a pool that may start while Postgres is away, fails fast while it is known to be, and comes back.

One keeper owns the pool. It opens it, looks whether the schema fits, and asks after the server every few seconds and
whenever a caller had a bad experience; a server that does not answer costs the pool, and the keeper tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import asyncpg
import structlog

from gateway.adapters.postgres.connection import AWAY, CONNECT_ERRORS, DRIVER_ERRORS, SERVER_SETTINGS, connect, reason
from gateway.adapters.postgres.migrate import migrate
from gateway.adapters.postgres.schema import Fit, check_schema
from gateway.ports import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from asyncpg.pool import PoolConnectionProxy

    from gateway.adapters.postgres.schema import SchemaState

    Pool = asyncpg.Pool[asyncpg.Record]
    Pooled = PoolConnectionProxy[asyncpg.Record]

RETRY_FIRST_S: Final = 0.1
RETRY_LAST_S: Final = 1.0
LOOK_AFTER_S: Final = 5.0

# Bounds what a query may do to the server after nobody waits for it any more.
_STATEMENT_SETTINGS: Final = {"statement_timeout": "30s", "idle_in_transaction_session_timeout": "30s"}

log = structlog.get_logger()


class DatabaseDown(Fault):
    """Postgres did not answer in time, is known to be away, or has a schema that this version cannot work with."""

    code = "database_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Bounds of a pool: connections at first and at most, seconds to connect, and seconds a caller waits in all.

    With *migrate* an older schema is brought up to date instead of being refused.
    """

    size_min: int = 1
    size_max: int = 10
    connect_timeout_s: float = 1.0
    query_timeout_s: float = 1.0
    migrate: bool = False


class Database:
    """Hands out connections to the database at *dsn*; an asynchronous context manager.

    *schema* is what was found at the last contact, None before the first.
    """

    def __init__(self, dsn: str, settings: PoolSettings | None = None) -> None:
        """Prepare; entering starts the keeper, which connects."""
        self._dsn = dsn
        self._settings = settings or PoolSettings()
        self._pool: Pool | None = None
        self._why = "Postgres has not been reached yet"
        self._first_try = asyncio.Event()
        self._doubt = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.schema: SchemaState | None = None

    async def __aenter__(self) -> Self:
        """Start connecting, without waiting for it."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="postgres pool")
        self._keeper.add_done_callback(self._note_end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cut all connections, those in use too."""
        assert self._keeper is not None
        self._keeper.cancel()
        await asyncio.wait({self._keeper})

    async def tried(self) -> None:
        """Wait until the first attempt to connect has ended, well or not."""
        await self._first_try.wait()

    @property
    def ready(self) -> bool:
        """Say whether connections are handed out."""
        return self._pool is not None

    @property
    def why(self) -> str | None:
        """Say why not, and what to do; None when ready."""
        return None if self.ready else self._why

    @contextlib.asynccontextmanager
    async def connection(self, timeout_s: float | None = None) -> AsyncIterator[Pooled]:
        """Lend a connection for at most *timeout_s* in all, by default the query timeout.

        Only the database may be awaited meanwhile: when the time is up the connection is cut, which fails whatever
        waits on it. Raises DatabaseDown for everything that means that Postgres is away; other errors of asyncpg are
        the server's answers and pass through.
        """
        wait_s = self._settings.query_timeout_s if timeout_s is None else timeout_s
        due = asyncio.get_running_loop().time() + wait_s
        pool = await self._known_pool(due)
        async with self._lend(pool, due) as connection:
            yield connection

    async def _known_pool(self, due: float) -> Pool:
        """Give the pool, waiting only while it is not known yet whether there is one."""
        if self._pool is None and not self._first_try.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._first_try.wait()
        if self._pool is None:
            raise DatabaseDown(self._why)
        return self._pool

    @contextlib.asynccontextmanager
    async def _lend(self, pool: Pool, due: float) -> AsyncIterator[Pooled]:
        loop = asyncio.get_running_loop()
        connection = await self._acquire(pool, due)
        # Not asyncio.timeout: a cancelled query would be followed by a rollback that waits for the same silent server.
        timer = loop.call_at(due, _cut, connection)
        try:
            yield connection
        except (asyncpg.PostgresError, *DRIVER_ERRORS, OSError, TimeoutError) as error:
            if loop.time() >= due:
                raise self._in_doubt("no answer from Postgres in time") from error
            if isinstance(error, AWAY) or _is_cut(connection):
                raise self._in_doubt(f"the connection to Postgres was lost: {reason(error)}") from error
            raise
        finally:
            await self._release(pool, connection)
            timer.cancel()

    async def _acquire(self, pool: Pool, due: float) -> Pooled:
        try:
            async with asyncio.timeout_at(due):
                return await pool.acquire()
        except TimeoutError as error:
            raise self._in_doubt("no connection to Postgres was free in time") from error
        except CONNECT_ERRORS as error:
            raise self._in_doubt(f"cannot connect to Postgres: {reason(error)}") from error

    async def _release(self, pool: Pool, connection: Pooled) -> None:
        """Give the connection back; the pool throws away one that cannot be cleaned, which is no caller's fault."""
        try:
            await pool.release(connection)
        except (asyncpg.PostgresError, *DRIVER_ERRORS, OSError, TimeoutError):
            self._doubt.set()

    def _in_doubt(self, why: str) -> DatabaseDown:
        """Have the keeper look after the server, and give the fault to raise."""
        self._doubt.set()
        return DatabaseDown(why)

    async def _keep(self) -> None:
        """Be the keeper: open the pool, guard it until the server is lost, begin again."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                pool = await self._open()
            except (*CONNECT_ERRORS, Fault) as error:
                # A Fault's text is our own; what the driver says may quote the connection string.
                self._note_away(str(error) if isinstance(error, Fault) else f"cannot connect: {reason(error)}")
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(wait_s * 2, RETRY_LAST_S)
                continue
            wait_s = RETRY_FIRST_S
            self._pool = pool
            self._first_try.set()
            log.info("postgres connected")
            try:
                self._note_away(await self._until_lost())
            finally:
                self._pool = None
                pool.terminate()

    def _note_end(self, keeper: asyncio.Task[None]) -> None:
        """Say why the keeper ended; it should go on for ever, and without it nobody would reconnect."""
        if not keeper.cancelled():
            self._note_away("the keeper of the connections has failed: restart the gateway")
            log.error("postgres keeper failed", exc_info=keeper.exception())

    def _note_away(self, why: str) -> None:
        self._first_try.set()
        if why != self._why:
            self._why = why
            log.warning("postgres away", reason=why)

    async def _open(self) -> Pool:
        """Open the pool, with its first connections, and look at the schema, in bounded time."""
        settings = self._settings
        pool = await asyncpg.create_pool(
            self._dsn,
            # No floor: asyncpg would restore it by itself, with attempts beside the keeper's.
            min_size=0,
            max_size=settings.size_max,
            max_inactive_connection_lifetime=0,
            timeout=settings.connect_timeout_s,
            server_settings=SERVER_SETTINGS | _STATEMENT_SETTINGS,
        )
        now = asyncio.get_running_loop().time
        due = now() + settings.connect_timeout_s + settings.query_timeout_s
        try:
            async with contextlib.AsyncExitStack() as lent:
                connection = await lent.enter_async_context(self._lend(pool, due))
                for _ in range(settings.size_min - 1):
                    await lent.enter_async_context(self._lend(pool, due))
                self.schema = await check_schema(connection)
            if self.schema.fit is Fit.OLDER and settings.migrate:
                await migrate(self._dsn)
                async with self._lend(pool, now() + settings.query_timeout_s) as connection:
                    self.schema = await check_schema(connection)
            if not self.schema.usable:
                raise DatabaseDown(self.schema.message)
        except BaseException:
            pool.terminate()
            raise
        return pool

    async def _until_lost(self) -> str:
        """Return, with the reason, when the server has stopped answering."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AFTER_S):
                    await self._doubt.wait()
            self._doubt.clear()
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    probe = await connect(self._dsn, self._settings.connect_timeout_s)
                probe.terminate()
            except AWAY as error:
                return f"cannot connect: {reason(error)}"
            except CONNECT_ERRORS as error:
                # It answers, if only to refuse one more connection; those that are open serve on.
                log.warning("postgres refuses connections", reason=reason(error))


def _cut(connection: Pooled) -> None:
    """Break the connection off, unless it is gone already."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


def _is_cut(connection: Pooled) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # The pool has taken it back already, because it was closed.
        return True
