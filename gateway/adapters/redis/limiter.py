"""The exact limiter: all buckets of a request in one atomic script, on Redis' own clock.

A breaker keeps a sick server off the requests' path: five calls in a row over budget, or a lost connection, and every
call fails at once until a probe in the background has been answered.
"""

from __future__ import annotations

import asyncio
import random
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import hiredis
import structlog

from gateway.adapters.redis.connection import PipelinedConnection, RedisAddress, RedisDown, pack_command
from gateway.core.bucket import Algorithm, Charges, Standing, Taken
from gateway.ports import LimiterDown

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_PREFIX: Final = "gateway:bucket:1"
SLOW_CALLS_MAX: Final = 5
CONNECT_TIMEOUT_S: Final = 1.0
RETRY_FIRST_S: Final = 0.05
RETRY_LAST_S: Final = 1.0
PREPARED_MAX: Final = 10_000

_SCRIPT: Final = files("gateway.adapters.redis").joinpath("bucket.lua").read_bytes()
# Redis names scripts by their SHA-1; nothing secret hangs on it.
_SCRIPT_NAME: Final = sha1(_SCRIPT, usedforsecurity=False).hexdigest()
_LOAD: Final = pack_command(("SCRIPT", "LOAD", _SCRIPT))
_PING: Final = pack_command(("PING",))
_KINDS: Final[Mapping[Algorithm, str]] = {Algorithm.TOKEN_BUCKET: "t", Algorithm.SLIDING_WINDOW: "w"}

log = structlog.get_logger()


def bucket_key(subject: str, name: str, algorithm: Algorithm, window_ms: int) -> str:
    """Name a bucket in Redis. The subject is the hash tag, so that all its buckets share a slot of a cluster."""
    return f"{KEY_PREFIX}:{_KINDS[algorithm]}:{{{subject}}}:{name}:{window_ms}"


def pack(charges: Charges) -> bytes:
    """Give the bytes of the call that takes *charges*."""
    keys = [bucket_key(charges.subject, limit.name, limit.algorithm, limit.window_ms) for limit in charges.limits]
    arguments: list[str] = []
    for limit in charges.limits:
        arguments += [_KINDS[limit.algorithm], str(limit.capacity), str(limit.window_ms)]
    return pack_command(("EVALSHA", _SCRIPT_NAME, str(len(keys)), *keys, *arguments))


def unpack(charges: Charges, answer: list[int]) -> Taken:
    """Read the script's answer."""
    if len(charges.limits) == 1:
        return Taken(answer[0] == 1, answer[1], (Standing(charges.limits[0], answer[2], answer[3], answer[4]),))
    standings = tuple(
        Standing(limit, *answer[2 + 3 * index : 5 + 3 * index]) for index, limit in enumerate(charges.limits)
    )
    return Taken(answer[0] == 1, answer[1], standings)


class RedisLimiter:
    """Takes charges from buckets in Redis or Valkey; implements the Limiter port."""

    def __init__(self, url: str, budget_s: float) -> None:
        """Prepare; `run` connects. Raises ValueError for a URL that is none."""
        self._address = RedisAddress.parse(url)
        self._budget_s = budget_s
        self._connection: PipelinedConnection | None = None
        self._lost = asyncio.Event()
        self._prepared: dict[int, tuple[Charges, bytes]] = {}

    @property
    def up(self) -> bool:
        """Say whether calls are made at the moment."""
        return self._connection is not None

    async def take(self, charges: Charges) -> Taken:
        """Take *charges*, all or none; raises LimiterDown within the budget."""
        connection = self._connection
        if connection is None:
            raise LimiterDown
        prepared = self._prepared.get(id(charges))
        if prepared is None or prepared[0] is not charges:
            prepared = self._prepare(charges)
        try:
            answer = await connection.call(prepared[1])
        except RedisDown as error:
            if connection.slow_in_a_row >= SLOW_CALLS_MAX:
                connection.close()
            raise LimiterDown from error
        except hiredis.ReplyError as error:
            answer = await self._recover(connection, prepared[1], error)
        return unpack(charges, answer)

    async def run(self) -> None:
        """Keep connected until cancelled: the breaker's half-open probe is the connecting itself."""
        wait_s = RETRY_FIRST_S
        try:
            while True:
                self._lost.clear()
                try:
                    connection = await self._open()
                except (RedisDown, hiredis.ReplyError) as error:
                    log.warning("redis unreachable", redis=repr(self._address), reason=str(error), retry_in_s=wait_s)
                    await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                    wait_s = min(wait_s * 2, RETRY_LAST_S)
                    continue
                log.info("redis connected", redis=repr(self._address))
                wait_s = RETRY_FIRST_S
                self._connection = connection
                await self._lost.wait()
                self._connection = None
                log.warning("redis lost", redis=repr(self._address))
        finally:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def _open(self) -> PipelinedConnection:
        connection = await PipelinedConnection.open(self._address, self._budget_s, CONNECT_TIMEOUT_S, self._on_lost)
        try:
            await connection.call(_LOAD)
            await connection.call(_PING)
        except BaseException:
            connection.close()
            raise
        return connection

    def _on_lost(self) -> None:
        self._connection = None
        self._lost.set()

    def _prepare(self, charges: Charges) -> tuple[Charges, bytes]:
        if len(self._prepared) >= PREPARED_MAX:
            self._prepared.clear()
        prepared = (charges, pack(charges))
        self._prepared[id(charges)] = prepared
        return prepared

    async def _recover(self, connection: PipelinedConnection, command: bytes, error: hiredis.ReplyError) -> Any:
        """Load the script again if the server forgot it (nothing was taken then); all else is a failed call."""
        if not str(error).startswith("NOSCRIPT"):
            raise LimiterDown from error
        try:
            await connection.call(_LOAD)
            return await connection.call(command)
        except (RedisDown, hiredis.ReplyError) as again:
            raise LimiterDown from again
