"""Requests are spread over the targets; those that fail are passed over, and tried again with one request."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.http.faults import UpstreamAway, UpstreamFault, UpstreamGarbled, UpstreamTooSlow
from gateway.core.upstreams import Balance, Ejection, Retries, Timeouts
from gateway.embedded.listening import free_port
from gateway.telemetry import metrics
from tests.backends import Backend, plain, raw, silent
from tests.integration.upstreams import PATIENT, Asker, local, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


QUICK = {"ejection": Ejection(consecutive_failures=2, first_s=0.3, longest_s=0.6, circuit_breaker=True), "probe_s": 0.1}
GARBAGE = raw(b"garbage\r\n\r\n", close=True)


@pytest.fixture
def other() -> Iterator[Backend]:
    other = Backend()
    yield other
    other.close()
    assert not other.failures


@pytest.fixture
async def pair(backend: Backend, other: Backend) -> AsyncIterator[Asker]:
    async with aclosing(Asker(backend.port, other.port, timeouts=PATIENT, **QUICK)) as asker:
        yield asker


def states(asker: Asker) -> list[str]:
    return [one.state for one in asker.upstream.everyone]


async def fail(asker: Asker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(UpstreamFault):
            await asker.ask("POST", body=b"abc")


async def test_weights_are_kept(backend: Backend, other: Backend) -> None:
    async with aclosing(Asker(local(backend.port, 3), local(other.port))) as asker:
        for _ in range(40):
            await asker.ask()
    assert (len(backend.requests), len(other.requests)) == (30, 10)


async def test_the_less_busy_target_is_taken(backend: Backend, other: Backend) -> None:
    released = threading.Event()
    backend.answer = lambda request, connection: (released.wait(10), plain()(request, connection))[1]
    async with aclosing(Asker(backend.port, other.port, timeouts=PATIENT, balance=Balance.LEAST_CONNECTIONS)) as asker:
        held = asyncio.gather(*(asker.ask() for _ in range(2)))
        assert await until(lambda: bool(backend.requests) and asker.upstream.busy_count == 1)
        for _ in range(20):
            await asker.ask()
        assert len(backend.requests) == 1
        released.set()
        await held


@pytest.mark.parametrize("answer", [GARBAGE, raw(b"", close=True)], ids=["garbage", "nothing"])
async def test_a_target_that_answers_nothing_of_use_is_passed_over(
    pair: Asker, backend: Backend, other: Backend, answer: Callable[..., None]
) -> None:
    backend.answer = answer
    failed = 0
    for _ in range(8):
        try:
            await pair.ask("POST", body=b"abc")
        except UpstreamFault:
            failed += 1
    assert failed == 2
    # What may have been done is not sent to the other one either.
    assert len(backend.requests) + len(other.requests) == 8
    assert states(pair) == ["ejected", "serving"]
    assert pair.upstream.counts[metrics.UPSTREAM_EJECTIONS, ("tested", f"127.0.0.1:{backend.port}")] == 1


async def test_one_that_does_not_answer_in_time_is_passed_over(backend: Backend, other: Backend) -> None:
    backend.answer = silent
    timeouts = Timeouts(0.5, 0.1, 0.5, 20)
    async with aclosing(Asker(backend.port, other.port, timeouts=timeouts, **QUICK)) as asker:
        answers = await asyncio.gather(*(asker.ask() for _ in range(4)), return_exceptions=True)
        assert sum(isinstance(answer, UpstreamTooSlow) for answer in answers) == 2
        assert states(asker) == ["ejected", "serving"]
        assert (await asker.ask()).status == 200


async def test_server_errors_count_where_the_settings_say_so(backend: Backend, other: Backend) -> None:
    backend.answer = plain(b"{}", "500 Oops")
    for server_errors, state in ((False, "serving"), (True, "ejected")):
        rules = Ejection(consecutive_failures=2, server_errors=server_errors)
        async with aclosing(Asker(backend.port, other.port, ejection=rules)) as asker:
            for _ in range(6):
                await asker.ask()
            assert states(asker) == [state, "serving"]


async def test_one_request_tries_an_ejected_target_again(pair: Asker, backend: Backend, other: Backend) -> None:
    backend.answer = GARBAGE
    for _ in range(4):
        await asyncio.gather(pair.ask("POST", body=b"abc"), return_exceptions=True)
    assert states(pair)[0] == "ejected"
    released = threading.Event()
    backend.answer = lambda request, connection: (released.wait(10), plain()(request, connection))[1]
    before = len(backend.requests)
    asked: list[asyncio.Task[object]] = []
    while len(backend.requests) == before:
        asked.append(asyncio.ensure_future(pair.ask("POST", body=b"abc")))
        await asyncio.sleep(0.01)
    for _ in range(10):
        await pair.ask("POST", body=b"abc")
    assert len(backend.requests) == before + 1
    released.set()
    await asyncio.gather(*asked)
    assert states(pair) == ["serving", "serving"]


async def test_an_upstream_that_refuses_is_asked_by_one_at_a_time_and_found_again(backend: Backend) -> None:
    backend.answer = GARBAGE
    async with aclosing(Asker(backend.port, **QUICK)) as asker:
        await fail(asker, 2)
        assert asker.upstream.is_away
        began = time.monotonic()
        refused = 0
        while time.monotonic() - began < 0.35:
            try:
                await asker.ask()
            except UpstreamAway:
                refused += 1
            except UpstreamGarbled:
                pass
        assert refused > 20
        assert 2 <= len(backend.requests) <= 2 + 4
        backend.answer = plain()
        recovered = await until_answered(asker)
        assert recovered < 0.5
        assert not asker.upstream.is_away
        assert states(asker) == ["serving"]


async def test_without_a_circuit_breaker_an_upstream_that_is_gone_is_tried_by_all(backend: Backend) -> None:
    backend.answer = GARBAGE
    async with aclosing(Asker(backend.port, ejection=Ejection(consecutive_failures=2))) as asker:
        for _ in range(20):
            with pytest.raises(UpstreamGarbled):
                await asker.ask()
        assert (asker.upstream.is_away, len(backend.requests)) == (True, 20)
        backend.answer = plain()
        await asker.ask()


async def until_answered(asker: Asker) -> float:
    """Ask until there is an answer, and give the seconds that took."""
    began = time.monotonic()
    while True:
        try:
            await asker.ask()
        except UpstreamFault:
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - began


async def test_while_one_tries_a_stalled_upstream_nobody_else_waits(backend: Backend) -> None:
    backend.answer = silent
    async with aclosing(Asker(backend.port, timeouts=Timeouts(0.5, 0.2, 0.5, 20), **QUICK)) as asker:
        await asyncio.gather(*(asker.ask() for _ in range(2)), return_exceptions=True)
        trying = asyncio.ensure_future(until_tried(asker))
        assert await until(lambda: len(backend.requests) == 3)
        began = time.monotonic()
        for _ in range(50):
            with pytest.raises(UpstreamAway):
                await asker.ask()
        assert time.monotonic() - began < 0.2
        assert len(backend.requests) == 3
        with pytest.raises(UpstreamTooSlow):
            await trying


async def until_tried(asker: Asker) -> None:
    """Ask until a request is let through, and raise what becomes of it."""
    while True:
        try:
            await asker.ask()
        except UpstreamAway:
            await asyncio.sleep(0.01)


async def test_a_try_that_the_client_gives_up_does_not_stop_the_next(backend: Backend) -> None:
    backend.answer = GARBAGE
    async with aclosing(Asker(backend.port, **QUICK)) as asker:
        await fail(asker, 2)
        backend.answer = silent
        trying = asyncio.ensure_future(until_tried(asker))
        assert await until(lambda: len(backend.requests) == 3)
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)
        backend.answer = plain()
        assert await until_answered(asker) < 0.5


async def test_clients_that_go_away_are_not_held_against_a_target(backend: Backend) -> None:
    backend.answer = silent
    async with aclosing(Asker(backend.port, timeouts=PATIENT, **QUICK)) as asker:
        for number in range(1, 4):
            asking = asyncio.ensure_future(asker.ask())
            assert await until(lambda number=number: len(backend.requests) == number)  # type: ignore[misc]
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert states(asker) == ["serving"]


async def test_a_target_that_refuses_costs_nobody_an_answer(backend: Backend) -> None:
    async with aclosing(Asker(free_port(), backend.port, **QUICK)) as asker:
        for _ in range(10):
            assert (await asker.ask("POST", body=b"abc")).status == 200
        assert states(asker) == ["ejected", "serving"]
        counts = asker.upstream.counts
        target = asker.upstream.settings.targets[0].name
        assert counts[metrics.UPSTREAM_CONNECT_FAILURES, ("tested", target, "refused")] == 2
        assert counts[metrics.UPSTREAM_RETRIES, ("tested", "sent")] == 2


async def test_retries_end_with_their_budget(backend: Backend) -> None:
    rules = Ejection(consecutive_failures=1000)
    async with aclosing(
        Asker(free_port(), backend.port, ejection=rules, retries=Retries(ratio=0, floor_per_s=0.5))
    ) as asker:
        answers = await asyncio.gather(*(asker.ask() for _ in range(40)), return_exceptions=True)
        assert sum(isinstance(answer, UpstreamFault) for answer in answers) == 15
        assert asker.upstream.counts[metrics.UPSTREAM_RETRIES, ("tested", "refused")] == 15


async def test_gets_on_stale_connections_are_not_sent_again_without_budget(backend: Backend) -> None:
    async with aclosing(Asker(backend.port, retries=Retries(0, 0))) as asker:
        await asker.ask()
        backend.answer = raw(b"", close=True)
        with pytest.raises(UpstreamFault):
            await asker.ask()
    assert len(backend.requests) == 2


async def test_an_answer_that_comes_late_is_waited_for_where_there_is_no_time_in_all(backend: Backend) -> None:
    pieces = [b"a" * 10] * 4

    def drip(_request: object, connection: object) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")  # type: ignore[attr-defined]
        for piece in pieces:
            time.sleep(0.1)  # noqa: TID251  # a slow backend
            connection.send(piece)  # type: ignore[attr-defined]

    backend.answer = drip
    short = Timeouts(0.5, 0.5, 0.5, 0.25)
    async with aclosing(Asker(backend.port, timeouts=short)) as asker:
        with pytest.raises(UpstreamTooSlow):
            await asker.ask()
        endless = Timeouts(0.5, 0.5, 0.5, float("inf"))
        answer = await asker.upstream.forward("GET", asker.head("GET", "/"), b"", endless)
        size, last = 0, False
        while not last:
            piece, last = await answer.read()
            size += len(piece)
        answer.release()
        assert size == 40


async def test_what_leaves_is_closed_and_what_it_has_under_way_finishes(backend: Backend) -> None:
    released = threading.Event()
    async with aclosing(Asker(backend.port, timeouts=PATIENT)) as asker:
        await asker.ask()
        backend.answer = lambda request, connection: (released.wait(10), plain()(request, connection))[1]
        asking = asyncio.ensure_future(asker.ask())
        assert await until(lambda: len(backend.requests) == 2)
        asker.upstream.retire()
        released.set()
        assert (await asking).status == 200
        assert asker.upstream.idle_count == asker.upstream.busy_count == 0
        assert await until(lambda: backend.open_connections == 0)


async def test_deadlines_hold_for_what_leaves(backend: Backend) -> None:
    backend.answer = silent
    async with aclosing(Asker(backend.port)) as asker:
        asking = asyncio.ensure_future(asker.ask())
        assert await until(lambda: bool(backend.requests))
        asker.upstream.retire()
        with pytest.raises(UpstreamTooSlow):
            await asking
