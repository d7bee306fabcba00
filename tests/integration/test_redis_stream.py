"""The stream of usage events in a real Valkey: bounded, and there again after the server was."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from gateway.adapters.journal import Journal
from gateway.adapters.positions import PositionedSink
from gateway.adapters.redis import event_stream
from gateway.adapters.redis.event_stream import RedisStreamPublisher
from gateway.jobs.ship_events import EventShipper
from gateway.ports import SinkDown
from gateway.telemetry.telemetry import Telemetry
from tests.limiters import eventually
from tests.unit.telemetry.pages import samples
from tests.usage_events import event

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.embedded.valkey import EmbeddedValkey

STREAM = "usage"


async def test_the_stream_keeps_about_as_many_as_it_may(redis_url: str) -> None:
    publisher = RedisStreamPublisher(redis_url, STREAM, 1_000)
    for _ in range(10):
        await publisher.publish([b"{}"] * 500)
    await publisher.close()
    async with Redis.from_url(redis_url, socket_timeout=10) as client:
        assert 1_000 <= await client.xlen(STREAM) < 1_200


async def test_a_refusal_says_its_kind_and_nothing_of_the_events(redis_url: str) -> None:
    async with Redis.from_url(redis_url, socket_timeout=10) as client:
        await client.set(STREAM, "not a stream")
    publisher = RedisStreamPublisher(redis_url, STREAM, 1_000)
    with pytest.raises(SinkDown, match=r"^Redis refuses usage events: WRONGTYPE; see usage\.sinks\.redis_stream$"):
        await publisher.publish([b'{"path": "/private"}'])
    await publisher.close()


async def test_a_server_that_hangs_is_given_up_in_time(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "ANSWER_TIMEOUT_S", 0.2)
    publisher = RedisStreamPublisher(valkey.url, STREAM, 1_000)
    await publisher.publish([b"{}"])
    valkey.child.send(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(SinkDown, match="TimeoutError"):
        await publisher.publish([b"{}"])
    assert time.monotonic() - began < 3
    valkey.child.send(signal.SIGCONT)
    await publisher.publish([b"{}"])
    await publisher.close()


async def test_a_server_that_was_killed_gets_everything_once_it_is_back(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    journal = Journal(tmp_path / "journal", "w0", segment_max_bytes=3_000)
    telemetry = Telemetry(tmp_path / "counters" / "worker-0.counters")
    publisher = RedisStreamPublisher(valkey.url, STREAM, 100_000)
    sink = PositionedSink("redis_stream", publisher, tmp_path / "journal", "/tests")
    shipper = EventShipper(journal, tmp_path / "journal", sink, telemetry, interval_s=0.02, name="redis_stream")
    shipping = asyncio.create_task(shipper.run())
    valkey.child.kill()
    assert await valkey.child.ended(5)
    texts = [event() for _ in range(200)]
    for text in texts:
        journal.append(text)
        journal.flush()

    def count(name: str) -> float:
        return samples(tmp_path / "counters")[name, "redis_stream"]

    await eventually(lambda: count("gateway_usage_ship_failures_total") >= 2)
    await eventually(lambda: count("gateway_usage_journal_bytes") > 60_000)
    await valkey.start()
    await eventually(lambda: count("gateway_usage_events_shipped_total") == 200, timeout_s=15)
    await eventually(lambda: count("gateway_usage_journal_bytes") == 0)
    await eventually(lambda: count("gateway_usage_sink_lag_seconds") < 0.5)
    shipping.cancel()
    await asyncio.gather(shipping, return_exceptions=True)
    await sink.close()
    journal.close()
    telemetry.close()
    async with Redis.from_url(valkey.url, socket_timeout=10) as client:
        ids = [json.loads(fields[b"event"])["id"] for _, fields in await client.xrange(STREAM)]
    assert ids == [json.loads(text)["id"] for text in texts]
