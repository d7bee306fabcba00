"""An upstream gets no more requests at once than it may have; a few wait a little, the rest is refused at once."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.http.faults import UpstreamBusy
from tests.backends import plain
from tests.integration.upstreams import PATIENT, Asker, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backends import Backend, Connection, Received


@pytest.fixture
def gate(backend: Backend) -> Iterator[threading.Event]:
    """Holds the backend's answers until it is set."""
    gate = threading.Event()

    def answer(request: Received, connection: Connection) -> None:
        gate.wait(10)
        plain()(request, connection)

    backend.answer = answer
    yield gate
    gate.set()


async def test_more_than_may_be_under_way_wait_and_get_their_turn(backend: Backend, gate: threading.Event) -> None:
    async with aclosing(Asker(backend.port, timeouts=PATIENT, concurrent_max=3, queue_max=4, queue_s=5.0)) as asker:
        asking = [asyncio.ensure_future(asker.ask()) for _ in range(7)]
        assert await until(lambda: len(backend.requests) == 3 and asker.upstream.queued == 4)
        began = time.monotonic()
        with pytest.raises(UpstreamBusy):
            await asker.ask()
        assert time.monotonic() - began < 0.1
        gate.set()
        assert [answer.status for answer in await asyncio.gather(*asking)] == [200] * 7
        assert asker.upstream.queued == 0
        assert len(backend.connections) <= 3


async def test_nobody_waits_longer_than_allowed(backend: Backend, gate: threading.Event) -> None:
    async with aclosing(Asker(backend.port, timeouts=PATIENT, concurrent_max=1, queue_max=10, queue_s=0.1)) as asker:
        first = asyncio.ensure_future(asker.ask())
        assert await until(lambda: len(backend.requests) == 1)
        began = time.monotonic()
        with pytest.raises(UpstreamBusy):
            await asker.ask()
        assert time.monotonic() - began == pytest.approx(0.1, abs=0.09)
        gate.set()
        await first
        assert (await asker.ask()).status == 200


async def test_places_of_those_that_go_away_are_not_lost(backend: Backend, gate: threading.Event) -> None:
    async with aclosing(Asker(backend.port, timeouts=PATIENT, concurrent_max=2, queue_max=50, queue_s=5.0)) as asker:
        asking = [asyncio.ensure_future(asker.ask()) for _ in range(30)]
        assert await until(lambda: asker.upstream.queued == 28)
        for task in asking[::3]:
            task.cancel()
        # Those that wait are given their places in the same moment in which some of them go away.
        gate.set()
        for task in asking[1::3]:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert asker.upstream.queued == asker.upstream.busy_count == 0
        answers = await asyncio.gather(*(asker.ask() for _ in range(10)))
        assert [answer.status for answer in answers] == [200] * 10
        assert asker.upstream._admission.in_flight == 0


async def test_failures_give_their_places_back(backend: Backend) -> None:
    backend.answer = lambda _request, connection: connection.close()
    async with aclosing(Asker(backend.port, timeouts=PATIENT, concurrent_max=2, queue_max=0)) as asker:
        for _ in range(4):
            await asyncio.gather(asker.ask("POST", body=b"abc"), return_exceptions=True)
        assert asker.upstream._admission.in_flight == 0
