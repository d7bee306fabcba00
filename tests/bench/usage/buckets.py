"""What a key's bucket takes of Valkey: memory and CPU time, by the real script on a real server."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from gateway.adapters.redis.limiter import _SCRIPT, bucket_key
from gateway.core.bucket import Algorithm
from gateway.embedded.valkey import EmbeddedValkey
from tests.bench.usage.measuring import cpu_us, print_row

if TYPE_CHECKING:
    from redis.commands.core import AsyncScript

HOUR_MS = 3_600_000
PIPELINED = 500
TEN_MILLION = 10_000_000


async def measure(keys: int) -> None:
    """Print memory of a bucket, by Valkey's own word and by the growth of the server, and the CPU time of a check."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as directory:
        valkey = EmbeddedValkey(Path(directory) / "valkey", log=Path(directory) / "valkey.log", durable=False)
        await valkey.start()
        try:
            async with Redis.from_url(valkey.url, socket_timeout=60) as client:
                script = client.register_script(_SCRIPT)
                for algorithm, kind in ((Algorithm.TOKEN_BUCKET, "t"), (Algorithm.SLIDING_WINDOW, "w")):
                    await _fill(client, script, valkey.child.pid, keys, algorithm, kind)
        finally:
            await valkey.stop()


async def _fill(client: Redis, script: AsyncScript, pid: int, keys: int, algorithm: Algorithm, kind: str) -> None:
    await client.execute_command("FLUSHALL", "SYNC")
    before = await _memory(client)
    await _take(client, script, keys, algorithm, kind)
    grown, used = await _memory(client) - before, cpu_us(pid)
    await _take(client, script, keys, algorithm, kind)
    used = cpu_us(pid) - used
    usage = await client.memory_usage(_name(0, algorithm), samples=0)
    print_row(
        f"{algorithm}, {keys:,} keys: MEMORY USAGE, grown",
        f"{usage} B/key",
        f"{grown / keys:.0f} B/key",
        f"10 M: {grown / keys * TEN_MILLION / 2**30:.1f} GiB",
        f"{used / keys:.1f} µs/check",
    )


async def _take(client: Redis, script: AsyncScript, keys: int, algorithm: Algorithm, kind: str) -> None:
    for start in range(0, keys, PIPELINED):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, start + PIPELINED):
            await script([_name(number, algorithm)], [kind, 1000, HOUR_MS], client=pipeline)
        await pipeline.execute()


def _name(number: int, algorithm: Algorithm) -> str:
    return bucket_key(f"api_key_{number:026d}", "key", algorithm, HOUR_MS)


async def _memory(client: Redis) -> int:
    memory: dict[str, int] = await client.info("memory")
    return memory["used_memory"]
