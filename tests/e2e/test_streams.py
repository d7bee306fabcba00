"""Answers that go on and on: each piece arrives when it is sent, for as long as the key may have them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.demos import wait_until
from tests.wire import CutShort, request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backends import Connection, Received
    from tests.gateways import Gateway

PATH = "/api/public/streams/events"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
CONNECTIONS = 2
"""How many wait for events at once, at most."""
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


class Events:
    """Server-sent events, each of which is sent when it is told to be."""

    def __init__(self, gateway: Gateway, framing: bytes = CHUNKED) -> None:
        self.framing = framing
        self._next = threading.Semaphore(0)
        self._over = False
        gateway.backend.answer = self.answer

    def send_next(self) -> None:
        self._next.release()

    def end(self) -> None:
        self._over = True
        self._next.release(CONNECTIONS)

    def answer(self, _: Received, connection: Connection) -> None:
        connection.send(HEAD + self.framing)
        for number in range(1_000_000):
            self._next.acquire()
            if self._over:
                return
            event = b"data: %06d\n\n" % number
            connection.send(b"%x\r\n%b\r\n" % (len(event), event) if self.framing == CHUNKED else event)


@pytest.fixture(params=[CHUNKED, b"\r\n"], ids=["chunks", "close"])
def events(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Events]:
    events = Events(gateway, request.param)
    yield events
    events.end()


def test_each_event_arrives_before_the_next_is_sent(gateway: Gateway, events: Events) -> None:
    with gateway.connect() as wire:
        wire.send(request_bytes("GET", PATH, gateway.readonly))
        head = wire._read_until(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        for number in range(20):
            events.send_next()
            # Nothing follows that could push it out: it is here because it was not held back.
            assert wire.read(19) == b"e\r\ndata: %06d\n\n\r\n" % number


def test_a_client_of_1_0_gets_them_without_chunks(gateway: Gateway, events: Events) -> None:
    with gateway.connect() as wire:
        wire.send(request_bytes("GET", PATH, gateway.readonly).replace(b"HTTP/1.1", b"HTTP/1.0"))
        wire._read_until(b"\r\n\r\n")
        for number in range(3):
            events.send_next()
            assert wire.read(14) == b"data: %06d\n\n" % number


def test_a_revoked_key_gets_no_more(gateway: Gateway, events: Events) -> None:
    (made,) = gateway.make_keys([{}])
    with gateway.connect() as wire, gateway.connect() as old:
        wire.send(request_bytes("GET", PATH, made.key))
        old.send(request_bytes("GET", PATH, made.key).replace(b"HTTP/1.1", b"HTTP/1.0"))
        for client in (wire, old):
            client._read_until(b"\r\n\r\n")
        gateway.execute(f"UPDATE api_keys SET status = 'REVOKED' WHERE id = '{made.stored.id}'")
        began = time.monotonic()
        assert wire.read_some() == b""
        assert time.monotonic() - began < 1.5
        # Its answer has no end of its own: an orderly close would look like one.
        with pytest.raises(ConnectionResetError):
            old.read_some()
    query = "SELECT status, outcome FROM usage_events WHERE key_id = $1"
    expected = [{"status": 200, "outcome": "access_ended"}] * 2
    assert wait_until(lambda: gateway.fetch(query, made.stored.id) == expected, 5)


def test_a_client_that_goes_away_ends_it_at_the_backend(gateway: Gateway, events: Events) -> None:
    with gateway.connect() as wire:
        wire.send(request_bytes("GET", PATH, gateway.readonly))
        wire._read_until(b"\r\n\r\n")
    last = gateway.backend.connections[gateway.backend.last.connection]
    events.send_next()
    assert wait_until(lambda: events.send_next() is None and last.ended, 2)


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("path", [PATH, "/api/public/budgets"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5000000\r\n\r\n", CHUNKED + b"4c4b40\r\n"], ids=["length", "chunks"]
)
def test_a_backend_that_breaks_off_breaks_the_clients_connection(
    gateway: Gateway, version: bytes, path: str, framing: bytes
) -> None:
    def half(_: Received, connection: Connection) -> None:
        connection.send(HEAD + framing + bytes(1_000_000))
        connection.close()

    gateway.backend.answer = half
    with gateway.connect() as wire:
        wire.send(request_bytes("GET", path, gateway.readonly).replace(b"HTTP/1.1", version))
        with pytest.raises(CutShort):
            wire.answer()
