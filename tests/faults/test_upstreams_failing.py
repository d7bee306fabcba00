"""Upstreams that refuse, stall, are slow or half gone: clients of others notice nothing, and everybody is told soon."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gateway.embedded.listening import free_port
from tests.backends import Backend, plain, silent
from tests.demos import wait_until
from tests.faults.loads import Load
from tests.gateway_settings import settings
from tests.gateways import run
from tests.servers import make_database
from tests.serving import serving
from tests.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.backends import Connection, Received
    from tests.gateways import Gateway

pytestmark = pytest.mark.timeout(60)

BUDGETS, CUSTOMERS, PRODUCTS = "/api/public/budgets", "/api/public/customers", "/api/public/products"
FIRST_BYTE_S = 0.3
CONCURRENT, ANSWER_S = 4, 0.05


@dataclass
class Scene:
    """A gateway before *budgets*, which may be taken away, before *pair*, and before *products*, which is slow."""

    gateway: Gateway
    port: int
    budgets: Backend
    pair: tuple[Backend, Backend]
    products: Backend

    def take_budgets_away(self) -> None:
        self.budgets.close()

    def bring_budgets_back(self) -> None:
        self.budgets = Backend(socket.create_server(("127.0.0.1", self.port), backlog=256))

    def metric(self, line: str) -> float:
        """The value of a series, 0 where it has not begun."""
        found = [text.rpartition(" ")[2] for text in self.gateway.metrics().splitlines() if text.startswith(f"{line} ")]
        return float(found[0]) if found else 0.0

    def upstream(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.health["upstreams"][name]
        return found


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Scene]:
    port = free_port()
    pair, products = (Backend(), Backend()), Backend()
    quick = {"consecutive_failures": 3, "first_s": 0.5, "longest_s": 1, "probe_s": 0.2, "circuit_breaker": True}
    timeouts = {"connect_s": 0.5, "first_byte_s": FIRST_BYTE_S, "idle_s": 1, "total_s": 5}
    upstreams = settings(products.url)["upstreams"] | {
        "budgets": {"targets": [f"http://127.0.0.1:{port}"], "timeouts": timeouts, "ejection": quick},
        "customers": {"targets": [one.url for one in pair], "timeouts": timeouts, "ejection": quick},
        "products": {
            "targets": [products.url],
            "concurrent_max": CONCURRENT,
            "queue_max": CONCURRENT,
            "queue_s": 0.5,
        },
    }
    dsn = run(make_database(postgres_server, "of_failing_upstreams"))
    with serving(tmp_path_factory.mktemp("gateway"), dsn, valkey_server.url, upstreams=upstreams) as gateway:
        scene = Scene(gateway, port, products, pair, products)
        scene.bring_budgets_back()
        yield scene
        for backend in (scene.budgets, *pair, products):
            backend.close()


def test_a_backend_that_is_gone_hurts_nobody_else_and_is_found_again(scene: Scene) -> None:
    gateway = scene.gateway
    with (
        Load(gateway, BUDGETS, gateway.everything, 2) as load,
        Load(gateway, PRODUCTS, gateway.everything, 1) as others,
    ):
        assert wait_until(lambda: len(load.asked) > 20 and len(others.asked) > 20, 5)
        scene.take_budgets_away()
        gone = time.monotonic()
        assert wait_until(lambda: scene.upstream("budgets")["status"] == "away", 3)
        health = gateway.health
        assert (health["code"], health["status"]) == (200, "degraded")
        assert health["reasons"]["upstreams"] == "no address can be used of budgets"
        assert health["upstreams"]["budgets"]["targets"] == {f"127.0.0.1:{scene.port}": {"failing": 1}}
        assert scene.metric('gateway_upstream_away{upstream="budgets"}') == 1
        answer = gateway.ask("GET", BUDGETS, gateway.everything)
        if answer.status == 503:
            assert answer.one("retry-after") == "1"
            assert answer.json["details"] == {"upstream": "budgets"}
        assert wait_until(lambda: len(load.since(gone)) > 200, 10)
        scene.bring_budgets_back()
        back = time.monotonic()
        assert wait_until(lambda: scene.upstream("budgets")["status"] == "serving", 2)
        recovered = time.monotonic() - back
        assert wait_until(lambda: len(load.asked) > 0 and load.asked[-1].code == "200", 2)
    assert recovered < 1
    assert {asked.code for asked in load.since(gone)} <= {"200", "502 upstream_error", "503 service_unavailable"}
    failed = [asked for asked in load.since(gone) if asked.code != "200"]
    assert sum(asked.took > 0.1 for asked in failed) <= len(failed) // 50
    assert others.codes == {"200"}
    refused = [asked for asked in failed if asked.code.startswith("503")]
    assert len(refused) > len(failed) / 2


def test_a_target_that_goes_away_costs_a_get_no_answer(scene: Scene) -> None:
    gateway, (first, second) = scene.gateway, scene.pair
    with Load(gateway, CUSTOMERS, gateway.everything, 2) as load:
        assert wait_until(lambda: len(load.asked) > 20, 5)
        first.close()
        gone = time.monotonic()
        assert wait_until(
            lambda: scene.upstream("customers")["targets"][f"127.0.0.1:{first.port}"] == {"ejected": 1}, 5
        )
        assert wait_until(lambda: len(load.since(gone)) > 100, 5)
        again = Backend(socket.create_server(("127.0.0.1", first.port), backlog=256))
        scene.pair = (again, second)
        assert wait_until(lambda: scene.upstream("customers")["status"] == "serving", 5)
        assert wait_until(lambda: len(again.requests) > 5, 5)
    assert load.codes == {"200"}
    name = f'target="127.0.0.1:{first.port}",upstream="customers"'
    assert scene.metric(f"gateway_upstream_ejections_total{{{name}}}") >= 1
    assert scene.metric(f'gateway_upstream_connect_failures_total{{kind="refused",{name}}}') >= 3
    assert scene.metric('gateway_upstream_retries_total{result="sent",upstream="customers"}') >= 3


def test_a_backend_that_stalls_is_504_in_time_then_503_and_holds_few_connections(scene: Scene) -> None:
    gateway = scene.gateway
    scene.budgets.answer = silent
    began = time.monotonic()
    with (
        Load(gateway, BUDGETS, gateway.everything, 8) as load,
        Load(gateway, CUSTOMERS, gateway.everything, 1) as others,
    ):
        assert wait_until(lambda: len(load.since(began + 1)) > 50, 5)
        assert scene.budgets.open_connections <= 9
        scene.budgets.answer = plain()
        assert wait_until(lambda: load.asked[-1].code == "200", 3)
    late = [asked.took for asked in load.asked if asked.code == "504 upstream_timeout"]
    assert late
    assert min(late) > FIRST_BYTE_S * 0.9
    refused = [asked for asked in load.asked if asked.code == "503 service_unavailable"]
    assert len(refused) > len(late)
    assert sorted(asked.took for asked in refused)[len(refused) // 2] < 0.05
    assert others.codes == {"200"}


def test_more_than_an_upstream_can_take_is_shed_and_the_rest_is_served(scene: Scene) -> None:
    def slow(request: Received, connection: Connection) -> None:
        time.sleep(ANSWER_S)  # noqa: TID251  # the backend's thread
        plain()(request, connection)

    gateway = scene.gateway
    scene.products.answer = slow
    began = time.monotonic()
    with Load(gateway, PRODUCTS, gateway.everything, 5 * CONCURRENT) as load:
        assert wait_until(lambda: scene.metric('gateway_upstream_queued{upstream="products"}') > 0, 5)
        assert wait_until(lambda: time.monotonic() > began + 2, 5)
        assert scene.products.open_connections <= CONCURRENT
    took = time.monotonic() - began
    scene.products.answer = plain()
    assert load.codes == {"200", "503 overloaded"}
    good = sum(asked.code == "200" for asked in load.asked)
    assert good >= 0.5 * took * CONCURRENT / ANSWER_S  # The clients' threads are not fast, either.
    assert load.slowest_s < 1
    with gateway.connect() as wire:
        assert wire.ask("GET", PRODUCTS, gateway.everything).status == 200


def test_what_is_shed_says_when_to_come_back(scene: Scene) -> None:
    gateway = scene.gateway
    scene.products.answer = silent
    waiting = [gateway.connect() for _ in range(2 * CONCURRENT)]
    try:
        for wire in waiting:
            wire.send(request_bytes("GET", PRODUCTS, gateway.everything))
        assert wait_until(lambda: scene.metric('gateway_upstream_queued{upstream="products"}') == CONCURRENT, 5)
        answer = gateway.ask("GET", PRODUCTS, gateway.everything)
        assert (answer.code, answer.one("retry-after")) == ("503 overloaded", "1")
    finally:
        for wire in waiting:
            wire.close()
        scene.products.drop_connections()
        scene.products.answer = plain()
    assert wait_until(lambda: gateway.ask("GET", PRODUCTS, gateway.everything).status == 200, 5)
