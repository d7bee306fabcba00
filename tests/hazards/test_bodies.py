"""Bodies pass as they are, within their bounds, at the pace of the slower side; nobody waits for a stalled one."""

from __future__ import annotations

import gzip
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.backends import silent
from tests.demos import wait_until
from tests.gateway_settings import BODY_IDLE_S, BODY_MAX
from tests.hazards import TIERS
from tests.wire import request_bytes

if TYPE_CHECKING:
    from tests.gateways import Gateway

pytestmark = TIERS

PATH = "/api/public/budgets"


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_over_the_limit_is_413_and_ends_the_connection(gateway: Gateway, framing: str) -> None:
    with gateway.connect() as wire:
        if framing == "length":
            wire.send(request_bytes("POST", PATH, gateway.everything, [f"Content-Length: {BODY_MAX + 1}"]))
        else:
            wire.send(request_bytes("POST", PATH, gateway.everything, ["Transfer-Encoding: chunked"]))
            wire.send(b"%x\r\n%b\r\n" % (BODY_MAX + 1, b"a" * (BODY_MAX + 1)))
        answer = wire.answer()
        assert answer.code == "413 payload_too_large"
        assert answer.json["details"] == {"limitBytes": BODY_MAX}
    assert not [request for request in gateway.backend.requests if request.whole]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_of_just_the_limit_passes(gateway: Gateway, framing: str) -> None:
    body = b"a" * BODY_MAX
    if framing == "length":
        assert gateway.ask("POST", PATH, gateway.everything, body=body).status == 200
    else:
        with gateway.connect() as wire:
            wire.send(request_bytes("POST", PATH, gateway.everything, ["Transfer-Encoding: chunked"]))
            wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (BODY_MAX, body))
            assert wire.answer().status == 200
    assert (gateway.backend.last.size, gateway.backend.last.whole) == (BODY_MAX, True)


def test_a_length_beyond_every_number_is_refused(gateway: Gateway) -> None:
    for digits in (15, 18, 19, 20, 400):
        answer = gateway.ask("POST", PATH, gateway.everything, [f"Content-Length: {'9' * digits}"])
        assert answer.status in (400, 413)
    assert not gateway.backend.requests


@pytest.mark.parametrize("sent", [b"", b"half"])
def test_a_stalled_body_is_408(gateway: Gateway, sent: bytes) -> None:
    with gateway.connect() as wire:
        wire.send(request_bytes("POST", PATH, gateway.everything, ["Content-Length: 8"]) + sent)
        began = time.monotonic()
        assert wire.answer().code == "408 request_timeout"
        assert time.monotonic() - began == pytest.approx(BODY_IDLE_S, abs=0.4)
    assert not [request for request in gateway.backend.requests if request.whole]


def test_a_go_ahead_is_given_to_whom_is_admitted(gateway: Gateway) -> None:
    expecting = ["Expect: 100-continue", "Content-Length: 3"]
    with gateway.connect() as wire:
        wire.send(request_bytes("POST", PATH, gateway.everything, expecting))
        assert wire.answer().status == 100
        wire.send(b"abc")
        assert wire.answer().status == 200
        assert wire.ask("GET", PATH, gateway.everything).status == 200
    assert gateway.backend.requests[0].body == b"abc"
    assert not gateway.backend.requests[0].all("expect")


@pytest.mark.parametrize(
    ("credential", "expected"), [("readonly", "403 insufficient_scope"), (None, "401 unauthorized")]
)
def test_no_go_ahead_is_given_to_whom_is_refused(gateway: Gateway, credential: str | None, expected: str) -> None:
    key = gateway.readonly if credential else None
    with gateway.connect() as wire:
        wire.send(request_bytes("POST", PATH, key, ["Expect: 100-continue", "Content-Length: 3"]))
        assert wire.answer().code == expected
        assert wire.ended()


def test_a_declared_body_over_the_limit_gets_no_go_ahead(gateway: Gateway) -> None:
    with gateway.connect() as wire:
        wire.send(request_bytes("POST", PATH, gateway.everything, ["Expect: 100-continue", "Content-Length: 2000000"]))
        assert wire.answer().code == "413 payload_too_large"


def test_another_expectation_is_417(gateway: Gateway) -> None:
    assert gateway.ask("GET", PATH, gateway.everything, ["Expect: miracles"]).code == "417 expectation_failed"
    assert not gateway.backend.requests


@pytest.mark.parametrize("body", [gzip.compress(bytes(50_000_000), 1), b"\x1f\x8bbroken", b"plain"], ids=len)
def test_an_encoded_body_passes_as_it_is(gateway: Gateway, body: bytes) -> None:
    for coding in ("gzip", "deflate", "br", "identity, gzip"):
        assert gateway.ask("POST", PATH, gateway.everything, [f"Content-Encoding: {coding}"], body).status == 200
        assert gateway.backend.last.digest == hashlib.sha256(body).hexdigest()
        assert gateway.backend.last.one("content-encoding") == coding


def test_an_encoded_answer_passes_as_it_is(gateway: Gateway) -> None:
    body = gzip.compress(b"a" * 10_000)
    gateway.backend.answer = lambda _request, connection: connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert gateway.ask("GET", PATH, gateway.everything).body == body


def test_an_upload_that_breaks_off_is_never_whole(gateway: Gateway) -> None:
    gateway.ask("GET", PATH, gateway.everything)
    for framing in ("Content-Length: 900000", "Transfer-Encoding: chunked"):
        with gateway.connect() as wire:
            wire.send(request_bytes("POST", PATH, gateway.everything, [framing]) + b"10000\r\n" + b"a" * 60_000)
            assert wait_until(lambda: gateway.backend.last.method == "POST", 3)
        last = gateway.backend.connections[gateway.backend.last.connection]
        assert wait_until(lambda last=last: last.ended, 1)  # type: ignore[misc]  # mypy reads no default
        assert not gateway.backend.last.whole
    assert gateway.ask("GET", PATH, gateway.everything).status == 200


def test_a_client_that_goes_away_ends_the_upstreams_work(gateway: Gateway) -> None:
    gateway.backend.answer = silent
    with gateway.connect() as wire:
        wire.send(request_bytes("GET", PATH, gateway.everything))
        assert wait_until(lambda: bool(gateway.backend.requests), 3)
    last = gateway.backend.connections[gateway.backend.last.connection]
    assert wait_until(lambda: last.ended, 1)


def test_those_who_are_slow_do_not_slow_others(gateway: Gateway) -> None:
    """Slow heads, bodies and readers: 60 of them, and one who is not."""
    gateway.backend.answer = lambda request, connection: connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)
        if request.target.endswith("large")
        else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    slow = [gateway.connect() for _ in range(60)]
    for number, wire in enumerate(slow):
        whole = request_bytes("GET", f"{PATH}/large", gateway.everything)
        wire.send(
            whole if number % 3 == 0 else whole[:30] if number % 3 == 1 else whole[:-2] + b"Content-Length: 9\r\n\r\n"
        )
    with ThreadPoolExecutor(4) as pool:
        began = time.monotonic()
        asked = list(pool.map(lambda _: gateway.ask("GET", PATH, gateway.everything).status, range(40)))
        assert time.monotonic() - began < 2
    assert set(asked) == {200}
    for wire in slow:
        wire.close()
