"""Upstreams that stall, or drop idle connections, for as long as `--fault-s` says: 2 s, or for a proof 60."""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import Backend, plain, silent
from tests.demos import wait_until
from tests.faults.loads import Load
from tests.gateway_settings import PATIENT
from tests.gateways import run
from tests.servers import make_database
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.backends import Connection, Received
    from tests.gateways import Gateway

BUDGETS, CUSTOMERS = "/api/public/budgets", "/api/public/customers"
FIRST_BYTE_S = 0.5
SLACK_S = 0.5
"""For a machine that is busy with other tests."""
PER_UPSTREAM_MAX = 8
IDLE_S = 0.2


@pytest.fixture(scope="module")
def budgets() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.close()
    assert not backend.failures


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: EmbeddedPostgres,
    valkey_server: EmbeddedValkey,
    budgets: Backend,
) -> Iterator[Gateway]:
    timeouts = {"connect_s": 0.5, "first_byte_s": FIRST_BYTE_S, "idle_s": 1, "total_s": 5}

    def change(document: dict[str, Any]) -> None:
        document["upstreams"]["budgets"] = {
            "targets": [budgets.url],
            "timeouts": timeouts,
            "ejection": PATIENT,
            "concurrent_max": PER_UPSTREAM_MAX,
        }

    dsn = run(make_database(postgres_server, "of_faults_at_length"))
    with serving(tmp_path_factory.mktemp("at_length"), dsn, valkey_server.url, change=change) as gateway:
        yield gateway


@pytest.fixture
def fault_s(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--fault-s"))


def memory(gateway: Gateway) -> int:
    """The bytes of memory that its worker has."""
    (pid,) = gateway.workers
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_one_that_stalls_is_504_in_time_and_hurts_nobody_else(
    gateway: Gateway, budgets: Backend, fault_s: float
) -> None:
    with Load(gateway, CUSTOMERS, gateway.everything, 1) as before:
        assert wait_until(lambda: len(before.asked) > 50, 10)
    memory_before = memory(gateway)
    budgets.answer, began = silent, time.monotonic()
    with (
        Load(gateway, BUDGETS, gateway.everything, 2 * PER_UPSTREAM_MAX) as load,
        Load(gateway, CUSTOMERS, gateway.everything, 1) as others,
    ):
        while time.monotonic() - began < fault_s:
            assert budgets.open_connections <= PER_UPSTREAM_MAX + 1
            time.sleep(0.05)  # noqa: TID251  # the fault is to last
        budgets.answer = plain()
        assert wait_until(lambda: load.asked[-1].code == "200", 3)
    late = [asked.took for asked in load.asked if asked.code == "504 upstream_timeout"]
    assert late
    assert min(late) >= FIRST_BYTE_S * 0.9
    # What waited for a place before has waited queue_s, 0.5 s, as well.
    assert max(late) <= FIRST_BYTE_S * 1.1 + 0.5 + SLACK_S
    assert load.codes <= {"504 upstream_timeout", "503 overloaded", "200"}
    assert others.codes == {"200"}
    typical, usual = (statistics.median(asked.took for asked in one.asked) for one in (others, before))
    assert typical < usual + 0.05
    assert memory(gateway) - memory_before < 20_000_000


def test_one_that_drops_idle_connections_costs_no_get_and_sends_no_post_twice(
    gateway: Gateway, budgets: Backend, fault_s: float
) -> None:
    def answer(request: Received, connection: Connection) -> None:
        plain()(request, connection)
        connection.end_when_idle(IDLE_S)

    budgets.forget()
    budgets.answer = answer
    seed = random.randrange(1 << 32)
    codes: dict[str, Counter[str]] = {"GET": Counter(), "POST": Counter()}

    def ask(method: str, number: int) -> None:
        draw, until, asked = random.Random(seed + number), time.monotonic() + fault_s, 0
        with gateway.connect() as wire:
            while time.monotonic() < until:
                asked += 1
                body = b"a" if method == "POST" else None
                path = f"{BUDGETS}?{number}-{asked}"
                codes[method][wire.ask(method, path, gateway.everything, body=body).code] += 1
                time.sleep(IDLE_S * draw.uniform(0.9, 1.1))  # noqa: TID251  # a race is what is wanted

    clients = [threading.Thread(target=ask, args=(("GET", "POST")[number % 2], number)) for number in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(fault_s + 20)
    posts = [request.target for request in budgets.requests if request.method == "POST"]
    assert len(set(posts)) == len(posts), seed
    assert set(codes["GET"]) == {"200"}, (seed, codes)
    assert set(codes["POST"]) <= {"200", "502 upstream_error"}, (seed, codes)
    # Who may have been heard is not asked again: that is what the few are refused for.
    assert codes["POST"]["502 upstream_error"] <= codes["POST"].total() * 0.05 + 1, (seed, codes)
