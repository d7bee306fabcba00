"""Whatever is killed with -9 at whatever moment: what clients were answered is counted, and nothing twice.

`make crash` does this fifty times, `make test` five times. The clients' own list of answers, by their X-Request-Id, is
held against the events in Postgres.
"""

from __future__ import annotations

import random
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.demos import wait_until
from tests.faults.crashes import RECOVERY_S, WORKERS, Crash, Site, draw
from tests.faults.loads import Load
from tests.gateways import run
from tests.servers import execute

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.backends import Connection, Received
    from tests.gateways import Gateway

READ, WRITTEN = "/api/public/budgets", "/api/public/customers"
CHUNKS = 4
ANSWERS_AFTER = 20
PAUSE_S = 0.005


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """More crashes may take longer."""
    times: int = metafunc.config.getoption("times")
    metafunc.parametrize("times", [pytest.param(times, marks=pytest.mark.timeout(60 + 30 * times))])


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given: int | None = request.config.getoption("seed")
    return random.SystemRandom().randrange(2**32) if given is None else given


def trickle(request: Received, connection: Connection) -> None:
    """Answer in pieces, so that there is something to be killed in the middle of."""
    if request.method == "GET":
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        return
    connection.send(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(CHUNKS):
        connection.send(b"5\r\npiece\r\n")
        threading.Event().wait(0.002)
    connection.send(b"0\r\n\r\n")


def small_segments(document: dict[str, Any]) -> None:
    document["usage"]["journal"]["segment_max_bytes"] = 65_536


class Ledger:
    """What clients saw of all their requests, held against what is stored."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.answered: set[str] = set()
        self.unanswered = 0

    def take(self, *loads: Load) -> None:
        for asked in (asked for load in loads for asked in load.asked):
            if asked.code == "lost":
                self.unanswered += asked.sent
            else:
                assert asked.request_id not in self.answered
                self.answered.add(asked.request_id)

    def missing(self) -> set[str]:
        return self.answered - self._stored()

    def tail(self) -> int:
        """How many requests were counted though their clients never had the whole answer."""
        return len(self._stored() - self.answered)

    def _stored(self) -> set[str]:
        stored = [row["request_id"] for row in self._gateway.fetch("SELECT request_id FROM usage_events")]
        assert len(stored) == len(set(stored)), "counted twice"
        return set(stored)


@pytest.mark.slow
def test_no_crash_loses_an_event_or_doubles_one(
    start_gateway: Callable[..., Gateway],
    own_postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    times: int,
    seed: int,
) -> None:
    print(f'\nto repeat this: make crash ARGS="--times {times} --seed {seed}"')
    # The hardest case: a server that may forget its last commits, and segments that are soon full and deleted.
    run(execute(own_postgres.dsn, "ALTER DATABASE gateway SET synchronous_commit = off"))
    gateway = start_gateway(own_postgres.dsn, valkey.url, small_segments, "--workers", str(WORKERS))
    gateway.backend.answer = trickle
    site, ledger = Site(gateway, own_postgres, valkey), Ledger(gateway)
    for number, crash in enumerate(draw(seed, times), 1):
        crash_under_load(site, ledger, crash)
        assert wait_until(lambda: not ledger.missing(), RECOVERY_S), (crash, len(ledger.missing()))
        print(
            f"{number:3} {crash.victim:8} killed after {crash.after_s:.2f} s; so far {len(ledger.answered)} answered, all "
            f"counted once; {ledger.unanswered} broken off, of which {ledger.tail()} counted"
        )
    assert gateway.end() == 0
    assert not ledger.missing()
    assert ledger.tail() <= ledger.unanswered
    check_sums(gateway)


def crash_under_load(site: Site, ledger: Ledger, crash: Crash) -> None:
    key = site.gateway.everything
    reading = Load(site.gateway, READ, key, pause_s=PAUSE_S)
    writing = Load(site.gateway, WRITTEN, key, method="POST", body=b'{"name":"A"}', pause_s=PAUSE_S)
    with ExitStack() as stack:
        stack.enter_context(reading)
        stack.enter_context(writing)
        assert wait_until(lambda: bool(reading.asked and writing.asked), RECOVERY_S)
        threading.Event().wait(crash.after_s)  # Any moment will do: it is what is drawn.
        site.suffer(crash)
        seen = len(reading.asked), len(writing.asked)
        for load, before in zip((reading, writing), seen, strict=True):
            assert wait_until(lambda load=load, before=before: len(load.asked) > before + ANSWERS_AFTER, RECOVERY_S)  # type: ignore[misc]  # mypy reads no default
    ledger.take(reading, writing)
    assert reading.codes <= {"200", "lost", "503 service_unavailable"}
    assert writing.codes <= {"201", "lost", "503 service_unavailable"}


def check_sums(gateway: Gateway) -> None:
    """The sums by minute and hour count what the events count, and the key was last used by its last event."""
    (sums,) = gateway.fetch(
        "SELECT (SELECT count(*) FROM usage_events) AS events, (SELECT sum(duration_us) FROM usage_events) AS us,"
        " (SELECT sum(requests) FROM usage_minutes) AS by_minute, (SELECT sum(requests) FROM usage_hours) AS by_hour,"
        " (SELECT sum(duration_us) FROM usage_minutes) AS us_by_minute,"
        " (SELECT sum(n) FROM usage_hours, unnest(latencies) AS n) AS in_histograms"
    )
    assert sums["events"] == sums["by_minute"] == sums["by_hour"] == sums["in_histograms"]
    assert sums["us"] == sums["us_by_minute"]
    used = gateway.fetch(
        "SELECT k.last_used_at, max(e.at) AS at FROM api_keys k JOIN usage_events e ON e.key_id = k.id GROUP BY k.id"
    )
    assert used
    assert all(row["last_used_at"] == row["at"] for row in used)
