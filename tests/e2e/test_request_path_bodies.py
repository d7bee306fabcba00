"""Large bodies through the whole gateway: whole, equal, and at the cost of little memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backends import plain
from tests.wire import request_bytes

if TYPE_CHECKING:
    from tests.backends import Connection, Received
    from tests.gateways import Gateway

PRODUCTS = "/api/public/products"
MEGABYTES = 64


def resident_bytes(pids: list[int]) -> int:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) for pid in pids)
    return pages * 4096


def test_a_large_body_goes_up(gateway: Gateway) -> None:
    gateway.ask("POST", PRODUCTS, gateway.everything, body=bytes(1_000_000))
    before = resident_bytes(gateway.workers)
    piece = bytes(range(256)) * 4096
    expected = hashlib.sha256()
    with gateway.connect(timeout_s=20) as wire:
        wire.send(request_bytes("POST", PRODUCTS, gateway.everything, [f"Content-Length: {MEGABYTES << 20}"]))
        for _ in range(MEGABYTES):
            wire.send(piece)
            expected.update(piece)
        assert wire.answer().status == 200
    assert gateway.backend.last.digest == expected.hexdigest()
    assert resident_bytes(gateway.workers) - before < 20_000_000


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
def test_a_large_body_comes_down(gateway: Gateway, framing: str) -> None:
    piece = bytes(range(256)) * 4096

    def answer(_request: Received, connection: Connection) -> None:
        line = {"length": b"Content-Length: %d" % (MEGABYTES << 20), "chunks": b"Transfer-Encoding: chunked"}
        connection.send(b"HTTP/1.1 200 OK\r\n" + line.get(framing, b"Connection: close") + b"\r\n\r\n")
        for _ in range(MEGABYTES):
            connection.send(b"100000\r\n" + piece + b"\r\n" if framing == "chunks" else piece)
        if framing == "close":
            connection.close()
        elif framing == "chunks":
            connection.send(b"0\r\n\r\n")

    gateway.backend.answer = answer
    before = resident_bytes(gateway.workers)
    with gateway.connect(timeout_s=20) as wire:
        received = wire.ask("GET", PRODUCTS, gateway.everything)
    assert len(received.body) == MEGABYTES << 20
    assert hashlib.sha256(received.body).digest() == hashlib.sha256(piece * MEGABYTES).digest()
    assert resident_bytes(gateway.workers) - before < 20_000_000


def test_a_reader_who_stops_costs_little_memory(gateway: Gateway) -> None:
    gateway.backend.answer = plain(bytes(30_000_000))
    before = resident_bytes(gateway.workers)
    slow = [gateway.connect() for _ in range(10)]
    for wire in slow:
        wire.send(request_bytes("GET", PRODUCTS, gateway.everything))
    for wire in slow:
        wire.read_some()
    assert gateway.ask("HEAD", PRODUCTS, gateway.everything).status == 200
    assert resident_bytes(gateway.workers) - before < 20_000_000
    for wire in slow:
        wire.close()
