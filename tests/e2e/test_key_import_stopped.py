"""Somebody presses Ctrl-C while an import is under way, as a process at work on a terminal's behalf."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.core.credentials import issue
from tests.commands import Commands, encoded
from tests.demos import wait_until
from tests.gateways import ROOT, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_import_that_is_stopped_leaves_nothing(postgres_dsn: str, tmp_path: Path, number: signal.Signals) -> None:
    commands = Commands(tmp_path, postgres_dsn)
    run(commands.right("accounts", "create", "Acme"))
    environ = os.environ | {"DATABASE_URL": postgres_dsn, "GATEWAY_SECRET_KEY": encoded(bytes(32))}
    command = [sys.executable, "-m", "gateway", "keys", "import", "-", "-c", str(commands.settings)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, cwd=ROOT
    )
    try:
        assert process.stdin is not None
        for count in range(3000):
            process.stdin.write(
                b'{"name": "Key", "scopes": ["READ"], "key": "%s"}\n' % issue("bk_live_", count).encode()
            )
        process.stdin.flush()
        copying = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%staged_keys%'"
        assert wait_until(lambda: bool(run(commands.fetch(copying))), 30)
        process.send_signal(number)
        assert wait_until(lambda: process.poll() is not None, 20)
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    if number is signal.SIGINT:
        assert process.returncode == 130
        assert said.endswith(b"stopped; nothing was imported\n")
    assert b"Traceback" not in said
    assert wait_until(lambda: not run(commands.fetch(copying)), 20)
    assert run(commands.fetch("SELECT id FROM api_keys UNION ALL SELECT key_id FROM key_secrets")) == []
