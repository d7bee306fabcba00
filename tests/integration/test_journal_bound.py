"""A bounded journal: over its bound the oldest events go and are counted, or requests are refused, as configured."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.journal import Journal, count_records, total_size
from gateway.jobs.bound_journal import JournalBound, OnFull
from gateway.telemetry.telemetry import Telemetry
from tests.fakes.journal_writer import record
from tests.limiters import eventually
from tests.unit.telemetry.pages import samples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SEGMENT_BYTES = 2_000
MAX_BYTES = 10_000


class Site:
    """A directory with the journals of two workers, and the bound of the first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "journal"
        self.counters = directory / "counters"
        self.journal, self.other = (
            Journal(self.directory, name, segment_max_bytes=SEGMENT_BYTES) for name in ("w0", "w1")
        )
        self.telemetry = Telemetry(self.counters / "worker-0.counters")
        self.shipped: dict[str, int] = {}

    def bound(self, on_full: OnFull) -> JournalBound:
        return JournalBound(
            *(self.journal, self.directory, self.telemetry, {"postgres": lambda path: self.shipped.get(path.name, 0)}),
            max_bytes=MAX_BYTES,
            on_full=on_full,
        )

    def fill(self, journal: Journal, count: int) -> None:
        for number in range(count):
            journal.append(record(number))
            journal.flush()

    def kept(self) -> int:
        return sum(count_records(path, 0) for path in self.directory.iterdir())

    def dropped(self) -> int:
        return int(samples(self.counters).get(("gateway_usage_events_dropped_total", "postgres"), 0))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    yield site
    site.journal.close()
    site.other.close()
    site.telemetry.close()


async def test_within_its_bound_nothing_happens(site: Site) -> None:
    site.fill(site.journal, 30)
    for policy in ("drop_oldest", "refuse"):
        await site.bound(policy).look()
    assert (site.kept(), site.dropped(), site.journal.full) == (30, 0, False)


async def test_the_oldest_segments_go_and_every_lost_event_is_counted(site: Site) -> None:
    site.fill(site.journal, 300)
    site.fill(site.other, 5)
    oldest = min(site.directory.glob("w0*"))
    await site.bound("drop_oldest").look()
    assert total_size(site.directory) <= MAX_BYTES
    assert not oldest.exists()
    assert site.journal.segment.exists()
    assert site.dropped() == 305 - site.kept()
    assert not site.journal.full


async def test_events_that_were_shipped_are_not_counted_as_lost(site: Site) -> None:
    site.fill(site.journal, 300)
    oldest = min(site.directory.glob("w0*"))
    lines = oldest.read_bytes().splitlines(keepends=True)
    site.shipped[oldest.name] = len(lines[0]) + len(lines[1])
    await site.bound("drop_oldest").look()
    assert site.dropped() == 300 - site.kept() - 2


async def test_what_is_being_written_is_never_dropped(site: Site) -> None:
    site.fill(site.journal, 2)
    segment = site.journal.segment
    site.journal._segment_max_bytes = site.journal._rotate_at = 1 << 30
    site.fill(site.journal, 400)
    await site.bound("drop_oldest").look()
    assert site.journal.segment == segment
    assert (site.kept(), site.dropped()) == (402, 0)


async def test_with_refuse_the_journal_is_full_until_there_is_room(site: Site) -> None:
    bound = site.bound("refuse")
    site.fill(site.journal, 300)
    watching = asyncio.create_task(bound.run(0.01))
    await eventually(lambda: site.journal.full)
    assert (site.kept(), site.dropped()) == (300, 0)
    for path in sorted(site.directory.glob("w0*"))[:-1]:
        path.unlink()
    await eventually(lambda: not site.journal.full)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_segment_that_somebody_else_took_is_not_counted(site: Site) -> None:
    site.fill(site.journal, 300)
    oldest = min(site.directory.glob("w0*"))
    shipped = count_records(oldest, 0)

    def taken(path: Path) -> int:
        if path == oldest:
            path.unlink()
        return 0

    await JournalBound(
        *(site.journal, site.directory, site.telemetry, {"postgres": taken}), max_bytes=MAX_BYTES, on_full="drop_oldest"
    ).look()
    assert site.dropped() == 300 - shipped - site.kept()


async def test_a_directory_that_cannot_be_read_is_looked_at_again(site: Site) -> None:
    site.fill(site.journal, 300)
    hidden = site.directory.with_name("hidden")
    site.directory.rename(hidden)
    watching = asyncio.create_task(site.bound("drop_oldest").run(0.01))
    await asyncio.sleep(0.05)
    hidden.rename(site.directory)
    await eventually(lambda: total_size(site.directory) <= MAX_BYTES)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_disk_that_has_room_again_is_noticed_without_a_request(site: Site) -> None:
    site.fill(site.journal, 3)
    size, file = site.journal.segment.stat().st_size, site.journal._file
    site.journal._file = os.open("/dev/full", os.O_WRONLY)
    site.fill(site.journal, 1)
    seen = [site.journal.full]
    await site.bound("refuse").look()
    seen.append(site.journal.full)
    os.close(site.journal._file)
    site.journal._file = file
    await site.bound("refuse").look()
    assert [*seen, site.journal.full] == [True, True, False]
    assert site.journal.segment.stat().st_size == size
    assert (site.journal.appended, site.journal.dropped) == (3, 1)
