"""The pipelined connection: order, budget, late answers and every way in which a server can misbehave (F02-F05)."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from typing import TYPE_CHECKING

import hiredis
import pytest
import uvloop

from gateway.adapters.redis.connection import QUEUED_MAX, PipelinedConnection, RedisAddress, RedisDown
from gateway.embedded.listening import free_port
from tests.fakes.scripted_server import ScriptedServer
from tests.limiters import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.embedded.valkey import EmbeddedValkey

PATIENT_S = 5.0
HASTY_S = 0.05
PING = hiredis.pack_command(("PING",))


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    await server.start()
    yield server
    await server.stop()


class Losses:
    """Counts how often a connection said that it was lost."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


async def connect(
    server: ScriptedServer, budget_s: float = PATIENT_S, losses: Losses | None = None
) -> PipelinedConnection:
    address = RedisAddress.parse(f"redis://127.0.0.1:{server.port}")
    return await PipelinedConnection.open(address, budget_s, 2.0, losses or Losses())


async def test_answers_go_to_their_callers_in_order_however_the_bytes_are_cut(server: ScriptedServer) -> None:
    connection = await connect(server)
    answers = [connection.call(PING) for _ in range(4)]
    await server.hears(PING * 4)
    for byte in b":1\r\n+two\r\n*2\r\n:3\r\n$2\r\n33\r\n$-1\r\n":
        server.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await asyncio.gather(*answers) == [1, b"two", [3, b"33"], None]
    connection.close()


async def test_the_commands_of_one_loop_turn_leave_in_one_write(server: ScriptedServer) -> None:
    connection = await connect(server)
    answers = [connection.call(PING) for _ in range(50)]
    await server.hears(PING * 50)
    assert server.heard == [PING * 50]
    server.send(b"+PONG\r\n" * 50)
    assert await asyncio.gather(*answers) == [b"PONG"] * 50
    connection.close()


async def test_a_failure_that_the_server_tells_is_its_own(server: ScriptedServer) -> None:
    connection = await connect(server)
    refused, answered = connection.call(PING), connection.call(PING)
    await server.hears(PING * 2)
    server.send(b"-NOSCRIPT No matching script\r\n+PONG\r\n")
    with pytest.raises(hiredis.ReplyError, match="NOSCRIPT"):
        await refused
    assert await answered == b"PONG"
    connection.close()


async def test_a_silent_server_costs_the_budget_and_no_more(server: ScriptedServer) -> None:
    connection = await connect(server, HASTY_S)
    began = time.monotonic()
    answers = [connection.call(PING) for _ in range(3)]
    results = await asyncio.gather(*answers, return_exceptions=True)
    took = time.monotonic() - began
    assert all(isinstance(result, RedisDown) for result in results)
    assert HASTY_S <= took < HASTY_S + 0.25
    assert connection.slow_in_a_row == 3
    connection.close()


async def test_each_call_has_a_budget_of_its_own(server: ScriptedServer) -> None:
    connection = await connect(server, 0.2)
    early = connection.call(PING)
    await asyncio.sleep(0.12)
    late = connection.call(PING)
    with pytest.raises(RedisDown):
        await early
    assert not late.done()
    with pytest.raises(RedisDown):
        await late
    connection.close()


async def test_a_late_answer_is_thrown_away_and_given_to_nobody_else(server: ScriptedServer) -> None:
    connection = await connect(server, HASTY_S)
    with pytest.raises(RedisDown):
        await connection.call(PING)
    answer = connection.call(PING)
    await server.hears(PING * 2)
    server.send(b"+LATE\r\n+MINE\r\n")
    assert await answer == b"MINE"
    assert connection.slow_in_a_row == 0
    connection.close()


