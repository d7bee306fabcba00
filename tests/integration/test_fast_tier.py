"""The fast tier takes plain requests only; whatever else comes, the connection goes to aiohttp, with all its bytes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.core.snapshot import ConnectionLimits
from gateway.live import Live
from gateway.proxy.clients import Clients
from gateway.proxy.fast import PlainServer
from gateway.proxy.respond import CLOSES, GOES_ON
from gateway.telemetry.telemetry import Telemetry
from tests.unit.management.asking import SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.proxy.incoming import ClientRequest
    from gateway.proxy.respond import Written

PLAIN = b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"


class Served:
    """A server with both tiers, each of which says its name; `/held` waits for *go_on*, `/last` closes."""

    def __init__(self, idle_s: float, telemetry: Telemetry) -> None:
        limits = ConnectionLimits(head_s=idle_s, idle_s=idle_s)
        clients = Clients(Live(replace(SNAPSHOT, connection_limits=limits), {}), telemetry)
        self.go_on = asyncio.Event()
        self.held = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._complete = web.Server(self._answer, auto_decompress=False)
        self.plain = PlainServer(self._serve, self._complete, clients, write_buffer_bytes=1 << 16)
        self._server: asyncio.Server | None = None
        self._clients: list[asyncio.StreamWriter] = []

    async def _serve(self, request: ClientRequest) -> Written:
        if request.head.path == "/held":
            self.held.set()
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfast")
        return CLOSES if request.head.path == "/last" else GOES_ON

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"complete " + await request.read())

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._server is not None
        reader, writer = await asyncio.open_connection(*self._server.sockets[0].getsockname())
        self._clients.append(writer)
        return reader, writer

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self.plain, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for client in self._clients:  # Otherwise the shutdown waits for what they might still ask.
            client.close()
        await self.plain.shutdown(1.0)
        await self._complete.shutdown(1.0)
        async with asyncio.timeout(5):
            await asyncio.gather(*(client.wait_closed() for client in self._clients), return_exceptions=True)
            while self.plain.connections:
                await asyncio.sleep(0)


@asynccontextmanager
async def serving(idle_s: float = 60.0) -> AsyncIterator[Served]:
    with TemporaryDirectory() as directory:
        telemetry = Telemetry(Path(directory) / "counters")
        served = Served(idle_s, telemetry)
        await served.start()
        try:
            yield served
        finally:
            await served.stop()
            telemetry.close()


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] == b"200", head
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return await reader.readexactly(int(length))


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(5):
        return await reader.read() == b""


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_plain_requests_are_served_fast_one_after_another(method: str) -> None:
    async with serving() as served:
        reader, writer = await served.open()
        for _ in range(3):
            writer.write(PLAIN.replace(b"GET", method.encode()))
            assert await answer(reader) == b"fast"
        assert len(served.plain.connections) == 1


@pytest.mark.parametrize(
    ("request_bytes", "body"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n", b""),
        (b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
    ],
)
async def test_other_requests_are_served_by_the_complete_tier(request_bytes: bytes, body: bytes) -> None:
    async with serving() as served:
        reader, writer = await served.open()
        writer.write(PLAIN)
        assert await answer(reader) == b"fast"
        writer.write(request_bytes)
        assert await answer(reader) == b"complete " + body
        assert not served.plain.connections


async def test_a_body_that_comes_after_its_head_arrives_whole() -> None:
    async with serving() as served:
        reader, writer = await served.open()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
        await writer.drain()
        async with asyncio.timeout(5):
            while not served.plain.connections:
                await asyncio.sleep(0)
            while served.plain.connections:
                await asyncio.sleep(0)
        writer.write(b"inside")
        assert await answer(reader) == b"complete inside"


async def test_a_head_in_two_parts_is_one_request() -> None:
    async with serving() as served:
        reader, writer = await served.open()
        writer.write(PLAIN[:9])
        async with asyncio.timeout(5):
            while not served.plain.connections:
                await asyncio.sleep(0)
            while served.plain.connections:
                await asyncio.sleep(0)
        writer.write(PLAIN[9:])
        assert await answer(reader) == b"complete "


async def test_requests_that_come_together_are_answered_in_order() -> None:
    async with serving() as served:
        reader, writer = await served.open()
        writer.write(PLAIN + PLAIN)
        assert [await answer(reader), await answer(reader)] == [b"complete "] * 2


async def test_what_comes_before_the_answer_waits_for_it() -> None:
    async with serving() as served:
        reader, writer = await served.open()
        writer.write(PLAIN.replace(b"plain", b"held"))
        await served.held.wait()
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
        (connection,) = served.plain.connections
        async with asyncio.timeout(5):
            while len(connection._later) < 64 * 1024:
                await asyncio.sleep(0.01)
        served.go_on.set()
        assert await answer(reader) == b"fast"
        assert [len(await answer(reader)) for _ in range(3)] == [50_009] * 3


async def test_a_client_that_goes_away_ends_its_request() -> None:
    async with serving() as served:
        _, writer = await served.open()
        writer.write(PLAIN.replace(b"plain", b"held"))
        await served.held.wait()
        writer.transport.abort()
        async with asyncio.timeout(5):
            await served.cancelled.wait()
        assert not served.plain.connections


async def test_an_answer_can_be_the_last() -> None:
    async with serving() as served:
        reader, writer = await served.open()
        writer.write(PLAIN.replace(b"plain", b"last"))
        assert await answer(reader) == b"fast"
        assert await ended(reader)


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    async with serving(idle_s=0.1) as served:
        idle, _ = await served.open()
        busy, busy_writer = await served.open()
        busy_writer.write(PLAIN.replace(b"plain", b"held"))
        assert await ended(idle)
        served.go_on.set()
        assert await answer(busy) == b"fast"


async def test_shutting_down_closes_the_idle_and_waits_for_the_busy() -> None:
    async with serving() as served:
        idle, _ = await served.open()
        busy, busy_writer = await served.open()
        busy_writer.write(PLAIN.replace(b"plain", b"held"))
        await served.held.wait()
        closing = asyncio.create_task(served.plain.shutdown(5.0))
        assert await ended(idle)
        served.go_on.set()
        assert await answer(busy) == b"fast"
        assert await ended(busy)
        await closing


async def test_shutting_down_ends_what_takes_too_long() -> None:
    async with serving() as served:
        reader, writer = await served.open()
        writer.write(PLAIN.replace(b"plain", b"held"))
        await served.held.wait()
        await served.plain.shutdown(0.05)
        assert served.cancelled.is_set()
        assert await ended(reader)
