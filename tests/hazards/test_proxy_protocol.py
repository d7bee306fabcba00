"""The PROXY protocol on the public listener: who is believed, and what becomes of those who send something else."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.demos import wait_until
from tests.gateways import run
from tests.servers import make_database
from tests.serving import serving
from tests.unit.core.test_proxy_protocol import binary, six
from tests.wire import Wire, fresh_address, request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.gateways import Gateway

pytestmark = pytest.mark.timeout(90)

BUDGETS = "/api/public/budgets"
BALANCER = "127.88.0.2"
HANDSHAKE_S, PER_ADDRESS_MAX = 1.5, 5
CUT = 'gateway_connections_ended_total{reason="%s"}'


@pytest.fixture(scope="module")
def behind_server(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    def change(document: dict[str, Any]) -> None:
        document["listen"]["public"]["proxy_protocol"] = True
        document["connections"] = {"handshake_s": HANDSHAKE_S, "per_address_max": PER_ADDRESS_MAX}
        document["trusted_proxies"] = [f"{BALANCER}/32"]

    dsn = run(make_database(postgres_server, "of_the_balanced"))
    with serving(tmp_path_factory.mktemp("balanced"), dsn, valkey_server.url, change=change) as gateway:
        yield gateway


@pytest.fixture
def behind(behind_server: Gateway) -> Gateway:
    behind_server.backend.forget()
    return behind_server


def text(address: str) -> bytes:
    return f"PROXY TCP4 {address} 127.0.0.1 1000 443\r\n".encode()


def through(gateway: Gateway, before: bytes = b"") -> Wire:
    """A connection that the balancer passes on, and begins with *before*."""
    return Wire(gateway.port, BALANCER, before=before)


def from_(address: str) -> bytes:
    ends = socket.inet_aton(address) + socket.inet_aton("127.0.0.1")
    return binary(addresses=ends + b"\x10\0\x01\xbb", more=b"\x04\0\x10" + b"x" * 16)


@pytest.mark.parametrize("header", [text, from_])
def test_the_client_that_a_balancer_names_is_the_client(behind: Gateway, header: Any) -> None:
    address = fresh_address()
    key = behind.make_key(allowed_ips=[address], scopes=("READ_BUDGETS", "WRITE_BUDGETS"))
    lies = ["X-Forwarded-For: 192.0.2.9", "Forwarded: for=192.0.2.9", "X-Request-Id: mine"]
    with through(behind, header(address)) as wire:
        for method, body in (("GET", None), ("POST", b"a"), ("GET", None)):
            answer = wire.ask(method, BUDGETS, key, lies, body)
            assert answer.status == 200
            assert answer.one("x-request-id") != "mine"
            assert behind.backend.last.all("x-forwarded-for") == [address]
    with through(behind, header("192.0.2.1")) as wire:
        assert wire.ask("GET", BUDGETS, key).code == "403 ip_not_allowed"
        wire.send(b"garbage\r\n\r\n")
        assert wire.answer().status == 400


def test_ipv6_and_whoever_is_not_named(behind: Gateway) -> None:
    cases = {
        binary(family=0x21, addresses=six("2001:db8::7")): "2001:db8::7",
        b"PROXY UNKNOWN\r\n": BALANCER,
        b"PROXY UNKNOWN 1.2.3.4 what ever\r\n": BALANCER,
        binary(0x20): BALANCER,
        binary(0x21, 0x31, b"\0" * 216): BALANCER,
    }
    for header, address in cases.items():
        with through(behind, header) as wire:
            assert wire.ask("GET", BUDGETS, behind.everything).status == 200
            assert behind.backend.last.all("x-forwarded-for") == [address]


@pytest.mark.parametrize("header", [text, from_])
def test_a_header_comes_in_any_pieces(behind: Gateway, header: Any) -> None:
    address = fresh_address()
    request = request_bytes("GET", BUDGETS, behind.everything)
    whole = header(address) + request
    for pieces in ([whole], [bytes([byte]) for byte in whole[:90]] + [whole[90:]]):
        with through(behind) as wire:
            wire.tcp_nodelay()
            for piece in pieces:
                wire.send(piece)
            assert wire.answer().status == 200
        assert behind.backend.last.all("x-forwarded-for") == [address]


def test_strangers_are_not_believed_and_need_no_header(behind: Gateway) -> None:
    address = fresh_address()
    for header in (text("192.0.2.1"), from_("192.0.2.1")):
        with Wire(behind.port, address, before=header) as wire:
            wire.send(request_bytes("GET", BUDGETS, behind.everything))
            assert wire.answer().status == 400
            assert wire.ended()
    assert not behind.backend.requests
    assert behind.ask("GET", BUDGETS, behind.everything, source=address).status == 200
    assert behind.backend.last.all("x-forwarded-for") == [address]


WRONG = {
    "HTTP": request_bytes("GET", BUDGETS),
    "binary": bytes(range(256)),
    "too long": b"PROXY UNKNOWN " + b"a" * 200 + b"\r\n",
    "too large": binary(more=b"x" * 5000),
    "wrong": b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 99999\r\n",
    "another one": b"\x16\x03\x01" + b"\0" * 100,
}


def test_a_balancer_that_sends_no_header_is_cut_without_an_answer_and_counted(behind: Gateway) -> None:
    before, logged = behind.metric(CUT % "proxy_header"), len(behind.output)
    for data in WRONG.values():
        with through(behind) as wire:
            wire.send(data)
            assert wire.ended()
    assert behind.metric(CUT % "proxy_header") == before + len(WRONG)
    # One that only looks whether somebody listens is none of them.
    through(behind).close()
    through(behind, b"PROXY TCP4").close()
    assert not behind.backend.requests
    assert behind.metric(CUT % "proxy_header") == before + len(WRONG)
    behind.check_log(since=logged)


def test_a_header_that_does_not_come_is_waited_for_only_so_long(behind: Gateway) -> None:
    before, began = behind.metric(CUT % "proxy_header"), time.monotonic()
    begun = (b"", b"P", text("192.0.2.1")[:-1], from_("192.0.2.1")[:-1])
    with ExitStack() as stack:
        wires = [stack.enter_context(through(behind, data)) for data in begun]
        assert behind.ask("GET", BUDGETS, behind.everything).status == 200
        assert all(wire.ended() for wire in wires)
    assert HANDSHAKE_S - 0.1 <= time.monotonic() - began < HANDSHAKE_S + 4
    assert behind.metric(CUT % "proxy_header") == before + len(begun)


def test_connections_are_counted_for_the_address_that_is_named(behind: Gateway) -> None:
    one, other, cut = fresh_address(), fresh_address(), behind.metric(CUT % "address")
    key = behind.everything
    with ExitStack() as stack:
        for _ in range(PER_ADDRESS_MAX):
            wire = stack.enter_context(through(behind, text(one)))
            assert wire.ask("GET", BUDGETS, key).status == 200
        with through(behind, text(one)) as wire:
            assert wire.ended()
        assert behind.metric(CUT % "address") == cut + 1
        with through(behind, text(other)) as wire:
            assert wire.ask("GET", BUDGETS, key).status == 200


def test_no_connection_is_lost_when_workers_are_replaced(behind: Gateway) -> None:
    key = behind.everything
    with through(behind, text("192.0.2.1")[:20]) as begun, through(behind, text("192.0.2.2")) as idle:
        assert idle.ask("GET", BUDGETS, key).status == 200
        (before,) = behind.workers
        behind.order("restart")
        assert wait_until(lambda: behind.workers != [before], 10)
        begun.send(text("192.0.2.1")[20:] + request_bytes("GET", BUDGETS, key))
        with through(behind, text("192.0.2.3")) as wire:
            assert wire.ask("GET", BUDGETS, key).status == 200
