"""Messages cut into the tiniest pieces cost CPU by their bytes, never more for each the more of them have come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.backends import Connection, Received
    from tests.gateways import Gateway

pytestmark = pytest.mark.timeout(90)

PATH = "/api/public/budgets"
FEW, MANY = 4_000, 32_000
GROWTH_MAX = 3.0
"""How many times as much a byte of MANY may cost as one of FEW. What looks at all that came before needs 8 times."""
CHUNKED = ["Transfer-Encoding: chunked"]
LAST = b"0\r\n\r\n"


def cpu_ns(gateway: Gateway) -> int:
    """The CPU time that its worker has used."""
    (pid,) = gateway.workers
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="utf-8").split()[0])


def chunks(number: int) -> bytes:
    return b"1\r\na\r\n" * number + LAST


def sent(gateway: Gateway, method: str, fields: list[str], body: bytes, step: int) -> float:
    """The CPU time for each byte of a request that comes in pieces of *step* bytes, in ns."""
    data = request_bytes(method, PATH, gateway.everything, fields) + body
    with gateway.connect(timeout_s=30) as wire:
        wire.tcp_nodelay()
        began = cpu_ns(gateway)
        for start in range(0, len(data), step):
            wire.send(data[start : start + step])
        assert wire.answer().status == 200
        return (cpu_ns(gateway) - began) / len(data)


def received(gateway: Gateway, fields: bytes, body: bytes, step: int) -> float:
    """The same of an answer that the upstream gives in such pieces."""
    data = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + body

    def answer(_request: Received, connection: Connection) -> None:
        connection.tcp_nodelay()
        for start in range(0, len(data), step):
            connection.send(data[start : start + step])

    gateway.backend.answer = answer
    with gateway.connect(timeout_s=30) as wire:
        began = cpu_ns(gateway)
        assert wire.ask("GET", PATH, gateway.everything).status == 200
        return (cpu_ns(gateway) - began) / len(data)


BULK = 1 << 20
PIECES: dict[str, Callable[[Gateway, int], float]] = {
    "chunks to us": lambda gateway, number: sent(gateway, "POST", CHUNKED, chunks(number), BULK),
    "segments of a body to us": lambda gateway, number: sent(
        gateway, "POST", [f"Content-Length: {number}"], b"a" * number, 1
    ),
    "segments of chunks to us": lambda gateway, number: sent(gateway, "POST", CHUNKED, chunks(number // 6), 1),
    "segments of fields to us": lambda gateway, number: sent(
        gateway, "GET", [f"X: {'a' * 300}"] * (number // 350), b"", 1
    ),
    "segments of a field to us": lambda gateway, number: sent(gateway, "GET", [f"X: {'a' * (number // 4)}"], b"", 1),
    "chunks from upstream": lambda gateway, number: received(
        gateway, b"Transfer-Encoding: chunked\r\n", chunks(number), BULK
    ),
    "segments of a body from upstream": lambda gateway, number: received(
        gateway, b"Content-Length: %d\r\n" % number, b"a" * number, 1
    ),
    "segments of chunks from upstream": lambda gateway, number: received(
        gateway, b"Transfer-Encoding: chunked\r\n", chunks(number // 6), 1
    ),
    "segments of fields from upstream": lambda gateway, number: received(
        gateway, b"X: a\r\n" * (number // 8) + b"Content-Length: 0\r\n", b"", 1
    ),
}


@pytest.fixture(scope="module")
def price() -> dict[str, float]:
    """What a byte of plain requests costs, measured once."""
    return {}


@pytest.mark.parametrize("kind", PIECES)
def test_a_byte_costs_no_more_than_one_of_plain_requests_however_many_there_are(
    gateway: Gateway, price: dict[str, float], kind: str
) -> None:
    if not price:
        price["plain"] = min(sent(gateway, "GET", [], b"", BULK) for _ in range(20))
    # Segments that wait for us come as one, which is cheaper: of few that may be all.
    few = max(PIECES[kind](gateway, FEW) for _ in range(3))
    many = min(PIECES[kind](gateway, MANY) for _ in range(2))
    assert many < GROWTH_MAX * few, f"{few:.0f} ns, then {many:.0f} ns"
    if not kind.startswith("segments"):
        # Whoever sends chunks has nothing from it that plain requests of as many bytes would not do.
        assert many < price["plain"]
