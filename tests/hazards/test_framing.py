"""Where a request ends has one answer; what could be read as two requests is in the hazard table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.hazards import TIERS
from tests.wire import CutShort, request_bytes

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.wire import Answer, Wire

pytestmark = TIERS

PATH = "/api/public/budgets"
HIDDEN = "GET /api/public/customers/hidden HTTP/1.1\r\nHost: a\r\n\r\n"


def head(key: str, *lines: str, method: str = "POST") -> str:
    return "\r\n".join([f"{method} {PATH} HTTP/1.1", "Host: a", f"Authorization: Bearer {key}", *lines, "", ""])


def answers(wire: Wire) -> list[Answer]:
    """Every answer until the connection ends; fails when it does not."""
    found = []
    try:
        while True:
            found.append(wire.answer())
    except CutShort:
        return found


def test_chunks_arrive_as_chunks_without_extensions_or_trailers(gateway: Gateway) -> None:
    with gateway.connect() as wire:
        wire.send(head(gateway.everything, "Transfer-Encoding: Chunked").encode())
        time.sleep(0.02)  # noqa: TID251  # the head is to arrive alone, so that the body is streamed
        wire.send(b"5;note=hidden\r\nhello\r\n6\r\n world\r\n0\r\nX-Gateway-Key-Id: hidden\r\n\r\n")
        assert wire.answer().status == 200
        assert wire.ask("GET", PATH, gateway.everything).status == 200
    first, second = gateway.backend.requests
    assert (first.body, first.whole, first.all("transfer-encoding")) == (b"hello world", True, ["chunked"])
    assert not first.all("content-length")
    assert second.line == f"GET {PATH} HTTP/1.1"
    assert b"hidden" not in gateway.backend.raw


def test_a_transfer_encoding_in_disguise_reaches_nobody(gateway: Gateway) -> None:
    body = b"0\r\n\r\n" + HIDDEN.encode()
    fields = ["Transfer_Encoding: chunked", "Transfer.Encoding: chunked", "content_length: 3"]
    assert gateway.ask("POST", PATH, gateway.everything, fields, body).status == 200
    (received,) = gateway.backend.requests
    assert (received.body, received.all("content-length")) == (body, [str(len(body))])
    assert b"chunked" not in received.head


@pytest.mark.parametrize("key", [None, "junk"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_the_body_of_a_refused_request_never_runs_as_the_next_one(
    gateway: Gateway, key: str | None, framing: str
) -> None:
    sent = request_bytes("POST", PATH, key, [], HIDDEN.encode())
    if framing == "chunks":
        sent = request_bytes("POST", PATH, key, ["Transfer-Encoding: chunked"])
        sent += b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN.encode())
    end_of_head = sent.index(b"\r\n\r\n") + 4
    for first, second in ((sent, b""), (sent[:end_of_head], sent[end_of_head:])):
        with gateway.connect() as wire:
            wire.send(first)
            assert wire.answer().status == 401
            if second:
                wire.send(second)
                assert wire.ended()
            else:
                # All of it was there: whether the connection goes on is the gateway's choice.
                wire.half_close()
                assert not answers(wire)
    assert not gateway.backend.requests


def test_pipelined_requests_are_answered_in_order_each_by_its_own_key(gateway: Gateway) -> None:
    everything, readonly = gateway.everything, gateway.readonly
    with gateway.connect() as wire:
        wire.send(
            b"".join(
                [
                    request_bytes("GET", f"{PATH}/1", everything),
                    request_bytes("POST", f"{PATH}/2", readonly, [], b"abc"),
                    request_bytes("POST", f"{PATH}/3", everything, [], b"def"),
                    request_bytes("GET", f"{PATH}/4", None),
                    request_bytes("GET", "/api/public/customers/5", readonly),
                    request_bytes("GET", f"{PATH}/6", readonly),
                ]
            )
        )
        assert [wire.answer().status for _ in range(6)] == [200, 403, 200, 401, 403, 200]
    assert [request.target for request in gateway.backend.requests] == [f"{PATH}/{number}" for number in (1, 3, 6)]
    assert len({request.one("x-gateway-key-id") for request in gateway.backend.requests}) == 2


def test_a_head_may_come_byte_by_byte(gateway: Gateway) -> None:
    with gateway.connect() as wire:
        for byte in request_bytes("POST", PATH, gateway.everything, [], b"abc"):
            wire.send(bytes([byte]))
        assert wire.answer().status == 200
    assert gateway.backend.last.body == b"abc"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([f"X-{number}: a" for number in range(97)], 200),
        ([f"X-{number}: a" for number in range(110)], 431),
        ([f"X-{number}: a" for number in range(2000)], 431),
        (["X: " + "a" * 8000], 200),
        (["X: " + "a" * 8300], 431),
        (["X: " + "a" * 70_000], 431),
        (["X" * 8300 + ": a"], 431),
        ([f"X-{number}: {'a' * 8000}" for number in range(4)], 200),
        ([f"X-{number}: {'a' * 8000}" for number in range(5)], 431),
    ],
    ids=lambda value: value if isinstance(value, int) else f"{len(value)}x{len(value[0])}",
)
def test_a_head_has_bounds(gateway: Gateway, fields: list[str], expected: int) -> None:
    with gateway.connect() as wire:
        answer = wire.ask("GET", PATH, gateway.everything, fields)
        assert answer.status == expected
        assert expected == 200 or (answer.code == "431 header_fields_too_large" and wire.ended())
    assert len(gateway.backend.requests) == (expected == 200)


@pytest.mark.parametrize(("size", "expected"), [(8000, 200), (8193, 414), (15_000, 414), (100_000, 414)])
@pytest.mark.parametrize("where", ["path", "query"])
def test_a_target_has_a_bound(gateway: Gateway, where: str, size: int, expected: int) -> None:
    target = f"{PATH}{'?' if where == 'query' else '/'}".ljust(size, "a")
    with gateway.connect() as wire:
        answer = wire.ask("GET", target, gateway.everything)
        assert answer.status == expected
        assert expected == 200 or (answer.code == "414 uri_too_long" and wire.ended())


def test_a_path_of_a_thousand_segments_is_quick(gateway: Gateway) -> None:
    began = time.monotonic()
    assert gateway.ask("GET", PATH + "/a" * 3000, gateway.everything).status == 200
    assert gateway.ask("GET", "/api/public/budgets/token/" + "a-" * 2000 + "!", None).status == 401
    assert time.monotonic() - began < 1.5
