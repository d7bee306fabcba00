"""Login attempts in Redis, shared by all instances; each call is one atomic script on Redis' own clock.

A login is no hot path, so this goes through redis-py. After a failed call Redis is left alone for a second: while it is
away, logins wait for it now and then and not each time.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.core.attempts import AttemptLimits, Ending, Exceeded
from gateway.ports import LimiterDown

if TYPE_CHECKING:
    from gateway.core.attempts import Attempt

KEY_PREFIX: Final = "gateway:attempts:1"
CONNECTIONS_MAX: Final = 8
CONNECT_TIMEOUT_S: Final = 1.0
LEAVE_ALONE_S: Final = 1.0

_SCRIPT: Final = files("gateway.adapters.redis").joinpath("attempts.lua").read_bytes()


class RedisLoginAttempts:
    """Counts attempts in Redis or Valkey; implements the LoginAttempts port."""

    def __init__(self, url: str, budget_s: float, limits: AttemptLimits) -> None:
        """Prepare; the first call connects. A call may take *budget_s* when connected. Raises ValueError for no URL."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=CONNECT_TIMEOUT_S,
            socket_timeout=budget_s,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._client = Redis.from_pool(pool)
        self._script = self._client.register_script(_SCRIPT)
        self._limits = limits
        self._patience_s = CONNECT_TIMEOUT_S + budget_s
        self._left_alone_until = float("-inf")

    async def begin(self, attempt: Attempt) -> Exceeded | None:
        """Let *attempt* begin, unless a limit is used up; raises LimiterDown."""
        limit, retry_in_ms = await self._call("begin", attempt)
        return Exceeded(limit, retry_in_ms) if limit else None

    async def end(self, attempt: Attempt, ending: Ending) -> None:
        """Note how *attempt* ended; raises LimiterDown."""
        await self._call(ending.value, attempt)

    async def close(self) -> None:
        """Close the connections."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._client.aclose()
        except (RedisError, OSError, TimeoutError):
            # What cannot be closed in order is closed by the end of the process.
            return

    async def _call(self, verb: str, attempt: Attempt) -> list[int]:
        loop = asyncio.get_running_loop()
        if loop.time() < self._left_alone_until:
            raise LimiterDown
        limits = self._limits
        # The address is the hash tag, so that both keys share a slot of a cluster.
        address = f"{KEY_PREFIX}:{{{attempt.address}}}"
        keys = [address, f"{address}:{attempt.email_digest}"]
        words: list[str | int] = [
            verb,
            attempt.id,
            limits.address_max,
            limits.pair_max,
            limits.window_ms,
            limits.lease_ms,
        ]
        try:
            async with asyncio.timeout(self._patience_s):
                answer: list[int] = await self._script(keys=keys, args=words)
        except (RedisError, OSError, TimeoutError) as error:
            self._left_alone_until = loop.time() + LEAVE_ALONE_S
            raise LimiterDown from error
        return answer
