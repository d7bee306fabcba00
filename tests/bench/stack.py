"""The gateway of the benchmark: the production entry on real Postgres and Valkey, with one key that is never empty."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from gateway.adapters.postgres.migrate import migrate
from gateway.embedded import placement
from gateway.embedded.listening import free_port
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
UNLIMITED = "1000000000"


@dataclass(frozen=True)
class Running:
    """A gateway that serves: where, by which process, and what it was started with."""

    port: int
    worker: int
    key: str
    admin_port: int
    config: Path
    environ: dict[str, str]

    @property
    def upstream(self) -> str:
        """The address and port of the upstream of budgets."""
        return self.environ["BUDGETS_URL"].removeprefix("http://")

    def rendered(self, proxy: str, *options: str) -> str:
        """Give the configuration of *proxy* that goes with it."""
        command = [sys.executable, "-m", "gateway", "render", proxy, "-c", str(self.config), *options]
        return subprocess.run(command, env=self.environ, check=True, capture_output=True, text=True).stdout


@contextmanager
def started_gateway(
    directory: Path, upstream: str, other_core: str, config: Path = ROOT / "gateway.yaml"
) -> Iterator[Running]:
    """Start databases on *other_core* and a gateway with *config* on core 0; all is gone afterwards."""
    postgres = EmbeddedPostgres(directory / "postgres", log=directory / "postgres.log", durable=False)
    valkey = EmbeddedValkey(directory / "valkey", log=directory / "valkey.log", durable=False)
    with asyncio.Runner() as runner:
        try:
            runner.run(postgres.start())
            runner.run(valkey.start())
            runner.run(migrate(postgres.dsn))
            for child in (postgres.child, valkey.child):
                subprocess.run(["taskset", "-acp", other_core, str(child.pid)], check=True, stdout=subprocess.DEVNULL)
            with _gateway(directory, postgres.dsn, valkey.url, upstream, config) as running:
                yield running
        finally:
            runner.run(valkey.stop())
            runner.run(postgres.stop())
            placement.forget(directory / "postgres")


@contextmanager
def _gateway(directory: Path, dsn: str, redis: str, upstream: str, path: Path) -> Iterator[Running]:
    port, admin_port = free_port(), free_port()
    state = directory / "state"
    environ = {
        **os.environ,
        "DATABASE_URL": dsn,
        "REDIS_URL": redis,
        **dict.fromkeys(("BUDGETS_URL", "CUSTOMERS_URL", "PRODUCTS_URL"), upstream),
        "GATEWAY_STATE": str(state),
        "GATEWAY_SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "GATEWAY_ADDRESS": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_LOG_LEVEL": "warning",
    }
    gateway = [sys.executable, "-m", "gateway"]
    config = ["-c", str(path)]

    def ask(*words: str) -> dict[str, str]:
        output = subprocess.run([*gateway, *words, *config, "--json"], env=environ, check=True, capture_output=True)
        answer: dict[str, str] = json.loads(output.stdout)
        return answer

    ask("accounts", "create", "Bench")
    key = ask("keys", "create", "--name", "bench", "--scope", "READ_BUDGETS", "--rate-limit", UNLIMITED)["key"]
    process = subprocess.Popen(["taskset", "-c", "0", *gateway, "run", *config], env=environ)
    try:
        _wait_until_ready(admin_port)
        workers = json.loads((state / "workers.json").read_text())["workers"]
        yield Running(port, workers[0], key, admin_port, path, environ)
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(state, ignore_errors=True)


def _wait_until_ready(admin_port: int) -> None:
    for _ in range(600):
        try:
            with urlopen(f"http://127.0.0.1:{admin_port}/readyz", timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.05)  # noqa: TID251  # a benchmark serves nobody
    raise TimeoutError("the gateway did not become ready")
