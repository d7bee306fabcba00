"""Several sinks: each gets every event by itself, and what one of them lacks is kept for it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.journal import Journal, count_records
from gateway.adapters.json_lines import JsonLinesPublisher
from gateway.adapters.positions import PositionedSink
from gateway.jobs.bound_journal import JournalBound
from gateway.jobs.release_segments import SegmentRelease
from gateway.jobs.ship_events import EventShipper
from gateway.ports import SinkDown
from gateway.telemetry.telemetry import Telemetry
from tests.limiters import eventually
from tests.unit.telemetry.pages import samples
from tests.usage_events import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SINKS = ("first", "second")
SEGMENT_BYTES = 3_000


class Gate:
    """A publisher in front of a real one, which can be closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.away = False
        self._lines = JsonLinesPublisher(str(path))

    async def publish(self, envelopes: Sequence[bytes]) -> None:
        if self.away:
            raise SinkDown("away")
        await self._lines.publish(envelopes)

    async def close(self) -> None:
        await self._lines.close()

    @property
    def ids(self) -> list[str]:
        if not self.path.exists():
            return []
        return [json.loads(line)["id"] for line in self.path.read_text().splitlines()]


class Worker:
    """One worker: its journal, and a shipper for each sink."""

    def __init__(self, site: Site, name: str) -> None:
        self.journal = Journal(site.directory, name, segment_max_bytes=SEGMENT_BYTES)
        self.telemetry = Telemetry(site.counters / f"{name}.counters")
        release = SegmentRelease(SINKS)
        self.shippers = {
            sink: EventShipper(
                *(self.journal, site.directory, PositionedSink(sink, site.gates[sink], site.directory, "/tests")),
                self.telemetry,
                interval_s=0.02,
                name=sink,
                release=release,
            )
            for sink in SINKS
        }

    def write(self, count: int) -> list[str]:
        texts = [event() for _ in range(count)]
        for text in texts:
            self.journal.append(text)
            self.journal.flush()
        return [json.loads(text)["id"] for text in texts]

    async def drain(self) -> None:
        for shipper in self.shippers.values():
            try:
                await shipper.drain()
            except SinkDown:
                continue

    def close(self) -> None:
        self.journal.close()
        self.telemetry.close()


class Site:
    """A directory of journals with two sinks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "journal"
        self.counters = directory / "counters"
        self.gates = {sink: Gate(directory / f"{sink}.jsonl") for sink in SINKS}
        self._open: list[Worker] = []

    def worker(self, name: str) -> Worker:
        self._open.append(Worker(self, name))
        return self._open[-1]

    def leave(self, worker: Worker) -> None:
        """Let go of *worker*, as its death would."""
        self._open.remove(worker)
        worker.close()

    def close(self) -> None:
        for worker in self._open:
            worker.close()

    def count(self, name: str, sink: str) -> float:
        return samples(self.counters).get((name, sink), -1)

    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.journal"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


async def test_a_segment_is_deleted_when_every_sink_has_it_and_not_before(site: Site) -> None:
    worker = site.worker("w0")
    site.gates["second"].away = True
    ids = worker.write(60)
    finished = site.segments()[:-1]
    assert len(finished) > 3
    await worker.drain()
    assert (site.gates["first"].ids, site.gates["second"].ids) == (ids, [])
    assert site.segments()[:-1] == finished
    site.gates["second"].away = False
    await worker.drain()
    assert site.gates["second"].ids == ids
    assert site.segments() == [worker.journal.segment]
    assert sorted(path.name for path in site.directory.iterdir()) == sorted(
        [
            worker.journal.segment.name,
            *(f"{worker.journal.segment.name}.{sink}" for sink in SINKS),
            *(f"{sink}.lock" for sink in SINKS),
        ]
    )


async def test_a_sink_that_is_away_delays_no_other_and_shows_its_lag(site: Site) -> None:
    worker = site.worker("w0")
    site.gates["second"].away = True
    shipping = [asyncio.create_task(shipper.run()) for shipper in worker.shippers.values()]
    ids = worker.write(60)
    await eventually(lambda: site.gates["first"].ids == ids)
    await eventually(lambda: site.count("gateway_usage_ship_failures_total", "second") >= 3)
    await eventually(lambda: site.count("gateway_usage_journal_bytes", "first") == 0)
    assert site.count("gateway_usage_ship_failures_total", "first") == 0
    assert site.count("gateway_usage_journal_bytes", "second") > 60 * 400
    await eventually(lambda: site.count("gateway_usage_sink_lag_seconds", "second") > 0.3)
    site.gates["second"].away = False
    await eventually(lambda: site.gates["second"].ids == ids, timeout_s=10)
    await eventually(lambda: site.count("gateway_usage_sink_lag_seconds", "second") < 0.2)
    for task in shipping:
        task.cancel()
    await asyncio.gather(*shipping, return_exceptions=True)


async def test_positions_outlive_the_worker_and_nothing_is_sent_twice(site: Site) -> None:
    dead = site.worker("w0")
    ids = dead.write(5)
    await dead.drain()
    site.gates["second"].away = True
    ids += dead.write(5)
    await dead.drain()
    site.leave(dead)
    site.gates["second"].away = False
    alive = site.worker("w1")
    await alive.drain()
    assert site.gates["first"].ids == site.gates["second"].ids == ids
    assert site.segments() == [alive.journal.segment]


async def test_workers_that_ship_abandoned_segments_at_once_send_each_event_once(site: Site) -> None:
    dead = site.worker("w0")
    ids = dead.write(200)
    site.leave(dead)
    await asyncio.gather(*(site.worker(f"w{number}").drain() for number in range(1, 4)))
    for gate in site.gates.values():
        assert sorted(gate.ids) == sorted(ids)
    assert len(site.segments()) == 3


async def test_a_damaged_position_sends_again_rather_than_losing(site: Site) -> None:
    worker = site.worker("w0")
    ids = worker.write(3)
    await worker.drain()
    (site.directory / f"{worker.journal.segment.name}.first").write_bytes(b"")
    site.leave(worker)
    await site.worker("w1").drain()
    assert site.gates["first"].ids == ids + ids
    assert site.gates["second"].ids == ids


async def test_positions_of_segments_that_are_gone_are_forgotten_at_the_start(site: Site) -> None:
    site.directory.mkdir()
    (site.directory / "w0-000001.journal.first").write_bytes(b"700")
    worker = site.worker("w1")
    assert list(site.directory.iterdir()) == [worker.journal.segment]


async def test_an_event_is_lost_only_for_the_sink_that_did_not_have_it(site: Site) -> None:
    worker = site.worker("w0")
    site.gates["second"].away = True
    ids = worker.write(100)
    await worker.drain()
    bound = JournalBound(
        *(worker.journal, site.directory, worker.telemetry),
        {name: shipper.shipped for name, shipper in worker.shippers.items()},
        max_bytes=15_000,
        on_full="drop_oldest",
    )
    await bound.look()
    kept = sum(count_records(path, 0) for path in site.segments())
    assert 0 < kept < 100
    assert site.count("gateway_usage_events_dropped_total", "first") == 0
    assert site.count("gateway_usage_events_dropped_total", "second") == 100 - kept
    site.gates["second"].away = False
    await worker.drain()
    assert site.gates["first"].ids == ids
    assert site.gates["second"].ids == ids[-kept:]
    assert not [path for path in site.directory.glob("*.journal.*") if not path.with_suffix("").exists()]
