"""A connection to the database of a gateway that is kept from one question to the next: to connect is most of a question."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Connection = asyncpg.Connection[asyncpg.Record]

_TIMEOUT_S = 10.0
T = TypeVar("T")


class KeptConnection:
    """Opened when it is first needed, and again when it was lost; for tests that are no coroutines, in any thread."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._one_at_a_time = threading.Lock()
        self._runner: asyncio.Runner | None = None
        self._connection: Connection | None = None

    def do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do *work* on it, once more on a new connection where an old one has ended meanwhile."""
        with self._one_at_a_time:
            self._runner = self._runner or asyncio.Runner(loop_factory=asyncio.new_event_loop)
            known = self._connection is not None
            try:
                return self._runner.run(self._do(work))
            except (
                asyncpg.PostgresConnectionError,
                asyncpg.OperatorInterventionError,
                asyncpg.InterfaceError,
                OSError,
            ):
                self._forget()
                if not known:
                    raise
                return self._runner.run(self._do(work))

    def close(self) -> None:
        """Give it back, if there is one."""
        with self._one_at_a_time:
            if self._runner is not None:
                self._forget()
                self._runner.close()
                self._runner = None

    async def _do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        if self._connection is None:
            self._connection = await asyncpg.connect(self._dsn, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S)
        return await work(self._connection)

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
