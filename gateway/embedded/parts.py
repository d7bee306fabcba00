"""The processes of a demo: how each is started, and in which order all are stopped."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from gateway.embedded.errors import EmbeddedError
from gateway.embedded.kept import kept_secret
from gateway.embedded.listening import LOOPBACK, answers_ok, free_port
from gateway.embedded.polling import until
from gateway.embedded.postgres import NAME, EmbeddedPostgres
from gateway.embedded.processes import Child, Command, spawn
from gateway.embedded.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from gateway.embedded.state import State

BACKENDS = ("budgets", "customers", "products")
_START_TIMEOUT_S = 20.0
_PROBE_TIMEOUT_S = 1.0
# Together below the 5 s that people wait after Ctrl-C; see also the two servers' own.
_GATEWAY_STOP_S = 2.0
_BACKEND_STOP_S = 0.5


class Parts:
    """Two databases, three backends and a gateway, not started yet; *environ* is what our own programs inherit."""

    def __init__(self, state: State, environ: Mapping[str, str]) -> None:
        self.postgres = EmbeddedPostgres(state.path / "postgres", log=state.log("postgres"))
        self.valkey = EmbeddedValkey(state.path / "valkey", log=state.log("valkey"))
        self.backends: dict[str, Child] = {}
        self._gateway: Child | None = None
        self._state = state
        self._workers_file = state.path / "workers.json"
        self._environ = environ
        self._backend_ports = {name: free_port() for name in BACKENDS}

    @property
    def gateway(self) -> Child:
        """The gateway's parent process.

        Raises EmbeddedError when it was not started.
        """
        if self._gateway is None:
            message = "the gateway was not started"
            raise EmbeddedError(message)
        return self._gateway

    @property
    def backend_urls(self) -> dict[str, str]:
        """Where each backend listens."""
        return {name: f"http://{LOOPBACK}:{port}" for name, port in self._backend_ports.items()}

    async def start_backends(self) -> None:
        """Start the three backends; all answer on return.

        Raises EmbeddedError when one of them ended, or did not answer.
        """
        environ = {**self._environ, "PGPASSWORD": self.postgres.password}  # Not in the arguments, which all users see.
        dsn = f"postgresql://{NAME}@{LOOPBACK}:{self.postgres.port}/{NAME}"
        for name, port in self._backend_ports.items():
            arguments = [sys.executable, "-m", "gateway.embedded.backends", name, "--port", str(port), "--dsn", dsn]
            self.backends[name] = spawn(Command(name, arguments, self._state.log(name), environ=environ))
        for name, port in self._backend_ports.items():
            await _settle(self.backends[name], partial(answers_ok, port, "/healthz", _PROBE_TIMEOUT_S))

    async def start_gateway(self, config: Path, port: int, admin_port: int) -> None:
        """Start the gateway with *config*; it is ready on return.

        Raises EmbeddedError when it ended, or did not become ready.
        """
        self._workers_file.unlink(missing_ok=True)  # Of a run that was killed.
        environ = {**self._environ, **self._gateway_environ(), "GATEWAY_PORT": str(port)}
        environ["GATEWAY_ADMIN_PORT"] = str(admin_port)
        arguments: list[str | Path] = [sys.executable, "-m", "gateway", "run", "-c", config]
        self._gateway = spawn(Command("gateway", arguments, self._state.log("gateway"), environ=environ))
        await _settle(self._gateway, partial(self._serves, admin_port))

    def workers(self) -> list[int]:
        """The workers that the gateway's parent says it has; none before it begins and after it ended in order."""
        try:
            workers: list[int] = json.loads(self._workers_file.read_bytes())["workers"]
        except FileNotFoundError:
            return []
        return workers

    def pids(self) -> dict[str, int | list[int] | dict[str, int]]:
        """Every process by its part."""
        return {
            "gateway": self.gateway.pid,
            "workers": self.workers(),
            "postgres": self.postgres.child.pid,
            "redis": self.valkey.child.pid,
            "backends": {name: child.pid for name, child in self.backends.items()},
        }

    def bystanders(self) -> list[Child]:
        """Every process that was started, but the gateway's."""
        return [self.postgres.child, self.valkey.child, *self.backends.values()]

    async def stop(self) -> None:
        """Stop what runs, in the order in which the parts need one another: Postgres last."""
        if self._gateway:
            await self._gateway.stop(timeout_s=_GATEWAY_STOP_S)
            for pid in self.workers():  # Named still: their parent did not end in order, and they may take their time.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*(backend.stop(timeout_s=_BACKEND_STOP_S) for backend in self.backends.values()))
        await self.valkey.stop()
        await self.postgres.stop()

    async def _serves(self, admin_port: int) -> bool:
        # Without a worker of ours it is another gateway that answers: their ports can be shared.
        return bool(self.workers()) and await answers_ok(admin_port, "/readyz", _PROBE_TIMEOUT_S)

    def _gateway_environ(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.postgres.dsn,
            "REDIS_URL": self.valkey.url,
            **{f"{name.upper()}_URL": url for name, url in self.backend_urls.items()},
            "GATEWAY_STATE": str(self._state.path),
            "GATEWAY_SECRET_KEY": kept_secret(self._state.path / "secret-key", _secret_key),
            "GATEWAY_ADDRESS": LOOPBACK,
            "GATEWAY_WEBHOOKS_ALLOW_PRIVATE": "true",
        }


def _secret_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


async def _settle(child: Child, ready: Callable[[], Awaitable[bool]]) -> None:
    async def settled() -> bool:
        return not child.alive or await ready()

    if not await until(settled, _START_TIMEOUT_S) or not child.alive:
        raise EmbeddedError(child.obituary("did not start"))
