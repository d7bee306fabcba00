"""What goes on after its request was admitted ends when the key may no longer, also when nobody can say whether it may."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.access import Access
from gateway.adapters.memory.keycache import KeyCache
from gateway.adapters.memory.limiter import MemoryLimiter
from gateway.core.credentials import NoCredential, digest, read
from gateway.core.facts import RequestFacts
from gateway.core.keys import KeyRecord, KeyStatus
from gateway.core.paths import Target
from gateway.core.routes import Pattern, Route
from gateway.core.snapshot import KeyFormat
from gateway.proxy.watch import Watch, Watched
from gateway.telemetry.telemetry import Telemetry
from tests.fakes.key_source import Clock, StallingSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "bk_live_" + "a" * 32
KEY = KeyRecord("api_key_1", "acc_1", "bk_live_aaaa", frozenset({"READ"}), 1)
ROUTE = Route("events", Pattern.parse("/events"), frozenset({"GET"}), scope="READ", upstream="things", stream=True)
PUBLIC = Route("open", Pattern.parse("/open"), frozenset({"GET"}), public=True, upstream="things", stream=True)


class Watching:
    """A watch over one key's streams, with what it ended and why."""

    def __init__(self, directory: Path) -> None:
        self.source, self.clock = StallingSource(), Clock()
        self.source.records[digest(SECRET)] = KEY
        self.keys = KeyCache(self.source, self.clock, ttl_s=5.0, max_stale_s=50.0, absent_ttl_s=1.0, entries_max=100)
        limiter = MemoryLimiter(lambda: 0)
        self.telemetry = Telemetry(directory / "test.counters")
        access = Access(self.keys, limiter, limiter, self.telemetry, self.clock)
        self.watch = Watch(access)
        self.ended: list[str] = []

    def begin(self, route: Route = ROUTE, idle_s: float | None = None) -> Watched:
        credential = NoCredential() if route.public else read((f"Bearer {SECRET}",), KeyFormat(legacy=True))
        facts = RequestFacts("GET", Target("/events", "", ("events",)), "127.0.0.1", credential)
        watched = Watched(facts, route, self.ended.append, asyncio.get_running_loop().time(), idle_s)
        self.watch.add(watched)
        return watched


@pytest.fixture
async def watching(tmp_path: Path) -> AsyncIterator[Watching]:
    watching = Watching(tmp_path)
    yield watching
    await watching.keys.close()
    watching.telemetry.close()


async def test_what_may_go_on_is_left_alone_and_charged_nothing(watching: Watching) -> None:
    watched = [watching.begin(), watching.begin(), watching.begin(PUBLIC), watching.begin(idle_s=60.0)]
    assert (len(watching.watch), watching.watch.tunnels) == (4, 1)
    for _ in range(3):
        await watching.watch.look()
    assert watching.ended == []
    assert len(watching.source.reads) == 1
    for one in watched:
        watching.watch.remove(one)
    assert len(watching.watch) == 0


@pytest.mark.parametrize(
    "changed",
    [
        replace(KEY, status=KeyStatus.SUSPENDED),
        replace(KEY, scopes=frozenset({"WRITE"})),
        replace(KEY, expires_at=999.0),
        None,
    ],
)
async def test_a_changed_key_ends_all_of_its_own_and_nothing_else(
    watching: Watching, changed: KeyRecord | None
) -> None:
    watching.begin(), watching.begin(idle_s=60.0), watching.begin(PUBLIC)
    await watching.watch.look()
    if changed is None:
        watching.source.records.clear()
    else:
        watching.source.records[digest(SECRET)] = changed
    watching.keys.drop_key(KEY.id)
    await watching.watch.look()
    assert watching.ended == ["access", "access"]


async def test_a_key_that_nobody_can_read_holds_as_long_as_for_requests(watching: Watching) -> None:
    watching.begin()
    await watching.watch.look()
    watching.source.down = True
    watching.clock.now += 49.0
    await watching.watch.look()
    assert watching.ended == []
    watching.clock.now += 2.0
    await watching.watch.look()
    assert watching.ended == ["access"]


async def test_only_tunnels_end_by_silence_and_when_the_worker_drains(watching: Watching) -> None:
    watching.begin()
    silent = watching.begin(idle_s=0.1)
    silent.active -= 0.1
    await watching.watch.look()
    assert watching.ended == ["idle"]
    watching.watch.remove(silent)
    watching.ended.clear()
    watching.begin(idle_s=60.0)
    watching.watch.drain()
    assert watching.ended == ["drain"]
