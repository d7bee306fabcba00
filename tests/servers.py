"""Real Postgres and Valkey for the tests: one of each for a pytest process, started when first asked for.

A test gets a fresh, migrated database and an empty Valkey. A test that wants to stop, kill or pause a server asks for
`own_postgres` or `valkey`, which nobody shares. Power failures are not among what we test, so all are told to be fast
and have their files in memory where there is room: copying a database to a disk takes three times the CPU and more.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from redis.asyncio import Redis

from gateway.adapters.postgres.migrate import migrate
from gateway.embedded import placement
from gateway.embedded.postgres import NAME, EmbeddedPostgres
from gateway.embedded.valkey import EmbeddedValkey
from tests.kept import KeptConnection

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

_TEMPLATE = "migrated"
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 512 << 20
"""What the servers of one pytest process never fill."""
_TIMEOUT_S = 10.0
_numbers = itertools.count(1)


def _wait_for(work: Coroutine[Any, Any, None]) -> None:
    # A loop of its own, which leaves the policy's current loop to pytest-asyncio.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(work)


async def make_database(postgres: EmbeddedPostgres, name: str) -> str:
    """Make a migrated database, whose name begins with *name*, and give its address."""
    name = f"{name}_{next(_numbers)}"
    await execute(postgres.dsn_of("postgres"), _copy(name))
    return postgres.dsn_of(name)


def _copy(name: str) -> str:
    # Copying files takes a fifth of what writing a log of them takes.
    return f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy"


async def execute(dsn: str, statement: str) -> None:
    """Run one *statement* on a connection of its own."""
    connection = await asyncpg.connect(dsn, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=_TIMEOUT_S)


def gone(pid: int) -> bool:
    """Say whether the process *pid* has ended; one that only waits to be collected has. Linux only."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    """Where this pytest process keeps the files of its servers."""
    wanted = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) * _ROOM_BYTES
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= wanted
    directory = placement.scratch_directory(placement.server_account(), 0o755, _MEMORY if in_memory else None)
    yield directory
    shutil.rmtree(directory)


async def _start_with_template(postgres: EmbeddedPostgres) -> None:
    await postgres.start()
    await execute(postgres.dsn, f"CREATE DATABASE {_TEMPLATE} STRATEGY file_copy")
    await migrate(postgres.dsn_of(_TEMPLATE))
    # The first connection to a schema writes down what every later one reads; copies have it from here.
    await execute(postgres.dsn_of(_TEMPLATE), "SELECT")


@pytest.fixture(scope="session")
def postgres_server(servers_directory: Path) -> Iterator[EmbeddedPostgres]:
    """The shared Postgres, with a migrated template database; a test wants `postgres_dsn` instead."""
    postgres = EmbeddedPostgres(servers_directory / "postgres", log=servers_directory / "postgres.log", durable=False)
    try:
        _wait_for(_start_with_template(postgres))
        yield postgres
    finally:
        _wait_for(postgres.stop())


@pytest.fixture(scope="session")
def administration(postgres_server: EmbeddedPostgres) -> Iterator[KeptConnection]:
    """The connection on which databases are made and dropped."""
    connection = KeptConnection(postgres_server.dsn_of("postgres"))
    yield connection
    connection.close()


@pytest.fixture
def postgres_dsn(postgres_server: EmbeddedPostgres, administration: KeptConnection) -> Iterator[str]:
    """The address of a fresh, migrated database."""
    name = f"test_{next(_numbers)}"
    administration.do(lambda connection: connection.execute(_copy(name)))
    yield postgres_server.dsn_of(name)
    administration.do(lambda connection: connection.execute(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def valkey_server(servers_directory: Path) -> Iterator[EmbeddedValkey]:
    """The shared Valkey; a test wants `redis_url` instead."""
    valkey = EmbeddedValkey(servers_directory / "valkey", log=servers_directory / "valkey.log", durable=False)
    try:
        _wait_for(valkey.start())
        yield valkey
    finally:
        _wait_for(valkey.stop())


@pytest.fixture
async def redis_url(valkey_server: EmbeddedValkey) -> str:
    """The address of an empty Valkey."""
    async with Redis.from_url(valkey_server.url, socket_timeout=_TIMEOUT_S) as client:
        await client.flushall()
    return valkey_server.url


@pytest.fixture(scope="session")
def stopped_postgres(servers_directory: Path) -> EmbeddedPostgres:
    """The Postgres that tests may do anything to, while it is stopped; a test wants `own_postgres` instead."""
    directory = servers_directory / "own-postgres"
    postgres = EmbeddedPostgres(directory, log=directory.with_suffix(".log"), durable=False)

    async def prepare() -> None:
        try:
            await _start_with_template(postgres)
        finally:
            await postgres.stop()

    _wait_for(prepare())
    return postgres


@pytest.fixture
def own_postgres(stopped_postgres: EmbeddedPostgres, servers_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A started Postgres of the test's own with a migrated database, to be stopped, killed or paused at will.

    One test after the other has the same one, started anew, with a fresh database and the settings of the beginning.
    """
    postgres = stopped_postgres

    async def start() -> None:
        (servers_directory / "own-postgres" / "cluster" / "postgresql.auto.conf").unlink(missing_ok=True)
        await postgres.start()
        await execute(postgres.dsn_of("postgres"), f"DROP DATABASE {NAME} WITH (FORCE)")
        await execute(postgres.dsn_of("postgres"), _copy(NAME))

    try:
        _wait_for(start())
        yield postgres
    finally:
        _wait_for(postgres.stop())


@pytest.fixture
def valkey(servers_directory: Path) -> Iterator[EmbeddedValkey]:
    """A started Valkey of the test's own, to be stopped, killed or paused at will."""
    directory = servers_directory / f"valkey-{next(_numbers)}"
    server = EmbeddedValkey(directory, log=directory.with_suffix(".log"), durable=False)
    try:
        _wait_for(server.start())
        yield server
    finally:
        _wait_for(server.stop())
