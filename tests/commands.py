"""The command line within the process of a test: what a terminal would run, without the time that Python needs to start.

What matters about processes (signals, memory, exit) is tested with real ones, in tests/e2e.
"""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog
from click.testing import CliRunner

from gateway.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

SETTINGS = """
version: 1
postgres: {dsn: "${DATABASE_URL}"}
redis: {url: "redis://127.0.0.1:1/0"}
secrets: {key: "${GATEWAY_SECRET_KEY}", previous: ["${GATEWAY_SECRET_KEY_PREVIOUS:-}"]}
keys: {prefixes: [bk_live_, bk_test_], legacy: "${LEGACY:-false}"}
scopes: {READ: Read things, WRITE: Write things}
upstreams: {things: {targets: ["http://127.0.0.1:9"]}}
routes: [{name: things.read, methods: [GET], path: /things/**, scope: READ, upstream: things}]
"""
"""Redis is nowhere: no command may need it."""


def encoded(key: bytes) -> str:
    """A secret key as the environment has it."""
    return base64.b64encode(key).decode()


@dataclass
class Commands:
    """Runs `gateway` with settings of its own; *environ* goes beside what they need."""

    directory: Path
    dsn: str
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = self.directory / "gateway.yaml"
        self.settings.write_text(SETTINGS)

    async def run(self, *words: str | Path, stdin: str = "") -> Result:
        environ = {"DATABASE_URL": self.dsn, "GATEWAY_SECRET_KEY": encoded(bytes(32)), **self.environ}
        arguments = [*map(str, words), "-c", str(self.settings)]
        logging_before = structlog.get_config()
        try:
            return await asyncio.to_thread(
                CliRunner().invoke, main, arguments, input=stdin, env=environ, catch_exceptions=False
            )
        finally:
            structlog.configure(**logging_before)

    async def right(self, *words: str | Path, stdin: str = "") -> str:
        """Run what must succeed, and give what it prints."""
        done = await self.run(*words, stdin=stdin)
        assert done.exit_code == 0, done.output
        return done.stdout

    async def told(self, *words: str | Path, stdin: str = "") -> Any:
        """Run what must succeed with --json, and give what it tells."""
        return json.loads(await self.right(*words, "--json", stdin=stdin))

    async def wrong(self, *words: str | Path, stdin: str = "") -> str:
        """Run what must fail, and give what it says."""
        done = await self.run(*words, stdin=stdin)
        assert done.exit_code == 1, done.output
        # A slow machine lets an import say how far it is before it fails.
        progress, error, said = done.stderr.partition("Error: ")
        assert error, progress
        return error + said

    async def fetch(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.dsn, timeout=10, command_timeout=10)
        try:
            return [dict(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close(timeout=10)
