"""`gateway keys import`: all of a file or nothing of it, and every bad line by its number."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.memory.keycache import KeyCache
from gateway.adapters.postgres.key_lists import list_keys
from gateway.adapters.postgres.key_source import PostgresKeySource
from gateway.adapters.postgres.listen import KeyChangeListener
from gateway.adapters.postgres.pool import Database
from gateway.adapters.secrets.encryption import Encryption, Sealed
from gateway.core.credentials import digest, issue
from gateway.jobs.invalidate import Invalidator
from tests.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path

IMPORT = ("keys", "import", "-", "--format")


@pytest.fixture
async def commands(postgres_dsn: str, tmp_path: Path) -> Commands:
    made = Commands(tmp_path, postgres_dsn)
    await made.right("accounts", "create", "Acme")
    return made


def line(number: int, **more: Any) -> str:
    return json.dumps({"name": f"Key {number}", "scopes": ["READ"], "key": issue("bk_live_", number), **more})


async def count(commands: Commands) -> int:
    (row,) = await commands.fetch("SELECT (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM key_secrets) AS n")
    total: int = row["n"]
    return total


async def test_a_dry_run_says_what_it_would_do_and_leaves_nothing(commands: Commands) -> None:
    text = "\n".join(map(line, range(10)))
    assert await commands.right(*IMPORT, "jsonl", "--dry-run", stdin=text) == (
        "10 keys can be imported; nothing was imported\n"
    )
    told = await commands.told(*IMPORT, "jsonl", "--dry-run", stdin=text)
    assert (told["imported"], told["checked"]) == (0, 10)
    assert await count(commands) == 0
    assert "line 11: " in await commands.wrong(*IMPORT, "jsonl", "--dry-run", stdin=f"{text}\n{line(3)}")
    assert (await commands.told(*IMPORT, "jsonl", stdin=text))["imported"] == 10


async def test_duplicates_are_told_by_line_and_by_where_the_other_is(commands: Commands) -> None:
    await commands.right(*IMPORT, "jsonl", stdin=line(1, id="api_key_one"))
    text = "\n".join(
        [line(2), line(3, id="api_key_x"), line(2), line(1), line(4, id="api_key_one"), line(5, id="api_key_x")]
    )
    said = await commands.wrong(*IMPORT, "jsonl", stdin=text)
    assert said.splitlines()[1:] == [
        "line 3: key: there is one like it on line 1 already",
        "line 4: key: there is one like it in the database already",
        "line 5: id: there is one like it in the database already",
        "line 6: id: there is one like it on line 2 already",
    ]
    assert await count(commands) == 2


async def test_only_the_first_problems_are_told_and_how_many_more_there_are(commands: Commands) -> None:
    text = "\n".join(["nonsense", *map(line, range(5)), *["nonsense"] * 8, *map(line, range(5))])
    said = (await commands.wrong(*IMPORT, "jsonl", "--problems", "3", stdin=text)).splitlines()
    assert said[1:] == [
        "line 1: is not JSON",
        "line 7: is not JSON",
        "line 8: is not JSON",
        "and 11 more; --problems N shows more of them",
    ]


async def test_what_is_said_of_bad_lines_shows_no_key(commands: Commands) -> None:
    keys = [issue("bk_live_", number) for number in range(6)]
    wrong = keys[0][:-1] + ("A" if keys[0][-1] != "A" else "B")
    lines = [
        line(1, key=wrong),
        line(2, key=keys[1] + "x" * 100),
        line(3, name=None),
        line(4, sha256=hashlib.sha256(b"x").hexdigest()),
        f'{{"name": "Cut", "key": "{keys[4]}"',
        line(6),
        line(6),
    ]
    said = await commands.wrong(*IMPORT, "jsonl", stdin="\n".join(lines))
    assert [text.split(":")[0] for text in said.splitlines()[1:]] == [f"line {n}" for n in (1, 2, 3, 4, 5, 7)]
    assert not any(key[12:24] in said for key in (*keys, wrong))


async def test_an_expired_key_and_its_webhook_are_imported_as_they_are(commands: Commands) -> None:
    hook = {"webhookUrl": "https://myapp.com/hook", "webhookSecret": "a secret of my own"}
    await commands.right(*IMPORT, "jsonl", stdin=line(1, id="old", expiresAt="2001-01-01T00:00:00Z", **hook))
    (row,) = await commands.fetch("SELECT * FROM api_keys")
    assert row["expires_at"].year == 2001
    sealed = Sealed(row["webhook_secret_key_id"], row["webhook_secret"])
    assert Encryption(bytes(32)).open(sealed, "webhook:old") == b"a secret of my own"
    del hook["webhookSecret"]
    assert "line 1: webhookSecret: is required beside" in await commands.wrong(*IMPORT, "jsonl", stdin=line(2, **hook))


async def test_a_header_with_unknown_columns_is_one_problem(commands: Commands) -> None:
    for header in ("name,scopes,key,colour", "name,scopes,key,name"):
        said = await commands.wrong(*IMPORT, "csv", stdin=f"{header}\n" + "a,READ,b,c\n" * 50)
        assert said.count("line ") == 1
        assert "line 1: the header must name each of its columns once, out of name, scopes, key, sha256" in said


async def test_an_endless_line_does_not_fill_the_memory(commands: Commands) -> None:
    said = await commands.wrong(*IMPORT, "jsonl", stdin=f"{line(1)}\n" + "x" * 2_000_000)
    assert "line 2: is longer than 1048576 characters" in said
    said = await commands.wrong(*IMPORT, "csv", stdin="name,scopes,key\n" + "x" * 2_000_000)
    assert "line 2: is longer than 1048576 characters" in said


async def test_an_empty_file_and_an_unknown_account_import_nothing(commands: Commands) -> None:
    assert (await commands.told(*IMPORT, "jsonl"))["imported"] == 0
    said = await commands.wrong(*IMPORT, "jsonl", "--account", "account_nobody", stdin=line(1))
    assert "there is no account account_nobody; see `gateway accounts list`" in said
    assert await count(commands) == 0


async def test_a_running_gateway_hears_once_and_knows_the_new_keys_at_once(commands: Commands) -> None:
    heard: list[str] = []

    class Listening(Invalidator):
        def on_change(self, payload: str) -> None:
            heard.append(payload)
            super().on_change(payload)

    async with Database(commands.dsn) as database:
        source = PostgresKeySource(database)
        cache = KeyCache(source, time.monotonic, ttl_s=25, max_stale_s=900, absent_ttl_s=5, entries_max=100)
        listener = KeyChangeListener(commands.dsn, Listening(cache))
        task = asyncio.create_task(listener.run())
        async with asyncio.timeout(10):
            while not listener.connected:
                await asyncio.sleep(0.01)
            assert await cache.find(digest(issue("bk_live_", 7))) is None
            await commands.right(*IMPORT, "jsonl", stdin="\n".join(map(line, range(2000))))
            while not heard:
                await asyncio.sleep(0.01)
        assert await cache.find(digest(issue("bk_live_", 7))) is not None
        assert heard == ["secrets:many"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await cache.close()
        async with database.connection() as connection:
            assert (await list_keys(connection, None)).total == 2000
    (row,) = await commands.fetch("SELECT count(*) AS n FROM audit_log WHERE action LIKE 'key%'")
    assert row["n"] == 1
