"""Webhooks while things break: whoever is killed, every event that was accepted arrives, and nobody waits for the dead.

`make webhook-crash` tells a thousand events, `make test` a few. What arrived twice is counted and printed: at least
once is what is promised.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.backends import plain, silent
from tests.demos import wait_until
from tests.gateways import run
from tests.servers import gone
from tests.webhook_receivers import Receiver, receiving_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from tests.backends import Connection, Received
    from tests.gateways import Gateway

BUDGETS = "/api/public/budgets"
LOST_S = 60.0
KEYS = 3
DELAY_MAX_S = 2.0
"""Between an event and its arrival where nothing is in the way; usually less than one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """More events may take longer."""
    if "events" in metafunc.fixturenames:
        events: int = metafunc.config.getoption("events")
        metafunc.parametrize("events", [pytest.param(events, marks=pytest.mark.timeout(90 + events // 5))])


@pytest.fixture
def new_receiver() -> Iterator[Callable[[], Receiver]]:
    with ExitStack() as stack:

        def new() -> Receiver:
            receiver = Receiver()
            stack.callback(receiver.close)
            return receiver

        yield new


def with_webhooks(document: dict[str, Any]) -> None:
    document["webhooks"] = {"allow_private": True, "retry_first_s": 0.2}


def slowly(request: Received, connection: Connection) -> None:
    """Take a message after a moment, so that some are under way at any time."""
    threading.Event().wait(0.005)
    plain()(request, connection)


def tell(gateway: Gateway, account_id: str, ids: list[str]) -> None:
    """Post an event for each of *ids*; each is accepted, whatever is away."""
    with requests.Session() as session:
        for one in ids:
            body = {"id": one, "accountId": account_id, "event": "budget.approved", "data": {"of": one}}
            assert session.post(f"{gateway.admin_url}/events", json=body, timeout=5).status_code == 202


def arrived(receiver: Receiver) -> set[str]:
    return {message["data"]["of"] for message in receiver.messages}


@pytest.mark.slow
def test_killed_with_everything_under_way_it_delivers_every_event_at_least_once(
    start_gateway: Callable[..., Gateway],
    new_receiver: Callable[[], Receiver],
    own_postgres: EmbeddedPostgres,
    redis_url: str,
    events: int,
) -> None:
    gateway = start_gateway(own_postgres.dsn, redis_url, with_webhooks, "--workers", "2")
    receivers = [new_receiver() for _ in range(KEYS)]
    keys = receiving_keys(gateway, *receivers)
    for receiver in receivers:
        receiver.answer = slowly
    wanted = {f"event-{number}" for number in range(events)}
    tell(gateway, keys[0].stored.account_id, sorted(wanted))
    assert wait_until(lambda: sum(len(receiver.requests) for receiver in receivers) > events // 2, LOST_S)

    workers = gateway.workers
    gateway.process.kill()
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    gateway.process.wait(10)
    assert wait_until(lambda: all(map(gone, workers)), 10)
    at_the_kill = [len(receiver.messages) for receiver in receivers]
    gateway.start("--workers", "2")

    assert wait_until(lambda: all(arrived(receiver) == wanted for receiver in receivers), LOST_S), [
        len(wanted - arrived(receiver)) for receiver in receivers
    ]
    pending = "SELECT count(*) AS n FROM webhook_deliveries WHERE status <> 'DELIVERED'"
    assert wait_until(lambda: gateway.fetch(pending) == [{"n": 0}], 10)
    for receiver, before in zip(receivers, at_the_kill, strict=True):
        copies = Counter(message["metadata"]["delivery_id"] for message in receiver.messages)
        assert len(copies) == events, "a delivery keeps its id"
        twice = sum(copies.values()) - events
        print(f"\n{events} events, killed after {before}: all arrived, {twice} of them twice")
        # What was under way, and what Postgres had not been told of yet.
        assert twice <= 2 * 4


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_receiver_that_does_not_answer_delays_no_other(
    start_gateway: Callable[..., Gateway],
    new_receiver: Callable[[], Receiver],
    own_postgres: EmbeddedPostgres,
    redis_url: str,
) -> None:
    def one_after_the_other(document: dict[str, Any]) -> None:
        with_webhooks(document)
        document["webhooks"]["per_destination_max"] = 1

    gateway = start_gateway(own_postgres.dsn, redis_url, one_after_the_other)
    dead, refusing, good = new_receiver(), "http://127.0.0.1:9/", new_receiver()
    dead.answer = silent
    came: dict[str, float] = {}

    def note(request: Received, connection: Connection) -> None:
        came.setdefault(request.body.decode().split('"of":"')[1].split('"')[0], time.monotonic())
        plain()(request, connection)

    good.answer = note
    keys = receiving_keys(gateway, dead, refusing, good)
    told: dict[str, float] = {}
    for number in range(40):
        told[f"e{number}"] = time.monotonic()
        tell(gateway, keys[0].stored.account_id, [f"e{number}"])
    assert wait_until(lambda: came.keys() == told.keys(), 20)
    slowest_s = max(came[one] - told[one] for one in told)
    print(
        f"\nbeside a receiver that says nothing and one that refuses: at most {slowest_s:.2f} s from event to arrival"
    )
    assert slowest_s < DELAY_MAX_S
    assert len(dead.requests) == 1, "no more than per_destination_max"
    assert list(came) == list(told), "in their order"


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_what_happens_while_postgres_is_away_is_told_when_it_is_back(
    start_gateway: Callable[..., Gateway],
    new_receiver: Callable[[], Receiver],
    own_postgres: EmbeddedPostgres,
    redis_url: str,
) -> None:
    gateway = start_gateway(own_postgres.dsn, redis_url, with_webhooks)
    receiver = new_receiver()
    (key,) = receiving_keys(gateway, receiver)
    gateway.backend.answer = plain(b'{"data": {"of": "write"}}', "201 Created")
    assert gateway.ask("POST", BUDGETS, key.key, body=b"{}").status == 201
    assert wait_until(lambda: arrived(receiver) == {"write"}, 10)

    own_postgres.send_to_all(signal.SIGKILL)
    run(own_postgres.child.ended(5))
    gateway.backend.answer = plain(b'{"data": {"of": "write while away"}}', "201 Created")
    assert gateway.ask("POST", BUDGETS, key.key, body=b"{}").status == 201
    tell(gateway, key.stored.account_id, ["posted-while-away"])
    run(own_postgres.start())
    assert wait_until(lambda: arrived(receiver) == {"write", "write while away", "posted-while-away"}, 30)
