"""Postgres paused, killed or not there yet: known keys are served, unknown ones are asked to come again."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.demos import wait_until
from tests.faults.loads import Load
from tests.gateways import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.embedded.postgres import EmbeddedPostgres
    from tests.gateways import Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

BUDGETS = "/api/public/budgets"


def pause(postgres: EmbeddedPostgres) -> None:
    postgres.send_to_all(signal.SIGSTOP)


def kill(postgres: EmbeddedPostgres) -> None:
    postgres.send_to_all(signal.SIGKILL)
    run(postgres.child.ended(5))


def bring_back(postgres: EmbeddedPostgres) -> None:
    if postgres.child.alive:
        postgres.send_to_all(signal.SIGCONT)
    else:
        run(postgres.start())


@pytest.mark.parametrize("fault", [pause, kill])
def test_known_keys_go_on_and_unknown_ones_get_503(
    start_gateway: Callable[..., Gateway],
    own_postgres: EmbeddedPostgres,
    redis_url: str,
    fault: Callable[[EmbeddedPostgres], None],
) -> None:
    gateway = start_gateway(own_postgres.dsn, redis_url)
    unknown = [gateway.make_key() for _ in range(4)]
    with Load(gateway, BUDGETS, gateway.everything) as load:
        assert wait_until(lambda: len(load.asked) > 20, 5)
        fault(own_postgres)
        for key in unknown:
            began = time.monotonic()
            answer = gateway.ask("GET", BUDGETS, key)
            assert answer.code == "503 service_unavailable"
            assert int(answer.one("retry-after")) >= 1
            assert time.monotonic() - began < 1.2
        assert gateway.health["code"] == 200
        assert wait_until(lambda: gateway.health["status"] == "degraded", 8)
        assert wait_until(lambda: len(load.asked) > 200, 5)
        bring_back(own_postgres)
        codes = set()

        def all_work() -> bool:
            got = [gateway.ask("GET", BUDGETS, key).code for key in unknown]
            codes.update(got)
            return set(got) == {"200"}

        assert wait_until(all_work, 6)
    assert codes <= {"200", "503 service_unavailable"}
    assert load.codes == {"200"}
    assert load.slowest_s < 0.5
    answered = {asked.request_id for asked in load.asked}
    assert wait_until(lambda: answered <= shipped(gateway), 20)
    assert wait_until(lambda: gateway.health["status"] == "ready", 6)


def shipped(gateway: Gateway) -> set[str]:
    """The ids of all requests whose event is in Postgres; each is there once."""
    ids = [row["request_id"] for row in gateway.fetch("SELECT request_id FROM usage_events")]
    assert len(ids) == len(set(ids))
    return set(ids)


def test_a_key_revoked_while_nobody_listened_is_refused(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url)
    keys = [gateway.make_key() for _ in range(3)]
    for key in keys:
        assert gateway.ask("GET", BUDGETS, key).status == 200
    gateway.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND (query ILIKE 'LISTEN%' OR query ILIKE 'NOTIFY%');"
        " UPDATE api_keys SET status = 'REVOKED'"
    )
    revoked = time.monotonic()
    for key in keys:
        assert wait_until(lambda key=key: gateway.ask("GET", BUDGETS, key).code == "401 api_key_revoked", 2)  # type: ignore[misc]  # mypy reads no default
    assert time.monotonic() - revoked < 2
    assert wait_until(lambda: gateway.output.count('"key changes heard"') == 2, 5)


def test_connections_that_end_at_any_moment_end_nothing_else(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url)
    workers = gateway.workers
    assert gateway.ask("GET", BUDGETS, gateway.everything).status == 200
    with Load(gateway, BUDGETS, gateway.everything) as load:
        for _ in range(15):
            seen = len(load.asked)
            gateway.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert wait_until(lambda seen=seen: len(load.asked) > seen + 20, 5)  # type: ignore[misc]  # mypy reads no default
    assert load.codes == {"200"}
    assert gateway.workers == workers
    answered = {asked.request_id for asked in load.asked}
    assert wait_until(lambda: answered <= shipped(gateway), 20)


def test_a_gateway_that_starts_before_postgres_is_unready_and_then_ready(
    start_gateway: Callable[..., Gateway], own_postgres: EmbeddedPostgres, redis_url: str
) -> None:
    kill(own_postgres)
    gateway = start_gateway(own_postgres.dsn, redis_url, wait=False)
    assert wait_until(lambda: bool(gateway.health), 15)
    assert (gateway.health["code"], gateway.health["status"]) == (503, "unready")
    answer = gateway.ask("GET", BUDGETS, "bk_live_00000000000000000000000000" + "0" * 6)
    assert answer.status in (401, 503)
    assert gateway.ask("GET", f"{BUDGETS}/token/abc").status == 200
    bring_back(own_postgres)
    assert wait_until(lambda: gateway.health["code"] == 200, 6)
    assert gateway.ask("GET", BUDGETS, gateway.make_key()).status == 200
