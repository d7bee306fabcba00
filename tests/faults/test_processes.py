"""Processes of the gateway killed or told to end: what was answered is counted, and somebody serves again at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import plain, silent
from tests.demos import wait_until
from tests.faults.loads import Load
from tests.servers import gone
from tests.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.backends import Connection, Received
    from tests.gateways import Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

BUDGETS = "/api/public/budgets"
CLIENTS = 4


def missing(gateway: Gateway, load: Load) -> set[str]:
    """Which answered requests have no event in Postgres."""
    shipped = [row["request_id"] for row in gateway.fetch("SELECT request_id FROM usage_events")]
    assert len(shipped) == len(set(shipped))
    return {asked.request_id for asked in load.asked if asked.code != "lost"} - set(shipped)


def test_a_killed_worker_is_replaced_and_loses_no_event(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url)
    with Load(gateway, BUDGETS, gateway.everything, CLIENTS) as load:
        assert wait_until(lambda: len(load.asked) > 50, 5)
        (worker,) = gateway.workers
        os.kill(worker, signal.SIGKILL)
        assert wait_until(lambda: gateway.workers not in ([worker], []), 1)
        assert wait_until(lambda: gateway.health.get("code") == 200, 10)
        served = time.monotonic()
        assert wait_until(lambda: len(load.since(served)) > 50, 5)
    assert load.codes <= {"200", "lost"}
    assert {asked.code for asked in load.since(served)} == {"200"}
    assert wait_until(lambda: not missing(gateway, load), 5)


def test_one_of_two_workers_killed_costs_only_what_it_held(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, None, "--workers", "2")
    assert wait_until(lambda: len(gateway.workers) == 2, 5)
    assert wait_until(lambda: gateway.output.count('"serving"') == 2, 10)
    with Load(gateway, BUDGETS, gateway.everything, 8) as load:
        assert wait_until(lambda: len(load.asked) > 100, 5)
        os.kill(gateway.workers[0], signal.SIGKILL)
        assert wait_until(lambda: gateway.output.count('"serving"') == 3, 20)
        assert wait_until(lambda: len(load.asked) > 300, 20)
    assert load.codes <= {"200", "lost"}
    assert len([asked for asked in load.asked if asked.code == "lost"]) <= 8
    assert wait_until(lambda: not missing(gateway, load), 5)


def test_a_gateway_that_is_told_to_end_finishes_what_it_began(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    def patient(document: dict[str, Any]) -> None:
        document["upstreams"]["budgets"]["timeouts"]["first_byte_s"] = 30

    gateway = start_gateway(postgres_dsn, redis_url, patient)
    released = threading.Event()

    def answer(request: Received, connection: Connection) -> None:
        if request.target.endswith("slow"):
            released.wait(5)
        plain()(request, connection)

    gateway.backend.answer = answer
    key = gateway.everything
    with gateway.connect() as slow, gateway.connect() as idle, Load(gateway, BUDGETS, key, CLIENTS) as load:
        assert idle.ask("GET", BUDGETS, key).status == 200
        slow.send(request_bytes("GET", f"{BUDGETS}/slow", key))
        assert wait_until(lambda: any(request.target.endswith("slow") for request in gateway.backend.requests), 5)
        assert wait_until(lambda: len(load.asked) > 50, 5)
        gateway.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert idle.ended()
        assert time.monotonic() - began < 1
        load.stop()
        assert gateway.process.poll() is None
        released.set()
        finished = slow.answer()
        assert finished.status == 200
        assert gateway.process.wait(10) == 0
    assert load.codes <= {"200", "lost"}
    assert not missing(gateway, load)
    assert not os.path.exists(gateway.state / "workers.json")


def test_a_gateway_that_is_told_to_end_waits_for_nobody_for_ever(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, lambda document: document["drain"].update(timeout_s=1))
    gateway.backend.answer = silent
    with gateway.connect() as stalled:
        stalled.send(request_bytes("GET", BUDGETS, gateway.everything, ["X-Slow: 1"]))
        assert wait_until(lambda: bool(gateway.backend.requests), 5)
        began = time.monotonic()
        assert gateway.end() == 0
        assert time.monotonic() - began < 3


def test_workers_end_with_their_parent_and_leave_the_port_free(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, None, "--workers", "2")
    assert wait_until(lambda: len(gateway.workers) == 2, 5)
    workers = gateway.workers
    assert gateway.ask("GET", BUDGETS, gateway.everything).status == 200
    gateway.process.kill()
    gateway.process.wait(5)
    assert wait_until(lambda: all(gone(worker) for worker in workers), 8)
    gateway.start()
    assert gateway.ask("GET", BUDGETS, gateway.everything).status == 200
    assert wait_until(lambda: len(gateway.fetch("SELECT 1 FROM usage_events")) == 2, 5)
