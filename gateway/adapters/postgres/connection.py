"""Connections: how one is made, and what its failures mean in words that hold no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

APPLICATION: Final = "gateway"

# The server finds out about a gateway that vanished without a word, and gives up what nobody waits for any more.
SERVER_SETTINGS: Final = {
    "application_name": APPLICATION,
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

DRIVER_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver itself raises; an internal error is how it meets a connection that ends between two messages."""

CONNECT_ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, *DRIVER_ERRORS, ValueError)
"""What connecting may raise; ValueError is a connection string that cannot be read."""

AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""What tells that the server, or the way to it, is gone; other errors are the server's answers."""


async def connect(
    dsn: str, timeout_s: float, *, command_timeout_s: float | None = None
) -> asyncpg.Connection[asyncpg.Record]:
    """Connect within *timeout_s*, to wait *command_timeout_s* for each answer; raises one of CONNECT_ERRORS."""
    return await asyncpg.connect(
        dsn, timeout=timeout_s, command_timeout=command_timeout_s, server_settings=SERVER_SETTINGS
    )


def reason(error: BaseException) -> str:
    """Say what *error* is. A message of the driver's may quote the connection string, so only the server's is shown."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, (asyncpg.InterfaceError, ValueError)):
        return "the connection string cannot be used, or the connection was closed"
    return type(error).__name__
