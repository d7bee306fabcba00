"""The fast tier of decisions: what comes ahead, in pieces or oddly is answered all the same, in order and once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.hazards.test_sidecar import BUDGETS, ENDPOINT, PROXY
from tests.wire import Wire, request_bytes

if TYPE_CHECKING:
    from tests.gateways import Gateway

GONE = "/nowhere"


def question(key: str | None, target: str = BUDGETS, *fields: str, method: str = "GET") -> bytes:
    return request_bytes(method, f"{ENDPOINT}/envoy{target}", key, fields)


def statuses(wire: Wire, number: int) -> list[int]:
    return [wire.answer().status for _ in range(number)]


def test_questions_that_are_sent_ahead_are_answered_in_order(gateway: Gateway) -> None:
    key = gateway.readonly
    asked = [question(key), question(None), question(key, GONE), question(key, "/a%2F"), question(key)] * 60
    with Wire(gateway.admin_port, PROXY) as wire:
        wire.send(b"".join(asked))
        answers = [wire.answer() for _ in asked]
    assert [answer.status for answer in answers] == [200, 401, 404, 400, 200] * 60
    assert len({answer.one("x-request-id") for answer in answers}) == len(asked)


def test_a_question_may_come_in_pieces(gateway: Gateway) -> None:
    whole = question(gateway.readonly) + question(gateway.readonly, GONE)
    with Wire(gateway.admin_port, PROXY) as wire:
        for piece in (whole[:1], whole[1:40], whole[40:-3], whole[-3:]):
            wire.send(piece)
            time.sleep(0.01)  # noqa: TID251  # so that they are read one by one
        assert statuses(wire, 2) == [200, 404]


@pytest.mark.parametrize(
    ("odd", "status"),
    [
        (b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 401),
        (b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 401),
        (b"GET %b HTTP/1.1\r\nHost: a\r\nX-A: b \r\n\r\n", 401),
        (b"GET %b HTTP/1.1\r\nHost: a\r\nX-A: " + b"b" * 70_000 + b"\r\n\r\n", 401),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /_gateway/authzenvoy/a HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET http://a%b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)
def test_what_is_odd_goes_to_the_complete_tier_behind_what_came_before(
    gateway: Gateway, odd: bytes, status: int
) -> None:
    line = odd.replace(b"%b", f"{ENDPOINT}/envoy{BUDGETS}".encode(), 1)
    with Wire(gateway.admin_port, PROXY) as wire:
        wire.send(question(gateway.readonly) + question(gateway.readonly, GONE) + line)
        wire.send(question(gateway.readonly))
        assert statuses(wire, 4) == [200, 404, status, 200]


@pytest.mark.parametrize(
    "broken",
    [
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET %b HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET %b HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\nHost: a\r\n\r\n",
        b"GET %b HTTP/1.1\r\nHost: a\r\nX-A: \x00\r\n\r\n",
        b"GET %b HTTP/1.1\r\nHost: a\r\n X-Folded: b\r\n\r\n",
        b"GET %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_broken_is_never_an_admission_and_ends_the_connection(gateway: Gateway, broken: bytes) -> None:
    target = f"{ENDPOINT}/envoy{BUDGETS}/public/1".encode()
    with Wire(gateway.admin_port, PROXY) as wire:
        wire.send(question(None, f"{BUDGETS}/public/1") + broken.replace(b"%b", target, 1))
        assert statuses(wire, 2) == [200, 400]
        assert wire.ended()


def test_the_answer_to_head_has_no_body_and_its_length(gateway: Gateway) -> None:
    with Wire(gateway.admin_port, PROXY) as wire:
        wire.send(question(None, method="HEAD") + question(gateway.readonly, method="HEAD"))
        refused, admitted = wire.answer("HEAD"), wire.answer("HEAD")
    assert (refused.status, refused.body, admitted.status) == (401, b"", 200)
    assert int(refused.one("content-length")) > 100


@pytest.mark.parametrize(
    "fields", [("Content-Length: 0",), ("Expect: 100-continue",), ("Upgrade: other", "TE: trailers")]
)
def test_what_proxies_hand_on_of_their_clients_does_no_harm(gateway: Gateway, fields: tuple[str, ...]) -> None:
    with Wire(gateway.admin_port, PROXY) as wire:
        wire.send(question(gateway.readonly, BUDGETS, *fields) * 2)
        assert statuses(wire, 2) == [200, 200]


def test_a_proxy_that_goes_away_has_asked_all_the_same(gateway: Gateway) -> None:
    key = gateway.make_key("READ_BUDGETS")
    with Wire(gateway.admin_port, PROXY) as wire:
        wire.send(question(key, BUDGETS, "X-Request-Id: gone-1"))
    assert gateway.event("gone-1")["outcome"] == "admitted"


@pytest.mark.parametrize("tier", ["complete"])
def test_without_the_fast_tier_the_complete_one_decides(gateway: Gateway) -> None:
    with Wire(gateway.admin_port, PROXY) as wire:
        wire.send(question(gateway.readonly) + question(None))
        assert statuses(wire, 2) == [200, 401]
        assert wire.ask("GET", "/livez").status == 200
