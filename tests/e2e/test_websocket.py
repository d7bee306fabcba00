"""WebSockets where a route carries them: checked at the handshake, then bytes both ways, for as long as the key may."""

from __future__ import annotations

import base64
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.websocket import accept_for
from tests.backends import plain, raw
from tests.demos import wait_until
from tests.gateway_settings import SOCKET_IDLE_S
from tests.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.backends import Connection, Received
    from tests.gateways import Gateway
    from tests.wire import Wire

PATH = "/api/public/sockets/chat"
KEY = base64.b64encode(bytes(16)).decode()
HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
ACCEPTED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {accept_for(KEY)}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
).encode()


def echo(request: Received, connection: Connection) -> None:
    """Accept, and send back all that comes."""
    connection.send(ACCEPTED)
    for piece in connection.reader.rest():
        connection.send(piece)


def opened(gateway: Gateway, key: str, answer: Callable[[Received, Connection], None] = echo) -> Wire:
    """A client whose WebSocket is open."""
    gateway.backend.answer = answer
    wire = gateway.connect()
    accepted = wire.ask("GET", PATH, key, HANDSHAKE)
    assert (accepted.status, accepted.one("sec-websocket-accept")) == (101, accept_for(KEY))
    assert accepted.one("sec-websocket-protocol") == "chat"
    assert (accepted.one("connection"), accepted.one("upgrade")) == ("Upgrade", "websocket")
    assert accepted.one("x-request-id")
    return wire


def backend_ended(gateway: Gateway) -> Callable[[], bool]:
    last = gateway.backend.connections[gateway.backend.last.connection]
    return lambda: last.ended


def tunnels(gateway: Gateway) -> float:
    lines = [line for line in gateway.metrics().splitlines() if line.startswith("gateway_tunnels_open ")]
    return float(lines[0].split()[1])


def test_bytes_pass_both_ways_as_they_are(gateway: Gateway) -> None:
    with opened(gateway, gateway.readonly) as wire:
        received = gateway.backend.last
        assert (received.one("connection"), received.one("upgrade")) == ("Upgrade", "websocket")
        assert received.one("sec-websocket-key") == KEY
        assert not received.all("authorization")
        for sent in (b"\x81\x05hello", bytes(range(256)) * 4000, b"GET / HTTP/1.1\r\n\r\n"):
            wire.send(sent)
            assert wire.read(len(sent)) == sent
        assert wait_until(lambda: tunnels(gateway) == 1, 3)
    assert wait_until(backend_ended(gateway), 1)
    assert wait_until(lambda: tunnels(gateway) == 0, 3)


def test_what_comes_with_the_handshakes_passes_too(gateway: Gateway) -> None:
    def echo_after_a_word(_: Received, connection: Connection) -> None:
        connection.send(ACCEPTED + b"first")
        for piece in connection.reader.rest():
            connection.send(piece)

    gateway.backend.answer = echo_after_a_word
    with gateway.connect() as wire:
        wire.send(request_bytes("GET", PATH, gateway.readonly, HANDSHAKE) + b"early")
        assert wire.answer().status == 101
        assert wire.read(10) == b"firstearly"


def test_a_backend_that_ends_it_ends_it_after_its_last_byte(gateway: Gateway) -> None:
    def bye(_: Received, connection: Connection) -> None:
        connection.send(ACCEPTED + bytes(3_000_000) + b"bye")
        connection.close()

    with opened(gateway, gateway.readonly, bye) as wire:
        assert wire.read(3_000_003).endswith(b"bye")
        assert wire.ended()


def test_a_client_that_does_not_read_makes_the_backend_wait(gateway: Gateway) -> None:
    sent: list[int] = []

    def flood(_: Received, connection: Connection) -> None:
        connection.send(ACCEPTED)
        while True:
            connection.send(bytes(1_000_000))
            sent.append(1)

    with opened(gateway, gateway.readonly, flood):
        assert wait_until(lambda: bool(sent), 3)
        assert not wait_until(lambda: len(sent) > 40, 0.5)
    assert wait_until(backend_ended(gateway), 3)


def test_a_backend_that_does_not_read_makes_the_client_wait(gateway: Gateway) -> None:
    waiting = threading.Event()

    def hold(_: Received, connection: Connection) -> None:
        connection.send(ACCEPTED)
        waiting.wait(5)
        connection.close()

    with opened(gateway, gateway.readonly, hold) as wire:
        wire._socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            wire.send(bytes(60_000_000))
    waiting.set()
    assert wait_until(backend_ended(gateway), 3)


@pytest.mark.parametrize(
    ("key", "expected"), [("none", "401 unauthorized"), ("other", "403 insufficient_scope"), ("spent", "429 rate")]
)
def test_a_handshake_is_checked_like_any_request(gateway: Gateway, key: str, expected: str) -> None:
    keys = {"none": None, "other": gateway.key_for("READ_PRODUCTS"), "spent": None}
    if key == "spent":
        keys["spent"] = gateway.make_key(rate_limit_per_hour=1)
        assert gateway.ask("GET", PATH, keys["spent"]).status == 200
        gateway.backend.forget()
    with gateway.connect() as wire:
        assert wire.ask("GET", PATH, keys[key], HANDSHAKE).code.startswith(expected)
        assert wire.ended()
    assert not gateway.backend.requests


