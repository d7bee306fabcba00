"""Listening: hears of every change of a key, and says when changes may have been missed.

Notifications are not queued for who is away, and a dead connection looks like a quiet one. So whoever listens resyncs
after every LISTEN, and the connection proves every few seconds that it still carries notifications.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from gateway.adapters.postgres.connection import CONNECT_ERRORS, connect, reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

CHANNEL: Final = "gateway_keys"
CONNECT_TIMEOUT_S: Final = 2.0
HEARTBEAT_S: Final = 5.0
HEARTBEAT_TIMEOUT_S: Final = 2.0
RETRY_FIRST_S: Final = 0.05
RETRY_LAST_S: Final = 2.0

log = structlog.get_logger()


class Audience(Protocol):
    """Who wants to know; called on the event loop, and must not wait."""

    def on_change(self, payload: str) -> None:
        """Something changed: ``key:<id>``, or ``secret:<hex of its SHA-256>`` for a new secret."""

    def on_resync(self) -> None:
        """Changes are heard from now on; those before may have been missed."""

    def on_lost(self) -> None:
        """Changes are not heard any more."""


class KeyChangeListener:
    """Listens on a connection of its own, and makes another when that one is lost or silent."""

    def __init__(self, dsn: str, audience: Audience, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        """Prepare; `run` connects."""
        self._dsn = dsn
        self._audience = audience
        self._heartbeat_s = heartbeat_s
        # No two listeners may take the other's heartbeat for their own.
        self._private_channel = f"gateway_heartbeat_{secrets.token_hex(8)}"
        self._lost = asyncio.Event()
        self._beat = asyncio.Event()
        self._why: str | None = None
        self.connected = False

    async def run(self) -> None:
        """Listen until cancelled."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                async with self._listening() as connection:
                    wait_s = RETRY_FIRST_S
                    await self._until_lost(connection)
            except CONNECT_ERRORS as error:
                self._note_deaf(reason(error))
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, RETRY_LAST_S)

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Connect and listen; the connection is cut on leaving, because a silent server would not take a farewell."""
        connection = await connect(self._dsn, CONNECT_TIMEOUT_S)
        try:
            self._lost.clear()
            connection.add_termination_listener(self._on_termination)
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.add_listener(CHANNEL, self._on_notification)
                await connection.add_listener(self._private_channel, self._on_beat)
            self.connected = True
            self._why = None
            self._audience.on_resync()
            log.info("key changes heard")
            yield connection
        finally:
            connection.remove_termination_listener(self._on_termination)
            connection.terminate()
            if self.connected:
                self.connected = False
                self._audience.on_lost()

    async def _until_lost(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Return when the connection ends; raises TimeoutError when a heartbeat does not come back."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_s):
                    await self._lost.wait()
            if self._lost.is_set():
                self._note_deaf("the connection was closed")
                return
            self._beat.clear()
            async with asyncio.timeout(HEARTBEAT_TIMEOUT_S):
                await connection.execute(f"NOTIFY {self._private_channel}", timeout=HEARTBEAT_TIMEOUT_S)
                await self._beat.wait()

    def _note_deaf(self, why: str) -> None:
        if why != self._why:
            self._why = why
            log.warning("key changes not heard", reason=why)

    def _on_notification(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        assert isinstance(payload, str)
        self._audience.on_change(payload)

    def _on_beat(self, _connection: object, _pid: int, _channel: str, _payload: object) -> None:
        self._beat.set()

    def _on_termination(self, _connection: object) -> None:
        self._lost.set()
