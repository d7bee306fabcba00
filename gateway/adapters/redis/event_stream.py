"""Usage events as a stream in Redis or Valkey, for engines that read from one.

No request waits for it, so this goes through redis-py, which connects again by itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from gateway.ports import SinkDown

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELD: Final = b"event"
"""The one field of an entry; its value is a CloudEvent in JSON."""
CONNECT_TIMEOUT_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
PIECE: Final = 100
"""Events in one round trip; writing their commands takes about a millisecond."""


class RedisStreamPublisher:
    """Appends to *stream*, which keeps *max_length* entries and a few more; implements the EventPublisher port."""

    def __init__(self, url: str, stream: str, max_length: int) -> None:
        """Prepare; the first batch connects. Raises ValueError when *url* cannot be read."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=1,
            timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._client = Redis.from_pool(pool)
        self._stream = stream
        self._max_length = max_length

    async def publish(self, envelopes: Sequence[bytes]) -> None:
        """Append *envelopes*, some at each round trip, so that requests wait for no more than that; raises SinkDown."""
        for start in range(0, len(envelopes), PIECE):
            await self._append(envelopes[start : start + PIECE])

    async def _append(self, envelopes: Sequence[bytes]) -> None:
        try:
            async with (
                asyncio.timeout(CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S),
                self._client.pipeline(transaction=False) as pipeline,
            ):
                for text in envelopes:
                    pipeline.xadd(self._stream, {FIELD: text}, maxlen=self._max_length, approximate=True)
                answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            message = f"Redis does not take usage events: {type(error).__name__}; see usage.sinks.redis_stream"
            raise SinkDown(message) from error
        refused = next((answer for answer in answers if isinstance(answer, RedisError)), None)
        if refused is not None:
            # Its first word is its kind, unless the type is; what follows may repeat what was sent.
            kind = str(refused).split(" ")[0][:40] if type(refused) is ResponseError else type(refused).__name__
            raise SinkDown(f"Redis refuses usage events: {kind}; see usage.sinks.redis_stream")

    async def close(self) -> None:
        """Close the connection."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._client.aclose()
        except (RedisError, OSError, TimeoutError):
            # What cannot be closed in order is closed by the end of the process.
            return
