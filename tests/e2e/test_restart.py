"""`gateway restart` and the end of a gateway: what was promised to those who are connected meanwhile."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import plain
from tests.demos import ROOT, wait_until
from tests.servers import gone
from tests.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.backends import Connection, Received
    from tests.gateways import Gateway

pytestmark = pytest.mark.timeout(90)

BUDGETS = "/api/public/budgets"


def patient(document: dict[str, Any]) -> None:
    document["upstreams"]["budgets"]["timeouts"]["first_byte_s"] = 30


class Slow:
    """A backend's answer that waits until it is let go, for paths that end in slow."""

    def __init__(self) -> None:
        self.begun, self.finish = threading.Event(), threading.Event()

    def __call__(self, request: Received, connection: Connection) -> None:
        if request.target.endswith("slow"):
            self.begun.set()
            self.finish.wait(20)
        plain()(request, connection)


def test_a_replaced_worker_answers_what_it_began_and_says_that_it_ends(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, patient)
    key, (old,) = gateway.everything, gateway.workers
    gateway.backend.answer = slow = Slow()
    outcomes = []
    with gateway.connect() as kept, gateway.connect() as body, gateway.connect(timeout_s=30) as busy:
        assert kept.ask("GET", BUDGETS, key).status == 200
        assert body.ask("POST", BUDGETS, key, body=b"{}").status == 200
        busy.send(request_bytes("GET", f"{BUDGETS}/slow", key))
        assert slow.begun.wait(5)
        gateway.configure(lambda document: document["postgres"].update(pool_max=3))
        restarting = threading.Thread(target=lambda: outcomes.append(gateway.order("restart")))
        restarting.start()
        assert wait_until(lambda: len(gateway.workers) == 2, 10)
        while kept.ask("GET", BUDGETS, key).all("connection") != ["close"]:
            assert restarting.is_alive()
        last = body.ask("POST", BUDGETS, key, body=b"{}")
        assert (last.status, last.all("connection")) == (200, ["close"])
        assert kept.ended()
        assert body.ended()
        assert gateway.health["code"] == 200
        assert gateway.ask("GET", BUDGETS, key).status == 200
        assert not gone(old)
        slow.finish.set()
        finished = busy.answer()
        assert (finished.status, finished.all("connection")) == (200, ["close"])
    restarting.join(20)
    assert [(outcome.problems, outcome.waiting) for outcome in outcomes] == [([], [])]
    assert gone(old)
    assert wait_until(lambda: len(gateway.fetch("SELECT 1 FROM usage_events")) >= 5, 10)


def test_new_workers_are_what_is_installed_by_then(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    """With the command, and with the signal; and a version that cannot start leaves the old one where it is."""
    installed = tmp_path / "installed" / "gateway"
    # With what is compiled already; only what is replaced could be taken for its predecessor of the same second.
    shutil.copytree(ROOT / "gateway", installed)

    def install(line: str) -> None:
        for compiled in (installed / "__pycache__").glob("__init__.*"):
            compiled.unlink()
        (installed / "__init__.py").write_text(line)

    def version(name: str) -> bool:
        return f'gateway_build_info{{version="{name}"}} 1.0' in gateway.metrics()

    gateway = start_gateway(postgres_dsn, redis_url, wait=False)
    gateway.end(signal.SIGKILL)
    gateway.run_from(installed.parent)
    gateway.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    gateway.start()
    install('VERSION = "0.2.0"\n')
    command = [sys.executable, "-m", "gateway", "restart", "-c", gateway.config, "--state", gateway.state]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("all workers have begun anew")
    assert version("0.2.0")
    assert not version("0.1.0")
    install('VERSION = "0.3.0"\n')
    gateway.process.send_signal(signal.SIGUSR2)
    assert wait_until(lambda: version("0.3.0"), 30)
    assert wait_until(lambda: len(gateway.workers) == 1, 10)
    install("VERSION = missing\n")
    before = gateway.workers
    assert "the old one goes on" in gateway.order("restart").problems[0]
    assert gateway.workers == before
    assert gateway.ask("GET", BUDGETS, gateway.everything).status == 200
    install('VERSION = "0.1.0"\n')
    gateway.forget_log()


def test_a_gateway_that_ends_turns_unready_and_serves_on_for_its_grace(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, lambda document: document["drain"].update(grace_s=2))
    key = gateway.everything
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: gateway.health.get("status") == "draining", 2)
    assert gateway.health["code"] == 503
    answer = gateway.ask("GET", BUDGETS, key)
    assert (answer.status, answer.all("connection")) == (200, [])
    assert gateway.process.wait(10) == 0
    assert time.monotonic() - began >= 2
    with pytest.raises(ConnectionRefusedError):
        gateway.connect()
    assert len(gateway.fetch("SELECT 1 FROM usage_events")) == 1


def test_a_request_that_comes_while_the_gateway_ends_is_the_last_on_its_connection(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, patient)
    gateway.backend.answer = slow = Slow()
    key = gateway.everything
    with gateway.connect() as kept, gateway.connect(timeout_s=20) as busy:
        assert kept.ask("GET", BUDGETS, key).all("connection") == []
        busy.send(request_bytes("GET", f"{BUDGETS}/slow", key))
        assert slow.begun.wait(5)
        gateway.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: gateway.health.get("status") == "draining", 2)
        last = kept.ask("GET", BUDGETS, key)
        assert (last.status, last.all("connection")) == (200, ["close"])
        assert kept.ended()
        slow.finish.set()
        assert busy.answer().all("connection") == ["close"]
    assert gateway.process.wait(10) == 0
