"""A worker that is out of file descriptors sheds what needs one, blames nobody for it, says so once, and recovers."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import plain
from tests.demos import wait_until
from tests.gateways import run
from tests.hazards.test_limits import cpu_s, serves
from tests.servers import make_database
from tests.serving import serving
from tests.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.backends import Backend, Connection, Received
    from tests.gateways import Gateway
    from tests.wire import Answer, Wire

pytestmark = pytest.mark.timeout(90)

DESCRIPTORS, CLIENTS = 128, 60
BUDGETS, CUSTOMERS = "/api/public/budgets", "/api/public/customers"
SHED = 'gateway_upstream_errors_total{kind="descriptors",upstream="%s"}'


@pytest.fixture(scope="module")
def poor_server(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    """A gateway that may open few files, and begins a new journal often."""

    def change(document: dict[str, Any]) -> None:
        document["usage"]["journal"] = {"segment_max_bytes": 65_536}
        for name in ("budgets", "customers"):
            document["upstreams"][name]["timeouts"] = {"first_byte_s": 20}

    dsn = run(make_database(postgres_server, "of_the_poor"))
    directory = tmp_path_factory.mktemp("poor")
    with serving(directory, dsn, valkey_server.url, descriptors=DESCRIPTORS, change=change) as gateway:
        yield gateway


@pytest.fixture
def poor(poor_server: Gateway) -> Gateway:
    poor_server.backend.forget()
    return poor_server


def asked_at_once(gateway: Gateway, wires: list[Wire], path: str) -> list[Answer]:
    """Ask on all *wires* before the backend answers any; operators are answered all the while."""
    gateway.backend.forget()
    held, before = Held(gateway.backend), gateway.metric(SHED % path[12:])
    for wire in wires:
        wire.send(request_bytes("GET", path, gateway.everything))
    assert wait_until(
        lambda: len(gateway.backend.requests) + gateway.metric(SHED % path[12:]) - before == len(wires), 5
    )
    held.released.set()
    return [wire.answer() for wire in wires]


class Held:
    """Answers that wait until they are *released*."""

    def __init__(self, backend: Backend) -> None:
        self.released = threading.Event()
        backend.answer = self._answer

    def _answer(self, request: Received, connection: Connection) -> None:
        self.released.wait(20)
        plain()(request, connection)


def test_what_needs_one_for_an_upstream_is_shed_and_the_upstream_is_not_blamed(poor: Gateway) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(poor.connect()) for _ in range(CLIENTS)]
        answers = asked_at_once(poor, wires, BUDGETS)
        shed = [answer for answer in answers if answer.code == "503 overloaded"]
        assert shed
        assert all(answer.one("retry-after") for answer in shed)
        assert {answer.status for answer in answers if answer not in shed} == {200}
        # What is idle at one upstream is let go for another.
        for _ in range(4):
            asked_at_once(poor, wires, BUDGETS)
        few = wires[:8]
        assert wait_until(lambda: {answer.status for answer in asked_at_once(poor, few, CUSTOMERS)} == {200}, 5)
    # Once a minute, whatever happens.
    assert poor.output.count("no file descriptors for upstreams") in (1, 2)
    assert poor.health["upstreams"]["budgets"]["status"] == "serving"


def test_with_none_at_all_what_is_open_goes_on_and_nothing_spins_or_is_lost(poor: Gateway) -> None:
    key, logged = poor.everything, len(poor.output)
    poor.backend.drop_connections()
    with ExitStack() as stack:
        known, other = (stack.enter_context(poor.connect()) for _ in range(2))
        for wire in (known, other):
            assert wire.ask("GET", BUDGETS, key).status == 200
        place = ("127.0.0.1", poor.admin_port)
        crowd = [stack.enter_context(socket.create_connection(place, 5)) for _ in range(DESCRIPTORS)]

        def is_full() -> bool:
            # What the gateway itself gives back is taken as well.
            crowd.append(stack.enter_context(socket.create_connection(place, 5)))
            return not serves(poor)

        def is_not_rotated() -> bool:
            for number in range(50):
                assert known.ask("GET", f"{BUDGETS}?{number}", key).status == 200
            return is_full() and "usage journal not rotated" in poor.output[logged:]

        assert wait_until(is_full, 5)
        used = cpu_s(poor)
        # The journal is to go on in a new file meanwhile, which it cannot.
        assert wait_until(is_not_rotated, 10)
        held, asked = Held(poor.backend), len(poor.backend.requests)
        known.send(request_bytes("GET", BUDGETS, key))
        assert wait_until(lambda: len(poor.backend.requests) > asked, 3)
        assert other.ask("GET", BUDGETS, key).code == "503 overloaded"
        held.released.set()
        assert known.answer().status == 200
        assert cpu_s(poor) - used < 1
        for sock in crowd:
            sock.close()
        assert wait_until(lambda: serves(poor), 2)
    assert "ERROR" not in poor.output
    assert not any(value for value in dropped(poor))
    poor.event(poor.ask("GET", BUDGETS, key).one("x-request-id"))


def dropped(gateway: Gateway) -> list[float]:
    """How many usage events each sink has lost."""
    lines = [line for line in gateway.metrics().splitlines() if line.startswith("gateway_usage_events_dropped_total")]
    return [float(line.rpartition(" ")[2]) for line in lines]
