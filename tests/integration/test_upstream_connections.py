"""The upstream client keeps connections, retries only what cannot have been done, and waits for nobody too long."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.http.faults import UpstreamClosed, UpstreamFault, UpstreamTooSlow, UpstreamUnreachable
from gateway.embedded.listening import free_port
from tests.backends import plain, raw
from tests.integration.upstreams import FIRST_BYTE_S, TIMEOUTS, Asker, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.backends import Backend, Connection, Received


@pytest.fixture
async def asker(backend: Backend) -> AsyncIterator[Asker]:
    asker = Asker(backend.port)
    yield asker
    await asker.aclose()


async def test_a_connection_is_used_again(asker: Asker, backend: Backend) -> None:
    for _ in range(20):
        await asker.ask()
    await asker.ask("POST", body=b"abc")
    assert len(backend.connections) == 1


async def test_no_more_connections_are_kept_than_configured(backend: Backend) -> None:
    async with aclosing(Asker(backend.port, idle_connections_max=2)) as asker:
        await asyncio.gather(*(asker.ask() for _ in range(8)))
        assert asker.upstream.idle_count <= 2
        assert await until(lambda: backend.open_connections <= 2)


async def test_a_connection_that_the_answer_ends_is_not_kept(asker: Asker, backend: Backend) -> None:
    backend.answer = plain(fields=b"Connection: close\r\n")
    await asker.ask()
    assert asker.upstream.idle_count == 0


async def test_a_refused_connection_is_a_fault_at_once() -> None:
    began = time.monotonic()
    async with aclosing(Asker(free_port())) as asker:
        with pytest.raises(UpstreamUnreachable):
            await asker.ask()
    assert time.monotonic() - began < 0.1


async def test_a_target_that_refuses_is_passed_over(backend: Backend) -> None:
    async with aclosing(Asker(free_port(), backend.port)) as asker:
        for _ in range(4):
            assert (await asker.ask("POST", body=b"abc")).status == 200
    assert len(backend.requests) == 4


async def test_no_answer_is_a_fault_at_the_configured_time(asker: Asker, backend: Backend) -> None:
    released = threading.Event()
    backend.answer = held(released)
    began = time.monotonic()
    with pytest.raises(UpstreamTooSlow):
        await asker.ask()
    assert time.monotonic() - began == pytest.approx(FIRST_BYTE_S, rel=0.15)
    released.set()
    assert asker.upstream.busy_count == asker.upstream.idle_count == 0


async def test_an_answer_that_stops_midway_is_a_fault_at_the_configured_time(asker: Asker, backend: Backend) -> None:
    backend.answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    began = time.monotonic()
    with pytest.raises(UpstreamTooSlow):
        await asker.ask()
    assert time.monotonic() - began == pytest.approx(0.5, abs=0.2)


async def test_what_is_endless_outlives_the_time_in_all(backend: Backend) -> None:
    def drip(_request: Received, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for _ in range(5):
            connection.send(b"x")
            time.sleep(0.1)  # noqa: TID251  # a slow backend, in a thread of its own

    backend.answer = drip
    async with aclosing(Asker(backend.port, timeouts=replace(TIMEOUTS, total_s=0.25))) as asker:
        with pytest.raises(UpstreamTooSlow):
            await asker.ask()
        assert (await asker.ask(endless=True)).body == b"xxxxx"


def held(released: threading.Event) -> Callable[[Received, Connection], None]:
    """Do nothing, on the backend's side, until *released*."""

    def wait(_request: Received, _connection: Connection) -> None:
        released.wait(10)

    return wait


async def gone_stale(asker: Asker, backend: Backend) -> None:
    """Have *asker* keep a connection that ends the moment it is used again."""
    backend.answer = plain()
    await asker.ask()

    def close_unanswered(_request: Received, connection: Connection) -> None:
        backend.answer, backend.on_head = plain(), None
        connection.close()

    backend.on_head = close_unanswered


async def test_a_get_on_a_stale_connection_is_sent_once_more(asker: Asker, backend: Backend) -> None:
    await gone_stale(asker, backend)
    assert (await asker.ask()).status == 200
    assert [request.connection for request in backend.requests] == [0, 0, 1]


