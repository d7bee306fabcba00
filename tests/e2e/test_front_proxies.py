"""The sample files for proxies in front: HTTP/2 for clients, and all that the gateway promises behind them."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.fronts import Front
from tests.gateways import run
from tests.servers import make_database
from tests.serving import serving
from tests.wire import fresh_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.backends import Connection, Received
    from tests.gateways import Gateway

pytestmark = pytest.mark.timeout(120)

BUDGETS, PRODUCTS = "/api/public/budgets", "/api/public/products"


@pytest.fixture(scope="module")
def behind(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    dsn = run(make_database(postgres_server, "of_the_gateway_behind"))
    trusted = ["127.0.0.1/32"]
    with serving(tmp_path_factory.mktemp("behind"), dsn, valkey_server.url, trusted_proxies=trusted) as gateway:
        yield gateway


@pytest.fixture(scope="module", params=["nginx", "caddy", "envoy"])
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, behind: Gateway) -> Iterator[Front]:
    front = Front(request.param, tmp_path_factory.mktemp("front"), behind)
    yield front
    front.end()


def key_of(gateway: Gateway) -> str:
    return f"Authorization: Bearer {gateway.everything}"


def test_clients_speak_http_2_and_the_gateway_knows_who_they_are(front: Front, behind: Gateway) -> None:
    address = fresh_address()
    key = behind.make_key(allowed_ips=[address])
    lies = ["-H", "X-Forwarded-For: 192.0.2.1", "-H", "Forwarded: for=192.0.2.1", "-H", "X-Forwarded-Proto: http"]
    told = front.curl(
        f"{BUDGETS}?a=%2F&b",
        "--interface",
        address,
        "-H",
        f"Authorization: Bearer {key}",
        *lies,
        "-w",
        "%{http_version}",
    )
    assert told.stdout == b'{"ok":true}2'
    seen = behind.backend.last
    assert seen.target == f"{BUDGETS}?a=%2F&b"
    assert seen.all("x-forwarded-for") == [f"{address}, 127.0.0.1"]
    assert seen.all("x-forwarded-proto") == ["https"]
    assert seen.one("x-forwarded-host").startswith("api.example.com")
    assert seen.all("forwarded") == []


def test_who_is_not_on_the_list_of_a_key_cannot_talk_himself_onto_it(front: Front, behind: Gateway) -> None:
    key = behind.make_key(allowed_ips=["192.0.2.1"])
    lies = ["-H", "X-Forwarded-For: 192.0.2.1", "-H", "X-Real-IP: 192.0.2.1"]
    told = json.loads(front.curl(BUDGETS, "-H", f"Authorization: Bearer {key}", *lies).stdout)
    assert told["error"] == "ip_not_allowed"


def test_requests_of_many_clients_share_a_few_connections_to_the_gateway(front: Front, behind: Gateway) -> None:
    before = connections(behind)
    for _ in range(5):
        front.curl(BUDGETS, "-H", key_of(behind))
    assert connections(behind) <= max(before, 1) + 2


def connections(gateway: Gateway) -> int:
    (line,) = [line for line in gateway.metrics().splitlines() if line.startswith("gateway_connections{")]
    return int(float(line.split()[-1]))


def test_a_large_body_passes_and_the_gateway_refuses_what_is_too_large(front: Front, behind: Gateway) -> None:
    upload = ["-H", key_of(behind), "--data-binary", "@-", "-o", "/dev/null", "-w", "%{http_code}"]
    assert front.curl(PRODUCTS, *upload, stdin=b"x" * 3_000_000).stdout == b"200"
    assert behind.backend.last.size == 3_000_000
    # Who has answered need not take the rest: Envoy resets the stream, which curl calls a failure, at times before it
    # has read the answer (000).
    refused = subprocess.run(
        front.command(BUDGETS, *upload), input=b"x" * 1_500_000, capture_output=True, timeout=60, check=False
    )
    assert refused.stdout in {b"413", b"000"}
    assert not any(one.size == 1_500_000 for one in behind.backend.requests)


def test_an_answer_is_passed_on_as_it_comes(front: Front, behind: Gateway) -> None:
    finish = threading.Event()

    def in_two_pieces(_request: Received, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
        finish.wait(20)
        connection.send(b"5\r\nlast\n\r\n0\r\n\r\n")

    behind.backend.answer = in_two_pieces
    command = front.command(BUDGETS, "-N", "-H", key_of(behind))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        assert curl.stdout.readline() == b"first\n"
        finish.set()
        assert curl.stdout.read() == b"last\n"
    behind.backend.forget()


def test_no_request_is_lost_while_the_gateways_workers_are_replaced(front: Front, behind: Gateway) -> None:
    """The connections that the proxy keeps are told to end before they do."""
    codes: list[bytes] = []
    done = threading.Event()

    def ask() -> None:
        many = ["-H", key_of(behind), "-o", "/dev/null", "-w", "%{http_code}\n"]
        while not done.is_set():
            codes.append(front.curl(BUDGETS, *many).stdout)

    asking = threading.Thread(target=ask)
    asking.start()
    outcome = behind.order("restart")
    done.set()
    asking.join(60)
    assert outcome.problems == []
    assert set(codes) == {b"200\n"}
