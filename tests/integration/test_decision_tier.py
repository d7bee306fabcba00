"""The fast tier of decisions and its connections: when they end, and that none is in the way of the worker's end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from gateway.accounting.moments import Moments
from gateway.adapters.journal import Journal
from gateway.sidecar.answer import Reply
from gateway.sidecar.fast import DecisionServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.sidecar.decisions import Asked

QUESTION = b"GET /authz/envoy/a HTTP/1.1\r\nHost: a\r\n\r\n"


class Deciding:
    """Admits everything, once the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = self.cancelled = 0

    async def decide(self, asked: Asked) -> Reply:
        assert asked.rest == "/envoy/a"
        self.asked += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Reply(200, b"X-A: b\r\n")


class Served:
    def __init__(self, server: DecisionServer, deciding: Deciding, port: int) -> None:
        self.server, self.deciding, self.port = server, deciding, port

    async def open(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return reader, writer

    async def until_asked(self, number: int) -> None:
        async with asyncio.timeout(5):
            while self.deciding.asked < number:  # it is counted, not told
                await asyncio.sleep(0.001)


@asynccontextmanager
async def served(directory: Path, head_s: float = 10.0) -> AsyncIterator[Served]:
    journal = Journal(directory, "test", segment_max_bytes=1 << 20)
    deciding = Deciding()
    server = DecisionServer(cast("Any", deciding), "/authz", journal, Moments(), head_s=head_s)
    listener = await asyncio.get_running_loop().create_server(server.over(asyncio.Protocol), "127.0.0.1", 0)
    try:
        yield Served(server, deciding, listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        await server.shutdown(1.0)
        journal.close()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.readuntil(b"\r\n\r\n")


async def test_a_server_that_winds_down_says_so_in_its_next_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as tier:
        reader, writer = await tier.open(QUESTION)
        assert b"Connection" not in await head_of(reader)
        tier.server.wind_down()
        writer.write(QUESTION)
        assert b"\r\nConnection: close\r\n" in await head_of(reader)
        assert await reader.read() == b""
        writer.close()


async def test_the_end_waits_for_decisions_under_way_and_for_nothing_else(tmp_path: Path) -> None:
    async with served(tmp_path) as tier:
        idle, idle_writer = await tier.open(QUESTION)
        await head_of(idle)
        tier.deciding.gate.clear()
        busy, busy_writer = await tier.open(QUESTION)
        await tier.until_asked(2)
        ending = asyncio.create_task(tier.server.shutdown(5.0))
        assert await idle.read() == b""
        tier.deciding.gate.set()
        assert b"200 OK" in await head_of(busy)
        await ending
        for writer in (idle_writer, busy_writer):
            writer.close()


async def test_a_decision_that_takes_too_long_is_ended_with_the_worker(tmp_path: Path) -> None:
    async with served(tmp_path) as tier:
        tier.deciding.gate.clear()
        reader, writer = await tier.open(QUESTION)
        await tier.until_asked(1)
        await tier.server.shutdown(0.01)
        assert tier.deciding.cancelled == 1
        assert await reader.read() == b""
        writer.close()


async def test_a_head_that_does_not_come_to_its_end_ends_the_connection(tmp_path: Path) -> None:
    async with served(tmp_path, head_s=0.05) as tier:
        reader, writer = await tier.open(QUESTION + QUESTION[:-5])
        await head_of(reader)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_caller_that_goes_away_does_not_undo_a_decision(tmp_path: Path) -> None:
    async with served(tmp_path) as tier:
        tier.deciding.gate.clear()
        _, writer = await tier.open(QUESTION)
        await tier.until_asked(1)
        task = next(connection.task for connection in tier.server.connections)
        assert task is not None
        writer.transport.abort()
        async with asyncio.timeout(5):
            while tier.server.connections:  # it is counted, not told
                await asyncio.sleep(0.001)
        tier.deciding.gate.set()
        await asyncio.wait([task], timeout=5)
        assert (tier.deciding.cancelled, task.done()) == (0, True)
