"""A journal that is full while Postgres is away: what the configuration says holds, and is told."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.demos import wait_until
from tests.unit.telemetry.pages import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from tests.gateways import Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

BUDGETS = "/api/public/budgets"
SEGMENT_BYTES = 65_536
MAX_BYTES = 131_072


@pytest.fixture
def paused_postgres(own_postgres: EmbeddedPostgres) -> Iterator[Callable[[], None]]:
    yield lambda: own_postgres.send_to_all(signal.SIGSTOP)
    own_postgres.send_to_all(signal.SIGCONT)


def bounded(on_full: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["usage"]["journal"] |= {
            "segment_max_bytes": SEGMENT_BYTES,
            "max_bytes": MAX_BYTES,
            "on_full": on_full,
        }

    return change


def dropped(gateway: Gateway) -> float:
    return parsed(gateway.metrics())["gateway_usage_events_dropped_total", "postgres"]


def ask_until(gateway: Gateway, done: Callable[[str], bool], key: str) -> list[str]:
    """Ask over one connection until *done* says so of the last answer; give all answers' codes."""
    codes: list[str] = []
    with gateway.connect() as wire:
        while not codes or not done(codes[-1]):
            assert len(codes) < 5_000
            codes.append(wire.ask("GET", BUDGETS, key).code)
    return codes


def test_with_refuse_no_request_reaches_a_backend_that_cannot_be_counted(
    start_gateway: Callable[..., Gateway],
    own_postgres: EmbeddedPostgres,
    redis_url: str,
    paused_postgres: Callable[[], None],
) -> None:
    gateway = start_gateway(own_postgres.dsn, redis_url, bounded("refuse"))
    key = gateway.everything
    assert gateway.ask("GET", BUDGETS, key).status == 200
    paused_postgres()
    codes = ask_until(gateway, lambda code: code != "200", key)
    assert set(codes[:-1]) == {"200"}
    assert codes[-1] == "503 service_unavailable"
    served = len(gateway.backend.requests)
    assert int(gateway.ask("GET", BUDGETS, key).one("retry-after")) >= 1
    assert len(gateway.backend.requests) == served
    own_postgres.send_to_all(signal.SIGCONT)
    assert wait_until(lambda: gateway.ask("GET", BUDGETS, key).status == 200, 15)
    assert dropped(gateway) == 0


def test_with_drop_oldest_requests_go_on_and_what_is_lost_is_counted(
    start_gateway: Callable[..., Gateway],
    own_postgres: EmbeddedPostgres,
    redis_url: str,
    paused_postgres: Callable[[], None],
) -> None:
    gateway = start_gateway(own_postgres.dsn, redis_url, bounded("drop_oldest"))
    key = gateway.everything
    assert gateway.ask("GET", BUDGETS, key).status == 200
    asked = 1

    def stored() -> int:
        return int(gateway.fetch("SELECT count(*) AS count FROM usage_events")[0]["count"])

    # A batch that is under way when Postgres is paused may be both stored and counted as lost.
    assert wait_until(lambda: stored() == 1, 5)
    paused_postgres()
    while not dropped(gateway):
        with gateway.connect() as wire:
            codes = [wire.ask("GET", BUDGETS, key).code for _ in range(100)]
        assert set(codes) == {"200"}
        asked += 100
    own_postgres.send_to_all(signal.SIGCONT)
    assert wait_until(lambda: stored() + dropped(gateway) == asked, 20), (stored(), dropped(gateway), asked)