async def test_a_get_is_sent_no_more_than_twice(asker: Asker, backend: Backend) -> None:
    await asker.ask()
    backend.answer = lambda _request, connection: connection.close()
    with pytest.raises(UpstreamClosed):
        await asker.ask()
    assert len(backend.requests) == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_what_may_have_been_done_is_never_sent_again(asker: Asker, backend: Backend, method: str) -> None:
    await gone_stale(asker, backend)
    with pytest.raises(UpstreamClosed):
        await asker.ask(method, body=b"" if method == "DELETE" else b"abc")
    assert [request.method for request in backend.requests] == ["GET", method]


async def test_a_get_whose_answer_had_begun_is_not_sent_again(asker: Asker, backend: Backend) -> None:
    await asker.ask()
    backend.answer = raw(b"HTTP/1.1 200 OK\r\nContent-Le", close=True)
    with pytest.raises(UpstreamFault):
        await asker.ask()
    assert len(backend.requests) == 2


async def test_connections_that_ended_while_idle_are_not_used(asker: Asker, backend: Backend) -> None:
    await asyncio.gather(*(asker.ask() for _ in range(5)))
    backend.drop_connections()
    # The loop has to hear of it once; after that a POST is as safe as on a fresh connection.
    await until(lambda: all(connection.closed for one in asker.upstream.everyone for connection in one.idle))
    for _ in range(5):
        assert (await asker.ask("POST", body=b"abc")).status == 200


async def pieces(size: int, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"a" * size


async def test_a_streamed_body_arrives_whole(asker: Asker, backend: Backend) -> None:
    whole = await asker.ask("POST", body=pieces(65_536, 100), length=6_553_600)
    assert whole.status == 200
    assert (backend.last.size, backend.last.whole) == (6_553_600, True)


async def test_a_slow_client_pauses_the_upstream(asker: Asker, backend: Backend) -> None:
    backend.answer = plain(b"a" * 50_000_000)
    answer = await asker.forward("GET", asker.head("GET", "/"), b"")
    sizes = []
    for _ in range(5):
        await asyncio.sleep(0.05)  # Longer than the upstream needs to fill any buffer that has no bound.
        sizes.append(len((await answer.read())[0]))
    answer.release()
    assert max(sizes) < 1_000_000
    assert await until(lambda: backend.open_connections == 0)


async def test_an_upstream_that_does_not_read_pauses_the_client(asker: Asker, backend: Backend) -> None:
    released = threading.Event()
    backend.on_head = held(released)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b"a" * 65_536

    with pytest.raises(UpstreamTooSlow):
        await asker.ask("POST", body=endless(), length=1 << 40)
    released.set()
    assert sent < 20_000_000  # Buffers of the kernel included.


async def test_a_client_that_pauses_its_body_is_not_the_upstreams_fault(asker: Asker, backend: Backend) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.sleep(2 * FIRST_BYTE_S)
        yield b"def"

    assert (await asker.ask("POST", body=slow(), length=6)).status == 200
    assert backend.last.body == b"abcdef"


async def test_an_answer_before_the_end_of_the_body_is_given_and_the_connection_dropped(
    asker: Asker, backend: Backend
) -> None:
    def refuse(_request: Received, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.wait_for_end()
        connection.close()

    backend.on_head = refuse

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"a" * 1000
            await asyncio.sleep(0.001)

    whole = await asker.ask("POST", body=endless(), length=1 << 30)
    assert whole.status == 413
    assert asker.upstream.idle_count == 0


async def test_what_ends_the_body_early_is_raised_and_ends_the_connection(asker: Asker, backend: Backend) -> None:
    async def breaks_off() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await asker.ask("POST", body=breaks_off(), length=1000)
    assert await until(lambda: bool(backend.connections) and backend.open_connections == 0)
    assert not backend.last.whole


async def test_a_request_that_is_given_up_ends_its_connection(asker: Asker, backend: Backend) -> None:
    released = threading.Event()
    backend.answer = held(released)
    asking = asyncio.get_running_loop().create_task(asker.ask())
    assert await until(lambda: bool(backend.requests))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    released.set()
    assert await until(lambda: backend.open_connections == 0)
    assert asker.upstream.busy_count == 0


async def test_no_exception_is_lost_in_a_task(asker: Asker, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    backend.on_head = lambda _request, connection: connection.reset()
    with caplog.at_level(logging.ERROR, "asyncio"):
        for _ in range(20):
            with pytest.raises(UpstreamFault):
                await asker.ask("POST", body=pieces(65_536, 100), length=6_553_600)
            with pytest.raises(UpstreamFault):
                await asker.ask("PUT", body=b"abc")
    assert not caplog.records
