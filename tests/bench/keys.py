"""`make bench-keys`: keys by the million, and how soon a change of one is in force.

One Postgres and one Valkey. First a thousand keys, then a million, each time all of them in one account, imported by
`gateway keys import`; the same look-ups and lists are timed at both sizes. Then two gateways: a PUT to one of them,
until the other refuses the key.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from gateway.adapters.postgres.key_lists import list_keys
from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.adapters.postgres.migrate import migrate
from gateway.adapters.postgres.pool import Database
from gateway.core.credentials import RANDOM_CHARACTERS, digest, issue
from gateway.core.keys import KeyStatus
from gateway.embedded import placement
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.valkey import EmbeddedValkey
from tests.bench.changes import measure_changes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Lists = dict[str, Callable[[], Awaitable[object]]]

FEW = 1_000
TIMES = 300
TIMES_DEEP = 30
SUSPENDED_EVERY = 100
WORDS = ("Shop", "Billing", "Warehouse", "Till", "Mobile", "Reports", "Partner", "Backup")


def lines(path: Path, number: int) -> list[str]:
    """Write *number* keys as JSON lines, and give some of the keys."""
    some: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        for count in range(number):
            key = issue("bk_live_", secrets.randbelow(62**RANDOM_CHARACTERS))
            name = f"{WORDS[count % len(WORDS)]} of customer {count}"
            status = "SUSPENDED" if count % SUSPENDED_EVERY == 0 else "ACTIVE"
            file.write(
                f'{{"name":"{name}","scopes":["READ_BUDGETS","READ_CUSTOMERS"],"key":"{key}","status":"{status}"}}\n'
            )
            if count % max(1, number // TIMES) == 0:
                some.append(key)
    return some


def imported(path: Path, environ: dict[str, str], account: str) -> tuple[float, float, float]:
    """Import the file; gives the seconds that it took, those of CPU time and the MiB that the command needed at most."""
    command = [sys.executable, "-m", "gateway", "keys", "import", str(path), "--account", account, "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class Timed:
    """Times of one thing, in milliseconds."""

    def __init__(self, times: list[float]) -> None:
        self.times = sorted(times)

    def at(self, share: float) -> float:
        return self.times[min(len(self.times) - 1, int(len(self.times) * share))]

    def __str__(self) -> str:
        return f"{self.at(0.5):10.2f}{self.at(0.99):10.2f}"


async def timed(times: int, work: Callable[[], Awaitable[object]]) -> Timed:
    found = []
    for number in range(times + 5):
        began = time.perf_counter()
        await work()
        if number >= 5:  # The first ones warm up.
            found.append((time.perf_counter() - began) * 1000)
    return Timed(found)


async def measured(dsn: str, account: str, some: list[str], number: int) -> dict[str, Timed]:
    """Time look-ups and lists of the account that has *number* keys."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("VACUUM ANALYZE", timeout=600)
    digests = iter(digest(key) for key in some * (1 + (TIMES + 5) // len(some)))

    def listing(**narrowed: Any) -> Callable[[], Awaitable[object]]:
        return lambda: list_keys(connection, account, **narrowed)

    lists: Lists = {
        "list, first page": listing(),
        "list, page 40": listing(page=40),
        "list, ACTIVE (99 %)": listing(status=KeyStatus.ACTIVE),
        "list, SUSPENDED (1 %)": listing(status=KeyStatus.SUSPENDED),
        "search, one key has it": listing(search=f"customer {number - 7}"),
        "search, no key has it": listing(search="nobody at all"),
    }
    deep: Lists = {
        "search, every 8th has it": listing(search="Warehouse"),
        "search, all have it": listing(search="bk_live_"),
        "list, the last page": listing(page=number // 20),
    }
    figures: dict[str, Timed] = {}
    try:
        async with Database(dsn) as database:
            source = PostgresKeySource(database)
            figures["look-up, not cached"] = await timed(TIMES, lambda: source.find(next(digests)))
        for name, work in lists.items():
            figures[name] = await timed(TIMES, work)
        for name, work in deep.items():
            figures[name] = await timed(TIMES_DEEP, work)
    finally:
        await connection.close()
    return figures


def side_by_side(few: dict[str, Timed], many: dict[str, Timed], number: int) -> Iterator[str]:
    yield f"\n{'milliseconds':28}{f'{FEW:,} keys':>20}{f'{number:,} keys':>20}"
    yield f"{'':28}{'p50':>10}{'p99':>10}{'p50':>10}{'p99':>10}"
    for name, figure in few.items():
        yield f"{name:28}{figure}{many[name]}"


async def account_of(dsn: str, name: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("INSERT INTO accounts (id, name) VALUES ($1, $1)", name)
    finally:
        await connection.close()
    return name


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-keys", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000, help="How many are many.")
    parser.add_argument("--changes", type=int, default=200, help="How many PUTs are timed.")
    options = parser.parse_args()
    with asyncio.Runner() as runner, ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        postgres = EmbeddedPostgres(directory / "postgres", log=directory / "postgres.log", durable=False)
        valkey = EmbeddedValkey(directory / "valkey", log=directory / "valkey.log", durable=False)
        stack.callback(placement.forget, directory / "postgres")
        stack.callback(lambda: runner.run(postgres.stop()))
        stack.callback(lambda: runner.run(valkey.stop()))
        runner.run(postgres.start())
        runner.run(valkey.start())
        runner.run(migrate(postgres.dsn))
        environ = gateway_environ(postgres.dsn, valkey.url)
        figures = []
        for name, number in (("few", FEW), ("many", options.keys)):
            account = runner.run(account_of(postgres.dsn, name))
            file = directory / f"{name}.jsonl"
            some = lines(file, number)
            took, cpu_s, mebibytes = imported(file, environ, account)
            print(
                f"imported {number:,} keys in {took:.1f} s: {number / took:,.0f} a second; the command took {cpu_s:.1f} s "
                f"of a core and {mebibytes:.0f} MiB at most",
                flush=True,
            )
            figures.append(runner.run(measured(postgres.dsn, account, some, number)))
        print("\n".join(side_by_side(figures[0], figures[1], options.keys)), flush=True)
        measure_changes(directory, environ, options.changes)


def gateway_environ(dsn: str, redis: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": dsn,
        "REDIS_URL": redis,
        "GATEWAY_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "GATEWAY_ADDRESS": "127.0.0.1",
        "GATEWAY_LOG_LEVEL": "warning",
    }


if __name__ == "__main__":
    main()