@pytest.mark.parametrize(
    "fields",
    [
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", f"Sec-WebSocket-Key: {KEY}"],
        ["Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}"],
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: YQ=="],
        [*HANDSHAKE[1:]],
        ["Connection: Upgrade", "Upgrade: h2c, websocket", *HANDSHAKE[2:]],
        [*HANDSHAKE, "Content-Length: 5"],
    ],
)
def test_what_is_no_handshake_reaches_nobody(gateway: Gateway, fields: list[str]) -> None:
    with gateway.connect() as wire:
        answer = wire.ask("GET", PATH, gateway.readonly, fields)
        assert (answer.code, answer.one("sec-websocket-version")) == ("400 bad_request", "13")
        assert wire.ended()
    assert not gateway.backend.requests


def test_another_protocol_is_no_tunnel(gateway: Gateway) -> None:
    gateway.backend.answer = raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    fields = ["Connection: Upgrade", "Upgrade: h2c"]
    assert gateway.ask("GET", PATH, gateway.readonly, fields).code == "502 upstream_error"
    assert not gateway.backend.last.all("upgrade")


@pytest.mark.parametrize(
    "data",
    [
        ACCEPTED.replace(accept_for(KEY).encode(), b"c3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ACCEPTED.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        ACCEPTED.replace(b"Connection: Upgrade", b"Connection: close"),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
def test_a_101_that_proves_nothing_is_502(gateway: Gateway, data: bytes) -> None:
    gateway.backend.answer = raw(data)
    with gateway.connect() as wire:
        assert wire.ask("GET", PATH, gateway.readonly, HANDSHAKE).code == "502 upstream_error"
        assert wire.ended()


def test_another_answer_is_passed_on_and_ends_the_connection(gateway: Gateway) -> None:
    gateway.backend.answer = plain(b"not here", "404 Not Here", b"ETag: x\r\n")
    with gateway.connect() as wire:
        answer = wire.ask("GET", PATH, gateway.readonly, HANDSHAKE)
        assert (answer.status, answer.body, answer.one("etag")) == (404, b"not here", "x")
        assert wire.ended()


def test_an_ordinary_request_on_such_a_route_is_one(gateway: Gateway) -> None:
    with gateway.connect() as wire:
        for _ in range(2):
            assert wire.ask("GET", PATH, gateway.readonly).body == b'{"ok":true}'


def test_silence_ends_it_and_a_word_now_and_then_does_not(gateway: Gateway) -> None:
    with opened(gateway, gateway.readonly) as quiet, opened(gateway, gateway.readonly) as lively:
        began = time.monotonic()
        assert wait_until(lambda: alive(lively) and time.monotonic() - began > SOCKET_IDLE_S + 1, SOCKET_IDLE_S + 3)
        assert quiet.ended()
        assert time.monotonic() - began < SOCKET_IDLE_S + 2
        assert alive(lively)


def alive(wire: Wire) -> bool:
    wire.send(b"?")
    return wire.read(1) == b"?"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_keys SET status = 'REVOKED' WHERE id = '{}'",
        "UPDATE api_keys SET status = 'SUSPENDED' WHERE id = '{}'",
        "UPDATE api_keys SET deleted_at = now() WHERE id = '{}'",
        "UPDATE api_keys SET scopes = '{{READ_PRODUCTS}}' WHERE id = '{}'",
        "UPDATE api_keys SET expires_at = now() + interval '0.3 s' WHERE id = '{}'",
    ],
)
def test_it_ends_within_a_second_of_its_keys_right(gateway: Gateway, change: str) -> None:
    (made,) = gateway.make_keys([{}])
    with opened(gateway, made.key) as wire, opened(gateway, gateway.readonly) as other:
        gateway.execute(change.format(made.stored.id))
        began = time.monotonic()
        assert wire.ended()
        assert time.monotonic() - began < 1.5
        assert alive(other)
    assert wait_until(backend_ended(gateway), 1)


def test_it_is_one_event_however_it_ends(gateway: Gateway) -> None:
    (made,) = gateway.make_keys([{}])
    with opened(gateway, made.key) as wire:
        wire.send(b"abc")
        assert wire.read(3) == b"abc"
        # It is counted while it is open: a worker that is killed now takes nothing along.
        query = "SELECT status, outcome, endpoint FROM usage_events WHERE key_id = $1"
        assert wait_until(lambda: bool(gateway.fetch(query, made.stored.id)), 5)
    assert wait_until(lambda: tunnels(gateway) == 0, 3)
    assert gateway.fetch(query, made.stored.id) == [
        {"status": 101, "outcome": "admitted", "endpoint": "/api/public/sockets/{id}"}
    ]
    assert 'gateway_tunnel_bytes_total{direction="in",route="sockets"}' in gateway.metrics()


def test_a_killed_worker_takes_no_event_along_and_one_that_drains_ends_it_at_once(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    def patient(document: dict[str, Any]) -> None:
        for route in document["routes"]:
            if route["name"] == "sockets":
                route["websocket_idle_s"] = 60.0

    gateway = start_gateway(postgres_dsn, redis_url, patient)
    (made,) = gateway.make_keys([{}])
    with opened(gateway, made.key) as wire:
        (worker,) = gateway.workers
        os.kill(worker, signal.SIGKILL)
        assert wire.ended()
    assert wait_until(lambda: gateway.workers != [worker] and gateway.health.get("code") == 200, 10)
    query = "SELECT status FROM usage_events WHERE key_id = $1"
    assert wait_until(lambda: gateway.fetch(query, made.stored.id) == [{"status": 101}], 10)
    with opened(gateway, gateway.readonly) as wire:
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert wire.ended()
        assert gateway.process.wait(10) == 0
        assert time.monotonic() - began < 4
