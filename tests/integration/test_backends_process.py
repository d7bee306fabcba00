"""A demo backend as a process, and what it does while Postgres is away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from gateway.embedded.listening import LOOPBACK, answers_ok, free_port
from gateway.embedded.polling import until
from tests.integration.backends import Asker, backend, error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.embedded.postgres import EmbeddedPostgres

CUSTOMERS = "/api/public/customers"
NOBODY_LISTENS = f"postgresql://nobody@{LOOPBACK}:1/nothing"
AWAY = (503, "service_unavailable")

pytestmark = pytest.mark.timeout(30)


@contextlib.asynccontextmanager
async def process(name: str, dsn: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A running backend and its port; ends it if the test has not."""
    port = free_port()
    arguments = ["-m", "gateway.embedded.backends", name, "--port", str(port), "--dsn", dsn]
    child = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert await until(lambda: answers_ok(port, "/healthz", 1), 10)
        yield child, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()


async def serves_again(asker: Asker) -> bool:
    return await until(lambda: _found(asker), 10)


async def _found(asker: Asker) -> bool:
    return (await asker.get(CUSTOMERS)).status == 200


@pytest.mark.parametrize("name", ["budgets", "customers", "products"])
async def test_backend_without_postgres_is_up_says_503_and_ends_at_once_on_sigterm(name: str) -> None:
    async with process(name, NOBODY_LISTENS) as (child, port), aiohttp.ClientSession() as session:
        async with session.get(f"http://{LOOPBACK}:{port}/api/public/{name}") as response:
            assert (response.status, (await response.json())["error"]) == AWAY
            assert response.headers["Retry-After"] == "1"
        asked = time.monotonic()
        child.send_signal(signal.SIGTERM)
        output, log = await child.communicate()
        # The session still holds its connection open.
        assert time.monotonic() - asked < 1
    assert (child.returncode, output) == (0, b"")
    assert b'"event": "database away"' in log


async def test_request_that_never_finishes_does_not_delay_the_end(postgres_dsn: str) -> None:
    async with process("customers", postgres_dsn) as (child, port):
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(f"POST {CUSTOMERS} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n".encode())
        await writer.drain()
        assert await until(lambda: answers_ok(port, CUSTOMERS, 5), 10)
        asked = time.monotonic()
        child.send_signal(signal.SIGTERM)
        await child.communicate()
        assert time.monotonic() - asked < 2  # The request itself may take thirty seconds.
        writer.close()
    assert child.returncode == 0


async def test_changes_are_logged_with_the_ids_that_the_gateway_sent(postgres_dsn: str) -> None:
    async with process("customers", postgres_dsn) as (child, port), aiohttp.ClientSession() as session:
        headers = {"X-Request-Id": "req_1", "X-Gateway-Account-Id": "acc_1"}
        async with session.delete(f"http://{LOOPBACK}:{port}{CUSTOMERS}/1", headers=headers) as response:
            assert response.status == 204
        child.send_signal(signal.SIGTERM)
        _, log = await child.communicate()
    assert b'"request_id": "req_1"' in log
    assert b'"account_id": "acc_1"' in log


async def test_two_that_start_together_seed_once(postgres_dsn: str) -> None:
    async with backend("customers", postgres_dsn) as one, backend("customers", postgres_dsn) as other:
        pages = await asyncio.gather(one.get(CUSTOMERS), other.get(CUSTOMERS))
    assert [page.data["meta"]["totalItems"] for page in pages] == [12, 12]


async def test_what_was_deleted_stays_deleted_after_a_restart(postgres_dsn: str) -> None:
    for left in (11, 10):
        async with backend("customers", postgres_dsn) as asker:
            newest = (await asker.get(CUSTOMERS)).data["data"][0]["id"]
            await asker.delete(f"{CUSTOMERS}/{newest}")
            assert (await asker.get(CUSTOMERS)).data["meta"]["totalItems"] == left


async def test_all_three_live_in_one_database_side_by_side(postgres_dsn: str) -> None:
    for name in ("budgets", "customers", "products"):
        async with backend(name, postgres_dsn) as asker:
            assert (await asker.get(f"/api/public/{name}")).data["meta"]["totalItems"] == 12


async def test_stopped_postgres_is_503_and_a_started_one_is_used_again(own_postgres: EmbeddedPostgres) -> None:
    async with backend("customers", own_postgres.dsn) as asker:
        assert (await asker.get(CUSTOMERS)).status == 200
        await own_postgres.stop()
        for _ in range(3):
            assert error_of(await asker.get(CUSTOMERS)) == AWAY
        await own_postgres.start()
        assert await serves_again(asker)


async def test_postgres_that_hangs_is_503_within_seconds(own_postgres: EmbeddedPostgres) -> None:
    async with backend("customers", own_postgres.dsn) as asker:
        assert (await asker.get(CUSTOMERS)).status == 200
        own_postgres.send_to_all(signal.SIGSTOP)
        try:
            asked = time.monotonic()
            answers = await asyncio.gather(*(asker.get(CUSTOMERS) for _ in range(20)))
            assert time.monotonic() - asked < 4
        finally:
            own_postgres.send_to_all(signal.SIGCONT)
        assert {error_of(answer) for answer in answers} == {AWAY}
        assert await serves_again(asker)


async def test_backend_that_started_before_postgres_serves_once_it_is_there(own_postgres: EmbeddedPostgres) -> None:
    await own_postgres.stop()
    async with backend("customers", own_postgres.dsn) as asker:
        assert error_of(await asker.get(CUSTOMERS)) == AWAY
        await own_postgres.start()
        assert await serves_again(asker)
        assert (await asker.get(CUSTOMERS)).data["meta"]["totalItems"] == 12
