"""Clients have bounds: slow ones, greedy ones and many of them are ended, and nobody else notices."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.demos import wait_until
from tests.gateway_settings import settings
from tests.gateways import run
from tests.hazards import TIERS
from tests.servers import make_database
from tests.serving import serving
from tests.wire import CutShort, fresh_address, request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.backends import Connection, Received
    from tests.gateways import Gateway
    from tests.wire import Wire

pytestmark = TIERS

PATH = "/api/public/budgets"
HEAD_S, IDLE_S, UNREAD_S = 0.6, 1.2, 1.0
SWEEP_S = 1.0
IN_FLIGHT_MAX, PER_ADDRESS_MAX, REQUESTS_MAX = 6, 12, 4
PROXY = "127.88.0.1"
ENDED = 'gateway_connections_ended_total{reason="%s"}'
DENIED = 'gateway_denials_total{reason="%s"}'


@contextmanager
def limited_server(directory: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey, tier: str) -> Iterator[Gateway]:
    """Run a gateway that loses its patience soon."""
    bounds = {"head_s": HEAD_S, "idle_s": IDLE_S, "unread_s": UNREAD_S, "requests_max": REQUESTS_MAX}
    more = {
        "connections": bounds | {"per_address_max": PER_ADDRESS_MAX},
        "requests": {"in_flight_max": IN_FLIGHT_MAX, "body_idle_s": 5, "body_max_bytes": 1000},
        "trusted_proxies": [f"{PROXY}/32"],
        "listen": settings("")["listen"] | {"fast_path": tier == "fast"},
    }
    dsn = run(make_database(postgres, f"of_the_limited_{tier}"))
    with serving(directory, dsn, valkey.url, **more) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def limited_fast(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    with limited_server(tmp_path_factory.mktemp("limited"), postgres_server, valkey_server, "fast") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def limited_complete(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    with limited_server(tmp_path_factory.mktemp("limited"), postgres_server, valkey_server, "complete") as gateway:
        yield gateway


@pytest.fixture
def limited(request: pytest.FixtureRequest, tier: str) -> Gateway:
    """The one of a tier, and nothing of the test before is under way in it."""
    gateway: Gateway = request.getfixturevalue(f"limited_{tier}")
    gateway.backend.forget()
    return gateway


def trickle(wire: Wire, data: bytes) -> None:
    """Send *data* byte by byte until the other side ends the connection."""
    for byte in data:
        wire.send(bytes([byte]))
        time.sleep(0.1)  # noqa: TID251  # slowness is what is tested


@pytest.mark.parametrize("sent", [b"G", b"GET /api", None], ids=["a byte", "a part of the line", "all but its end"])
def test_a_head_that_is_not_complete_in_time_is_408(limited: Gateway, sent: bytes | None) -> None:
    cut, denied = limited.metric(ENDED % "head"), limited.metric(DENIED % "request_timeout")
    began = time.monotonic()
    with limited.connect() as wire:
        wire.send(sent or request_bytes("GET", PATH, limited.everything)[:-2])
        assert wire.answer().code == "408 request_timeout"
        assert wire.ended()
    assert HEAD_S <= time.monotonic() - began < HEAD_S + SWEEP_S + 1
    assert limited.metric(ENDED % "head") == cut + 1
    assert limited.metric(DENIED % "request_timeout") == denied + 1
    assert not limited.backend.requests


def test_a_head_that_trickles_in_is_not_given_more_time(limited: Gateway) -> None:
    began = time.monotonic()
    with limited.connect() as wire, pytest.raises(OSError):
        trickle(wire, request_bytes("GET", PATH, limited.everything, [f"X: {'a' * 200}"]))
    assert time.monotonic() - began < HEAD_S + SWEEP_S + 1.5


def test_the_next_head_has_the_same_time(limited: Gateway) -> None:
    with limited.connect() as wire:
        assert wire.ask("GET", PATH, limited.everything).status == 200
        began = time.monotonic()
        wire.send(b"GET /api")
        assert wire.answer().code == "408 request_timeout"
        assert wire.ended()
        assert HEAD_S <= time.monotonic() - began < HEAD_S + SWEEP_S + 1


def test_a_connection_on_which_nothing_comes_is_closed_without_an_answer(limited: Gateway) -> None:
    for asked, patience_s in ((False, HEAD_S), (True, IDLE_S)):
        with limited.connect() as wire:
            if asked:
                assert wire.ask("GET", PATH, limited.everything).status == 200
            began = time.monotonic()
            assert wire.ended()
            assert patience_s - 0.1 <= time.monotonic() - began < patience_s + SWEEP_S + 1


def test_a_connection_serves_a_limited_number_of_requests(limited: Gateway) -> None:
    with limited.connect() as wire:
        for number in range(1, REQUESTS_MAX + 1):
            answer = wire.ask(
                ("GET", "POST")[number == 2], PATH, limited.everything, body=b"a" if number == 2 else None
            )
            assert answer.status == 200
            assert answer.all("connection") == (["close"] if number == REQUESTS_MAX else [])
        assert wire.ended()


def test_an_address_has_a_limited_number_of_connections(limited: Gateway) -> None:
    source, cut = fresh_address(), limited.metric(ENDED % "address")
    with ExitStack() as stack:
        wires = [stack.enter_context(limited.connect(source)) for _ in range(PER_ADDRESS_MAX)]
        assert wires[-1].ask("GET", PATH, limited.everything).status == 200
        with limited.connect(source) as wire:
            assert wire.ended()
        assert limited.metric(ENDED % "address") == cut + 1
        assert limited.ask("GET", PATH, limited.everything).status == 200
        wires[0].close()

        def served() -> bool:
            try:
                return limited.ask("GET", PATH, limited.everything, source=source).status == 200
            except (OSError, CutShort):
                return False

        assert wait_until(served, 1)


def test_a_trusted_proxy_may_have_more(limited: Gateway) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(limited.connect(PROXY)) for _ in range(PER_ADDRESS_MAX * 2)]
        assert {wire.ask("GET", PATH, limited.everything).status for wire in wires} == {200}


def test_requests_beyond_those_in_flight_are_503_at_once(limited: Gateway) -> None:
    def answer(request: Received, connection: Connection) -> None:
        if request.target.endswith("held"):
            connection.wait_for_end()
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    limited.backend.answer = answer
    denied = limited.metric(DENIED % "overloaded")
    with ExitStack() as stack:
        for _ in range(IN_FLIGHT_MAX):
            wire = stack.enter_context(limited.connect())
            wire.send(request_bytes("GET", f"{PATH}/held", limited.everything))
        assert wait_until(lambda: len(limited.backend.requests) == IN_FLIGHT_MAX, 3)
        with limited.connect() as wire:
            began = time.monotonic()
            refused = wire.ask("GET", PATH, limited.everything)
            assert time.monotonic() - began < 0.5
            assert (refused.code, refused.one("retry-after")) == ("503 overloaded", "1")
    assert limited.metric(DENIED % "overloaded") == denied + 1
    assert wait_until(lambda: limited.ask("GET", PATH, limited.everything).status == 200, 2)


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_answer_that_is_not_read_is_cut_and_never_held_in_memory(limited: Gateway, framing: str) -> None:
    sent, piece = 0, bytes(65_536)

    def answer(_request: Received, connection: Connection) -> None:
        nonlocal sent
        length = b"Content-Length: 1000000000" if framing == "length" else b"Transfer-Encoding: chunked"
        connection.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % length)
        while True:
            connection.send(piece if framing == "length" else b"10000\r\n%b\r\n" % piece)
            sent += len(piece)

    limited.backend.answer = answer
    cut, began = limited.metric(ENDED % "unread"), time.monotonic()
    with limited.connect() as wire:
        wire.send(request_bytes("GET", PATH, limited.everything))
        assert wire.read_some()
        assert wait_until(lambda: limited.metric(ENDED % "unread") == cut + 1, UNREAD_S + 2 * SWEEP_S + 2)
        assert time.monotonic() - began >= UNREAD_S
    assert wait_until(lambda: limited.backend.connections[limited.backend.last.connection].ended, 2)
    assert sent < 32_000_000  # What the kernel holds for three sockets, and nothing to speak of here.


def test_each_refusal_of_a_limit_is_counted(limited: Gateway) -> None:
    asked = {
        "uri_too_long": ("GET", f"{PATH}?{'a' * 8192}", [], b""),
        "header_fields_too_large": ("GET", PATH, [f"X: {'a' * 9000}"], b""),
        "payload_too_large": ("POST", PATH, [], b"a" * 1001),
    }
    for reason, (method, target, fields, body) in asked.items():
        before = limited.metric(DENIED % reason)
        assert limited.ask(method, target, limited.everything, fields, body or None).json["error"] == reason
        assert limited.metric(DENIED % reason) == before + 1


def test_five_hundred_slow_clients_hurt_nobody(gateway: Gateway) -> None:
    head, key = request_bytes("GET", PATH, gateway.everything), gateway.everything
    with ExitStack() as stack:
        for number in range(500):
            slow = stack.enter_context(gateway.connect())
            slow.send(head[: 10 + number % 40])
        took = []
        with gateway.connect() as wire:
            for _ in range(50):
                began = time.monotonic()
                assert wire.ask("GET", PATH, key).status == 200
                took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 0.1


def test_without_free_descriptors_who_is_connected_is_served_and_nothing_spins(
    tmp_path: Path, postgres_dsn: str, redis_url: str, tier: str
) -> None:
    listen = settings("")["listen"] | {"fast_path": tier == "fast"}
    with serving(tmp_path, postgres_dsn, redis_url, descriptors=256, listen=listen) as gateway, ExitStack() as stack:
        known = stack.enter_context(gateway.connect())
        assert known.ask("GET", PATH, gateway.everything).status == 200
        crowd = [stack.enter_context(gateway.connect()) for _ in range(400)]
        assert wait_until(lambda: gateway.metric(ENDED % "descriptors") >= 400 - 128, 3)
        began, used = time.monotonic(), cpu_s(gateway)
        while time.monotonic() - began < 1:
            assert known.ask("GET", PATH, gateway.everything).status == 200
            time.sleep(0.1)  # noqa: TID251  # only what the gateway does by itself is to cost something
        assert cpu_s(gateway) - used < 0.5
        for wire in crowd:
            wire.close()
        began = time.monotonic()
        assert wait_until(lambda: serves(gateway), 2)


def serves(gateway: Gateway) -> bool:
    """Say whether it serves a new connection."""
    try:
        return gateway.ask("GET", PATH, gateway.everything).status == 200
    except (OSError, CutShort):
        return False


def cpu_s(gateway: Gateway) -> float:
    """The seconds of CPU time that its workers have used."""
    stats = [
        Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for pid in gateway.workers
    ]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")