class Staller(asyncio.Protocol):
    """Holds the loop up, when it hears something, until the *answer* waits to be read and its budget is over."""

    def __init__(self, connection: PipelinedConnection) -> None:
        assert connection._transport is not None
        self._socket = connection._transport.get_extra_info("socket")
        self.answer: asyncio.Future[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        assert self.answer is not None
        budget_ends = time.monotonic() + 2 * HASTY_S
        if not self.answer.done():
            select.select([self._socket], [], [], PATIENT_S)
        while time.monotonic() < budget_ends:
            pass


def test_a_stalled_loop_does_not_blame_the_server(valkey_server: EmbeddedValkey) -> None:
    async def stall_while_the_answer_comes() -> None:
        near, far = socket.socketpair()
        address = RedisAddress.parse(valkey_server.url)
        connection = await PipelinedConnection.open(address, HASTY_S, 2.0, Losses())
        stalling, staller = await asyncio.get_running_loop().create_connection(lambda: Staller(connection), sock=near)
        try:
            staller.answer = connection.call(PING)
            # Two turns: in the first the command is handed to the transport, after which uvloop sends it.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            far.send(b"stall")
            assert await staller.answer == b"PONG"
        finally:
            connection.close()
            stalling.close()
            far.close()
            await asyncio.sleep(0)

    # uvloop may run the timers that are due before it reads; asyncio's own loop would hide that.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(5):
            runner.run(stall_while_the_answer_comes())


async def test_the_answer_to_a_cancelled_call_is_not_given_to_the_next(server: ScriptedServer) -> None:
    connection = await connect(server)
    cancelled, answer = connection.call(PING), connection.call(PING)
    cancelled.cancel()
    await server.hears(PING * 2)
    server.send(b"+THEIRS\r\n+MINE\r\n")
    assert await answer == b"MINE"
    connection.close()


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.2\r\n", b"+PONG\r\n+UNASKED\r\n", b"\x00" * 100])
async def test_a_server_that_speaks_out_of_turn_or_nonsense_is_left(server: ScriptedServer, words: bytes) -> None:
    losses = Losses()
    connection = await connect(server, losses=losses)
    answers = [connection.call(PING)]
    await server.hears(PING)
    server.send(words)
    await eventually(lambda: losses.count == 1)
    assert answers[0].done()
    await asyncio.gather(*answers, return_exceptions=True)
    with pytest.raises(RedisDown):
        await connection.call(PING)


async def test_all_who_wait_are_told_when_the_connection_ends_and_it_is_told_once(server: ScriptedServer) -> None:
    losses = Losses()
    connection = await connect(server, losses=losses)
    answers = [connection.call(PING) for _ in range(3)]
    await server.hears(PING)
    server.hang_up()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert all(isinstance(result, RedisDown) for result in results)
    connection.close()
    await asyncio.sleep(0)
    assert losses.count == 1
    with pytest.raises(RedisDown):
        await connection.call(PING)


async def test_what_waits_for_a_silent_server_is_bounded(server: ScriptedServer) -> None:
    connection = await connect(server)
    waiting = [connection.call(PING) for _ in range(QUEUED_MAX)]
    with pytest.raises(RedisDown):
        await connection.call(PING)
    connection.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {RedisDown}


async def test_nobody_listening_is_down() -> None:
    address = RedisAddress.parse(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(RedisDown, match="ConnectionRefusedError"):
        await PipelinedConnection.open(address, PATIENT_S, 1.0, Losses())


async def test_a_server_that_does_not_answer_the_greeting_is_down(server: ScriptedServer) -> None:
    address = RedisAddress.parse(f"redis://:word@127.0.0.1:{server.port}")
    with pytest.raises(RedisDown):
        await PipelinedConnection.open(address, PATIENT_S, HASTY_S, Losses())


async def test_a_server_that_refuses_the_greeting_says_why(server: ScriptedServer) -> None:
    address = RedisAddress.parse(f"redis://:word@127.0.0.1:{server.port}")
    opening = asyncio.ensure_future(PipelinedConnection.open(address, PATIENT_S, 2.0, Losses()))
    await server.hears(b"word")
    server.send(b"-WRONGPASS invalid\r\n")
    with pytest.raises(hiredis.ReplyError, match="WRONGPASS"):
        await opening


async def test_a_server_without_tls_is_down_where_tls_is_asked_for(server: ScriptedServer) -> None:
    server.greeting = b"+no TLS here\r\n"
    address = RedisAddress.parse(f"rediss://127.0.0.1:{server.port}")
    with pytest.raises(RedisDown, match="SSLError"):
        await PipelinedConnection.open(address, PATIENT_S, 1.0, Losses())


async def test_a_unix_socket_is_an_address_too(tmp_path: Path) -> None:
    server = ScriptedServer()
    await server.start(tmp_path / "redis.sock")
    address = RedisAddress.parse(f"unix://{tmp_path}/redis.sock")
    connection = await PipelinedConnection.open(address, PATIENT_S, 1.0, Losses())
    answer = connection.call(PING)
    await server.hears(PING)
    server.send(b"+PONG\r\n")
    assert await answer == b"PONG"
    connection.close()
    await server.stop()


def test_a_url_says_where_and_how_to_be_let_in() -> None:
    address = RedisAddress.parse("redis://user:word@redis.internal:6380/3")
    assert (address.host, address.port, address.path, address.tls) == ("redis.internal", 6380, None, False)
    assert address.greeting == (
        b"*3\r\n$4\r\nAUTH\r\n$4\r\nuser\r\n$4\r\nword\r\n",
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n",
    )
    assert RedisAddress.parse("redis://:word@h").greeting == (b"*2\r\n$4\r\nAUTH\r\n$4\r\nword\r\n",)
    assert RedisAddress.parse("redis://").greeting == ()
    assert (RedisAddress.parse("redis://").host, RedisAddress.parse("redis://").port) == ("127.0.0.1", 6379)
    assert RedisAddress.parse("rediss://h").tls


def test_an_address_shows_no_password() -> None:
    assert repr(RedisAddress.parse("redis://user:word@h:1/3")) == "RedisAddress(h:1)"
    assert repr(RedisAddress.parse("unix:///run/redis?password=word")) == "RedisAddress(/run/redis)"


def test_a_url_of_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="scheme"):
        RedisAddress.parse("http://127.0.0.1:6379")
