"""The gateway as a process in front of a recording backend: how to start it, ask it, and look into it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.keys import CreatedKey, NewKey, create_key
from gateway.embedded.listening import free_port
from gateway.workers.control import give_order
from tests.demos import wait_until
from tests.kept import KeptConnection
from tests.nursery import fork
from tests.servers import gone
from tests.wire import Wire, fresh_address

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import asyncpg

    from gateway.workers.control import Outcome
    from tests.backends import Backend
    from tests.nursery import Forked
    from tests.wire import Answer

ROOT = Path(__file__).parent.parent
EVERY_SCOPE = (
    *("READ_BUDGETS", "WRITE_BUDGETS", "READ_CUSTOMERS", "WRITE_CUSTOMERS", "READ_PRODUCTS", "WRITE_PRODUCTS"),
    "WEBHOOKS",
)
_START_TIMEOUT_S = 20.0
_TIMEOUT_S = 10.0
T = TypeVar("T")
_FORBIDDEN_IN_LOGS = ("Traceback", "never retrieved", "never awaited", '"event": "bug"', "Unclosed")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on a loop of its own, from a test that is not a coroutine."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)


class Gateway:
    """`gateway run` as a process, with its state in *directory*; *url* and *admin_url* are where it serves.

    It may open as many *descriptors* as are given. It is *forked* unless it needs a start of its own.
    """

    def __init__(
        self,
        directory: Path,
        dsn: str,
        redis_url: str,
        backend: Backend,
        document: dict[str, Any],
        address: str = "127.0.0.1",
        descriptors: int | None = None,
    ) -> None:
        self.backend = backend
        self._descriptors = descriptors
        self.dsn = dsn
        self.database = KeptConnection(dsn)
        self.address = address
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.state = directory / "state"
        self._output = directory / "output"
        self.document = document
        self.config = directory / "gateway.yaml"
        self.configure(lambda _: None)
        self.environ = os.environ | {
            "DATABASE_URL": dsn,
            "REDIS_URL": redis_url,
            "GATEWAY_STATE": str(self.state),
            "GATEWAY_ADDRESS": address,
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_ADMIN_PORT": str(self.admin_port),
            "GATEWAY_SECRET_KEY": base64.b64encode(b"k" * 32).decode(),
        }
        self.forked = True
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._directory, self._checked_from = ROOT, 0
        self._secrets: list[str] = []
        self._known: dict[tuple[str, ...], str] = {}

    @property
    def process(self) -> subprocess.Popen[bytes] | Forked:
        """The parent of the workers."""
        assert self._process
        return self._process

    @property
    def output(self) -> str:
        """All that it logged."""
        return self._output.read_text(encoding="utf-8")

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers."""
        pids: list[int] = json.loads((self.state / "workers.json").read_bytes())["workers"]
        return pids

    @property
    def health(self) -> dict[str, Any]:
        """What /readyz says, with the status beside it; empty when nobody answers."""
        try:
            status, body = self._ask_inside("/readyz", 2)
        except (OSError, HTTPException):
            return {}
        document: dict[str, Any] = json.loads(body) | {"code": status}
        return document

    @property
    def everything(self) -> str:
        """A key with every scope and more requests than any test makes."""
        return self.key_for(*EVERY_SCOPE)

    @property
    def readonly(self) -> str:
        """A key that may only read budgets."""
        return self.key_for("READ_BUDGETS")

    def key_for(self, *scopes: str) -> str:
        """A key with *scopes* and more requests than any test makes, the same one for all tests that ask."""
        if scopes not in self._known:
            self._known[scopes] = self.make_key(*scopes, rate_limit_per_hour=1_000_000)
        return self._known[scopes]

    def run_from(self, directory: Path) -> None:
        """Run the package that is installed in *directory* from now on."""
        self.environ["PYTHONPATH"] = str(directory)
        self.forked = False
        self._directory = directory

    def forget_log(self) -> None:
        """Have `check_log` begin here: what was logged before was provoked."""
        self._checked_from = len(self.output)

    def begin(self, *arguments: str) -> None:
        """Start the process and wait for nothing."""
        arguments = ("run", "-c", str(self.config), *arguments)
        with self._output.open("ab") as output:
            if self.forked:
                self._process = fork(arguments, self.environ, output.fileno(), self._descriptors)
                return
            command = [sys.executable, "-m", "gateway", *arguments]
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env=self.environ, cwd=self._directory, start_new_session=True
            )

    def start(self, *arguments: str) -> None:
        """Start the process and wait until it takes traffic."""
        self.begin(*arguments)
        wait_until(lambda: self.health.get("code") == 200 or self.process.poll() is not None, _START_TIMEOUT_S)
        assert self.health.get("code") == 200, self.output

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send *number* and give the exit status."""
        self.process.send_signal(number)
        return self.process.wait(15)

    def configure(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit its settings file; nothing happens before it is told."""
        change(self.document)
        self.write(yaml.dump(self.document, Dumper=yaml.CSafeDumper))

    def write(self, text: str) -> None:
        """Replace its settings file, in one go."""
        draft = self.config.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.rename(self.config)

    def order(self, order: str) -> Outcome:
        """Have it reload or restart, as the commands of that name do, and wait for it."""
        return give_order(self.state, order, 300)

    def connect(self, source: str | None = None, timeout_s: float = 8.0) -> Wire:
        """Open a connection as a client, from an address that nobody has used before unless *source* is given."""
        source = source or (fresh_address() if self.address == "127.0.0.1" else self.address)
        return Wire(self.port, source, timeout_s, self.address)

    def ask(
        self,
        method: str,
        path: str,
        key: str | None = None,
        fields: Sequence[str] = (),
        body: bytes | None = None,
        source: str | None = None,
    ) -> Answer:
        """Send one request on a connection of its own."""
        with self.connect(source) as wire:
            return wire.ask(method, path, key, fields, body)

    def make_key(self, *scopes: str, **options: Any) -> str:
        """Make an API key with *scopes*, by default every one; *options* are those of `NewKey`."""
        (made,) = self.make_keys([{"scopes": scopes or EVERY_SCOPE, **options}])
        return made.key

    def make_keys(self, wanted: Sequence[dict[str, Any]]) -> list[CreatedKey]:
        """Make an API key, by default with every scope, for each of *wanted*, the options of a `NewKey`."""

        async def make(connection: asyncpg.Connection[asyncpg.Record]) -> list[CreatedKey]:
            usual = {"account_id": await create_account(connection, "Tests"), "name": "A test's"}
            usual["scopes"] = EVERY_SCOPE
            return [await create_key(connection, NewKey(**usual | options)) for options in wanted]

        made = self.database.do(make)
        for created in made:
            self.never_log(created.key)
        return made

    def never_log(self, secret: str) -> None:
        """Have `check_log` look for *secret* too."""
        self._secrets.append(secret)

    def execute(self, statement: str) -> None:
        """Run one *statement* in its database."""
        self.database.do(lambda connection: connection.execute(statement))

    def fetch(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """The rows of a *query* in its database."""
        return [dict(row) for row in self.database.do(lambda connection: connection.fetch(query, *arguments))]

    def event(self, request_id: str) -> dict[str, Any]:
        """The usage event of a request, once it is stored."""
        return self.events([request_id])[request_id]

    def events(self, request_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The usage events of requests, by their ids, once all are stored."""
        found: dict[str, dict[str, Any]] = {}

        def stored() -> bool:
            events = self.fetch("SELECT * FROM usage_events WHERE request_id = ANY($1)", list(request_ids))
            found.update({event["request_id"]: event for event in events})
            return len(found) == len(set(request_ids))

        assert wait_until(stored, _TIMEOUT_S)
        return found

    def metrics(self) -> str:
        """What Prometheus would scrape."""
        return self._ask_inside("/metrics", 5)[1].decode()

    def metric(self, series: str) -> float:
        """The value of one *series*, named as Prometheus writes it; 0 while there is none."""
        found = [line.rpartition(" ")[2] for line in self.metrics().splitlines() if line.rpartition(" ")[0] == series]
        return float(found[0]) if found else 0.0

    def _ask_inside(self, path: str, timeout_s: float) -> tuple[int, bytes]:
        """The status and the body of an answer of the internal listener."""
        with closing(HTTPConnection("127.0.0.1", self.admin_port, timeout=timeout_s)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def check_log(self, since: int = 0) -> None:
        """Fail when what was logged after the first *since* characters has a key in it, or tells of a bug."""
        logged = self.output[max(since, self._checked_from) :]
        assert not [secret[:12] for secret in self._secrets if secret in logged]
        assert not any(word in logged for word in _FORBIDDEN_IN_LOGS), logged[-4000:]

    def kill(self) -> None:
        """Leave nothing of it, whatever state it is in."""
        self.database.close()
        if self._process is not None:
            pids = self.workers if (self.state / "workers.json").exists() else []
            for pid in pids:
                if not gone(pid):
                    os.kill(pid, signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            assert wait_until(lambda: all(gone(pid) for pid in pids), 10)
