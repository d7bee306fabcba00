"""`gateway usage`: what is stored is shown, followed and sent again, as somebody at a terminal asks for it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from gateway.adapters.journal import Journal
from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.events import PostgresUsageSink
from gateway.adapters.postgres.keys import NewKey, create_key
from gateway.adapters.postgres.pool import Database
from tests.commands import SETTINGS, Commands
from tests.usage_events import event, members_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(90)

STREAM = "usage"


def ago(**span: int) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stored(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode()


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with Database(postgres_dsn) as database:
        yield database


@pytest.fixture
async def key_id(database: Database) -> str:
    async with database.connection() as connection:
        account_id = await create_account(connection, "Tests")
        return (
            await create_key(connection, NewKey(account_id=account_id, name="A test's", scopes=("READ_BUDGETS",)))
        ).stored.id


@pytest.fixture
def command(postgres_dsn: str, redis_url: str, tmp_path: Path) -> Commands:
    command = Commands(tmp_path, postgres_dsn)
    sinks = f'{{redis_stream: {{url: "{redis_url}", stream: {STREAM}}}, json_lines: {{path: "{tmp_path}/lines"}}}}'
    command.settings.write_text(f"{SETTINGS}usage: {{sinks: {sinks}}}\n")
    return command


async def store(database: Database, events: list[bytes]) -> None:
    await PostgresUsageSink(database).write(f"{time.monotonic_ns()}.journal", 0, 1, events)


def environ(command: Commands) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": command.dsn, "GATEWAY_SECRET_KEY": "A" * 43 + "="}


def arguments(command: Commands, *words: str) -> list[str]:
    return [sys.executable, "-m", "gateway", "usage", *words, "-c", str(command.settings)]


async def of_key(database: Database, key_id: str, count: int, **members: Any) -> list[dict[str, Any]]:
    common = {"at": ago(minutes=2), "accountId": "account_1", "keyId": key_id, "durationUs": 2_000}
    events = [members_of(**common | members) for _ in range(count)]
    await store(database, [stored(members) for members in events])
    return events


async def test_the_statistics_of_a_key_are_shown_for_people_and_as_json(
    command: Commands, database: Database, key_id: str
) -> None:
    await of_key(database, key_id, 3)
    await of_key(database, key_id, 1, status=429, outcome="rate_limit_exceeded")
    text = await command.right("usage", "stats", key_id)
    assert text.startswith("4 requests in 7d: 3 successful, 1 errors\naverage 2.0 ms, p50 ")
    for line in ("4  GET /api/public/budgets", "3  200", "1  429", "1  rate_limit_exceeded"):
        assert line in text
    shown = await command.told("usage", "stats", key_id, "--period", "1h")
    assert (shown["period"], shown["totalRequests"], shown["errorRequests"]) == ("1h", 4, 1)
    assert "there is no key nobody; see" in await command.wrong("usage", "stats", "nobody")


async def test_the_busiest_come_first_by_key_endpoint_and_account(
    command: Commands, database: Database, key_id: str
) -> None:
    await of_key(database, key_id, 5)
    await of_key(database, "api_key_other", 2, endpoint="/other", accountId="account_2")
    for by, first, second in (
        ("key", key_id, "api_key_other"),
        ("endpoint", "GET /api/public/budgets", "GET /other"),
        ("account", "account_1", "account_2"),
    ):
        head, *lines = (await command.right("usage", "top", "--by", by, "--watch")).splitlines()
        assert head.split() == ["REQUESTS", "ERRORS", "AVG", "MS", "P95", "MS", "P99", "MS", by.upper()]
        assert [line.split(maxsplit=5)[5] for line in lines] == [first, second], "once, though --watch was asked for"
        assert max(map(len, lines)) <= 80
    rows = await command.told("usage", "top", "--limit", "1")
    assert [(row["key"], row["totalRequests"]) for row in rows] == [(key_id, 5)]


class Terminal:
    """`gateway usage top --watch` at a terminal of its own."""

    def __init__(self, command: Commands) -> None:
        self._fd, child = pty.openpty()
        self.modes = termios.tcgetattr(child)
        self._child = child
        words = arguments(command, "top", "--watch")
        self.process = subprocess.Popen(
            words,
            stdin=child,
            stdout=child,
            stderr=child,
            env=environ(command),
            start_new_session=True,
            # Ctrl-C goes to whose terminal it is.
            preexec_fn=lambda: fcntl.ioctl(child, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # it takes no lock
        )
        self.output = b""

    def read_until(self, text: bytes, count: int = 1) -> None:
        deadline = time.monotonic() + 30
        while self.output.count(text) < count:
            assert time.monotonic() < deadline, self.output
            if select.select([self._fd], [], [], 0.1)[0]:
                self.output += os.read(self._fd, 65536)

    def press(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def close(self) -> list[Any]:
        """Give the modes that the terminal has in the end."""
        self.process.kill()
        self.process.wait(10)
        modes = termios.tcgetattr(self._child)
        os.close(self._child)
        os.close(self._fd)
        return modes


@pytest.mark.parametrize("ending", [b"q", b"\x03", signal.SIGTERM])
async def test_the_live_view_goes_on_until_it_is_ended_and_leaves_the_terminal_as_it_was(
    command: Commands, database: Database, key_id: str, ending: bytes | signal.Signals
) -> None:
    await of_key(database, key_id, 7)
    terminal = Terminal(command)
    try:
        await asyncio.to_thread(terminal.read_until, b"7 requests in 1h by key")
        await of_key(database, key_id, 1)
        await asyncio.to_thread(terminal.read_until, b"8 requests in 1h by key")
        if isinstance(ending, bytes):
            terminal.press(ending)
        else:
            terminal.process.send_signal(ending)
        await asyncio.to_thread(terminal.read_until, b"\x1b[?25h\x1b[?1049l")
        assert await asyncio.to_thread(terminal.process.wait, 10) == 0
    finally:
        modes = terminal.close()
    assert terminal.output.startswith(b"\x1b[?1049h\x1b[?25l")
    assert modes == terminal.modes


async def test_new_events_are_followed_each_once_until_ctrl_c(
    command: Commands, database: Database, key_id: str
) -> None:
    words = arguments(command, "tail", "--status", "4xx", "--key", key_id)
    tail = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environ(command)
    )
    assert tail.stdout is not None
    lines: list[str] = []
    number = 0
    first = asyncio.create_task(tail.stdout.readline())
    # It follows from when it is connected; until then nobody knows what it will see.
    while not first.done():
        number += 1
        await store(database, [stored(live(key_id, number, 404))])
        await asyncio.wait({first}, timeout=0.3)
    lines.append((await first).decode())
    wanted = [live(key_id, number + 1, 403), live(key_id, number + 2, 200), live("other", number + 3, 404)]
    await store(database, [stored(members) for members in wanted])
    while f"req_{number + 1} " not in f"{lines[-1].rstrip()} ":
        lines.append((await asyncio.wait_for(tail.stdout.readline(), 20)).decode())
    tail.send_signal(signal.SIGINT)
    rest, errors = await asyncio.wait_for(tail.communicate(), 20)
    assert (tail.returncode, rest, errors) == (0, b"", b"")
    seen = [line.split()[-1] for line in lines]
    assert len(seen) == len(set(seen))
    assert f" 403       0.0 ms  {key_id}  203.0.113.7  GET /api/public/budgets  req_{number + 1}" in lines[-1]


def live(key_id: str, number: int, status: int) -> dict[str, Any]:
    """An event of this moment, whose id says so."""
    now = datetime.now(UTC)
    uuid = f"{int(now.timestamp() * 1000):012x}7000{number:016x}"
    id_ = f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
    return members_of(id=id_, at=ago(), keyId=key_id, status=status, requestId=f"req_{number}")


async def test_events_of_a_time_are_sent_to_an_outside_sink_again(
    command: Commands, database: Database, redis_url: str
) -> None:
    events = [members_of(at=ago(hours=hours), upstreamUs=7, keyId="api_key_1") for hours in (50, 5, 4, 3)]
    await store(database, [stored(members) for members in events])
    done = await command.run(
        "usage", "replay", "--from", "2d", "--to", ago(hours=3, minutes=30), "--sink", "redis_stream"
    )
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "sent 2 events to redis_stream\n")
    async with Redis.from_url(redis_url, socket_timeout=10) as client:
        entries = [json.loads(fields[b"event"]) for _, fields in await client.xrange(STREAM)]
    assert [entry["data"] for entry in entries] == events[1:3]
    assert [entry["id"] for entry in entries] == [members["id"] for members in events[1:3]]
    await command.right("usage", "replay", "--from", events[0]["at"], "--sink", "json_lines")
    lines = (command.directory / "lines").read_text().splitlines()
    assert [json.loads(line)["data"] for line in lines] == events


async def test_a_journal_file_adds_to_postgres_only_what_is_not_there(
    command: Commands, database: Database, tmp_path: Path
) -> None:
    known = [event(at=ago(minutes=3), keyId="api_key_1", accountId="account_1") for _ in range(5)]
    missing = [event(at=ago(minutes=3), keyId="api_key_1", accountId="account_1") for _ in range(2)]
    old = [event(at=ago(days=400), keyId="api_key_1", accountId="account_1")]
    journal = Journal(tmp_path / "saved", "w0", segment_max_bytes=1 << 20)
    for text in (*known, *missing, *old, b'{"id": "nonsense"}'):
        journal.append(text)
    journal.close()
    await store(database, known)
    for _ in range(2):
        done = await command.run("usage", "replay", "--from", str(journal.segment), "--sink", "postgres")
        assert "sent 7 events to postgres; 2 passed over: " in done.stderr
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM usage_events") == 7
        assert await connection.fetchval("SELECT sum(requests) FROM usage_hours") == 7
        assert await connection.fetchval("SELECT sum(requests) FROM usage_minutes") == 7


async def test_what_cannot_be_sent_again_says_why(command: Commands, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.journal")
    for words, said in (
        (("--from", "1h", "--sink", "postgres"), "by time, events come from Postgres"),
        (("--from", "1h"), "say where to with --sink"),
        (("--from", nowhere, "--sink", "postgres"), "there is no file"),
    ):
        assert said in await command.wrong("usage", "replay", *words)
    for words, said in (
        (("--from", "yesterday"), "is no time; expected e.g. 2030-12-31T23:59:59Z"),
        (("--from", "2030-12-31T23:59:59"), "has no time zone; expected e.g. 2030-12-31T23:59:59Z"),
        (("--from", nowhere, "--to", "1h"), "--to goes with a time"),
    ):
        done = await command.run("usage", "replay", *words, "--sink", "json_lines")
        assert done.exit_code == 2
        assert said in done.stderr.replace("\n", " ")


async def test_a_sink_that_is_away_ends_a_replay_with_how_to_go_on(
    command: Commands, database: Database, redis_url: str
) -> None:
    at = ago(hours=1)
    await store(database, [event(at=at)])
    async with Redis.from_url(redis_url, socket_timeout=10) as client:
        await client.set(STREAM, "not a stream")
    said = await command.wrong("usage", "replay", "--from", "1d", "--sink", "redis_stream")
    assert "WRONGTYPE" in said
    assert f"0 events were sent, go on with --from {at}" in said
