"""Active checks take an address out before a client notices, and bring it back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.http.faults import UpstreamAway, UpstreamTooSlow
from gateway.core.upstreams import Ejection, HealthCheck, Timeouts
from tests.backends import Backend, plain, raw, silent
from tests.integration.upstreams import Asker, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.backends import Connection, Received

RULES = HealthCheck("/health?deep=1", interval_s=0.05, timeout_s=0.1, healthy_after=2, unhealthy_after=2)


@pytest.fixture
def other() -> Iterator[Backend]:
    other = Backend()
    yield other
    other.close()


def states(asker: Asker) -> list[str]:
    return [one.state for one in asker.upstream.everyone]


def ill(answer: Callable[[Received, Connection], None]) -> Callable[[Received, Connection], None]:
    """Answer checks with *answer*, and requests well."""

    def choose(request: Received, connection: Connection) -> None:
        (answer if request.target.startswith("/health") else plain())(request, connection)

    return choose


@pytest.mark.parametrize(
    "answer",
    [
        plain(b"", "503 Ill"),
        silent,
        raw(b"garbage\r\n\r\n", close=True),
        lambda _request, connection: connection.reset(),
    ],
    ids=["503", "silent", "garbage", "reset"],
)
async def test_an_address_that_is_not_well_gets_nothing_until_it_is(
    backend: Backend, other: Backend, answer: Callable[[Received, Connection], None]
) -> None:
    backend.answer = ill(answer)
    async with aclosing(Asker(backend.port, other.port, health=RULES)) as asker:
        assert await until(lambda: states(asker) == ["unhealthy", "serving"])
        for _ in range(6):
            await asker.ask()
        assert not [request for request in backend.requests if request.target == "/"]
        backend.answer = plain()
        assert await until(lambda: states(asker) == ["serving", "serving"])
        for _ in range(6):
            await asker.ask()
        assert [request for request in backend.requests if request.target == "/"]


async def test_when_nobody_is_well_nobody_is_asked(backend: Backend) -> None:
    backend.answer = ill(plain(b"", "500 Ill"))
    async with aclosing(Asker(backend.port, health=RULES, probe_s=0.01)) as asker:
        assert await until(lambda: asker.upstream.is_away)
        for _ in range(20):
            with pytest.raises(UpstreamAway):
                await asker.ask()
            await asyncio.sleep(0.002)
        assert not [request for request in backend.requests if request.target == "/"]
        backend.answer = plain()
        assert await until(lambda: not asker.upstream.is_away)
        assert (await asker.ask()).status == 200


async def test_a_check_is_a_get_with_the_targets_name_and_leaves_no_connection(backend: Backend) -> None:
    async with aclosing(Asker(backend.port, health=RULES)) as asker:
        assert await until(lambda: len(backend.requests) > 2)
        assert asker.upstream.idle_count == 0
    assert backend.last.line == "GET /health?deep=1 HTTP/1.1"
    assert backend.last.one("host") == f"127.0.0.1:{backend.port}"
    assert await until(lambda: backend.open_connections == 0)


async def test_any_expected_status_is_well(backend: Backend) -> None:
    backend.answer = plain(b"", "204 Fine")
    rules = HealthCheck("/health", 0.05, 0.1, 1, 1, frozenset({200, 204}))
    async with aclosing(Asker(backend.port, health=rules)) as asker:
        assert await until(lambda: len(backend.requests) > 3)
        assert states(asker) == ["serving"]


@pytest.mark.parametrize("health", [None, replace(RULES, unhealthy_after=1000)], ids=["without", "with"])
async def test_what_stalls_costs_one_request_at_a_time_without_checks_and_none_with_them(
    backend: Backend, other: Backend, health: HealthCheck | None
) -> None:
    backend.answer = silent
    first_byte_s, first_s = 0.3, 0.05
    timeouts = Timeouts(0.5, first_byte_s, 0.5, 20)
    rules = Ejection(consecutive_failures=1, first_s=first_s, longest_s=first_s)
    async with aclosing(Asker(backend.port, other.port, timeouts=timeouts, ejection=rules, health=health)) as asker:

        def asked() -> int:
            return sum(request.target == "/" for request in backend.requests)

        await asyncio.gather(*(asker.ask() for _ in range(2)), return_exceptions=True)
        assert states(asker) == ["ejected", "serving"]
        before, checked = asked(), len(backend.requests)
        tasks = []
        for _ in range(20):  # longer than first_s, not as long as first_byte_s
            tasks.append(asyncio.ensure_future(asker.ask()))
            await asyncio.sleep(first_byte_s / 30)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        slow = [outcome for outcome in outcomes if isinstance(outcome, UpstreamTooSlow)]
        assert len(slow) == asked() - before == (health is None)
        assert health is None or await until(lambda: len(backend.requests) > checked)
        backend.answer = plain()

        async def taken_back() -> bool:
            await asker.ask()
            return states(asker) == ["serving", "serving"]

        while not await taken_back():
            await asyncio.sleep(0.01)
