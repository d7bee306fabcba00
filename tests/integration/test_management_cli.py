"""`gateway accounts` and `gateway users`: whoever is made there can log in, and no password is ever shown."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration.managing import managing

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "a password that is long"
EMAIL = "ada@example.com"
SETTINGS = """
version: 1
postgres: {dsn: "${DATABASE_URL}"}
secrets: {key: "${GATEWAY_SECRET_KEY}"}
auth: {password_hash: {time_cost: 1, memory_kib: 64, parallelism: 1}}
scopes: {}
upstreams: {}
routes: []
"""

pytestmark = pytest.mark.timeout(60)


@dataclass
class Command:
    """Runs `gateway`, as somebody does who is not at a terminal."""

    settings: Path
    dsn: str

    async def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environ = {
            **os.environ,
            "DATABASE_URL": self.dsn,
            "GATEWAY_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
        }
        command = [sys.executable, "-m", "gateway", *arguments, "-c", str(self.settings)]
        return await asyncio.to_thread(
            subprocess.run, command, env=environ, input=stdin, capture_output=True, text=True, timeout=30, check=False
        )

    async def printed(self, *arguments: str, stdin: str = "") -> str:
        done = await self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    async def refused(self, *arguments: str, stdin: str = "") -> str:
        done = await self.run(*arguments, stdin=stdin)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.strip()


@pytest.fixture
def command(postgres_dsn: str, tmp_path: Path) -> Command:
    settings = tmp_path / "gateway.yaml"
    settings.write_text(SETTINGS)
    return Command(settings, postgres_dsn)


async def login_status(dsn: str, password: str) -> int:
    async with managing(dsn) as asking:
        return (await asking.ask("login", {"email": EMAIL, "password": password})).status


async def test_whoever_is_made_can_log_in_and_change_the_password(command: Command) -> None:
    account_id = await command.printed("accounts", "create", "Ada & Co")
    made = json.loads(await command.printed("users", "create", EMAIL, "--json", stdin=f"{PASSWORD}\n"))
    assert (made["email"], made["accountId"], made["role"]) == (EMAIL, account_id, "member")
    assert await login_status(command.dsn, PASSWORD) == 200
    await command.printed("users", "passwd", EMAIL, stdin="another long password\n")
    assert await login_status(command.dsn, PASSWORD) == 401
    assert await login_status(command.dsn, "another long password") == 200
    listed = await command.printed("users", "list")
    assert listed == f"{EMAIL}  member  {account_id}"
    assert json.loads(await command.printed("accounts", "list", "--json"))[0]["name"] == "Ada & Co"


async def test_what_cannot_be_done_is_said_in_one_line(command: Command) -> None:
    assert "there is no account yet" in await command.refused("users", "create", EMAIL, stdin=PASSWORD)
    await command.printed("accounts", "create", "Ada & Co")
    assert "at least 12" in await command.refused("users", "create", EMAIL, stdin="short")
    assert "no account" in await command.refused("users", "create", EMAIL, "--account", "x", stdin=PASSWORD)
    assert "not an e-mail" in await command.refused("users", "create", "ada", stdin=PASSWORD)
    await command.printed("users", "create", EMAIL, stdin=PASSWORD)
    assert "already" in await command.refused("users", "create", EMAIL.upper(), stdin=PASSWORD)
    assert "no user" in await command.refused("users", "passwd", "bob@example.com", stdin=PASSWORD)


async def test_without_postgres_one_line_says_so_and_shows_no_password(command: Command) -> None:
    command.dsn = "postgresql://gateway:hunter2@127.0.0.1:1/gateway"
    said = await command.refused("accounts", "list")
    assert "cannot connect to Postgres" in said
    assert "hunter2" not in said
