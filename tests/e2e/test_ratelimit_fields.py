"""RateLimit and RateLimit-Policy, where they are on: every bucket of a request, in the form of the IETF's draft."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.backends import plain
from tests.serving import LIMITED_MAX

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.wire import Answer

CUSTOMERS, PRODUCTS, SHARED = "/api/public/customers", "/api/public/products", "/api/public/budgets/public/1"
TIERS = pytest.mark.parametrize("body", [None, b""], ids=["fast tier", "complete tier"])
_ITEM = re.compile(r'"([^"]+)";r=(\d+);t=(\d+)')


def left(answer: Answer) -> dict[str, tuple[int, int]]:
    """What `RateLimit` says: by name, the requests left, and the seconds."""
    items = [_ITEM.fullmatch(item) for item in answer.one("ratelimit").split(", ")]
    return {item[1]: (int(item[2]), int(item[3])) for item in items if item is not None}


@TIERS
def test_an_admitted_answer_tells_of_the_hourly_limit(optional_gateway: Gateway, body: bytes | None) -> None:
    key = optional_gateway.make_key(rate_limit_per_hour=500)
    answer = optional_gateway.ask("GET", CUSTOMERS, key, body=body)
    assert answer.one("ratelimit-policy") == '"hourly";q=500;w=3600'
    assert answer.one("ratelimit") == '"hourly";r=499;t=8'
    assert answer.one("x-ratelimit-remaining") == "499"


@TIERS
def test_all_buckets_are_told_of_and_a_429_says_which_one_is_empty(
    optional_gateway: Gateway, body: bytes | None
) -> None:
    key = optional_gateway.make_key(rate_limit_per_hour=1000)
    policy = '"hourly";q=1000;w=3600, "products.read:1";q=3;w=60'
    for number in range(1, LIMITED_MAX + 1):
        answer = optional_gateway.ask("GET", PRODUCTS, key, body=body)
        assert answer.status == 200
        assert answer.one("ratelimit-policy") == policy
        assert {name: rest for name, (rest, _) in left(answer).items()} == {
            "hourly": 1000 - number,
            "products.read:1": LIMITED_MAX - number,
        }
    refused = optional_gateway.ask("GET", PRODUCTS, key, body=body)
    assert refused.code == "429 rate_limit_exceeded"
    assert refused.one("ratelimit-policy") == policy
    assert left(refused)["products.read:1"] == (0, int(refused.one("retry-after")))
    assert left(refused)["hourly"][0] == 1000 - LIMITED_MAX


def test_an_address_has_its_own(optional_gateway: Gateway) -> None:
    answer = optional_gateway.ask("GET", SHARED)
    assert answer.one("ratelimit-policy") == '"budgets.shared:1";q=60;w=60'
    assert left(answer) == {"budgets.shared:1": (59, 1)}


def test_the_gateways_own_answers_to_a_key_have_them_too(optional_gateway: Gateway) -> None:
    body = b'{"event": "budget.created", "data": {}}'
    fields = ["Content-Type: application/json"]
    answer = optional_gateway.ask("POST", "/api/public/webhooks/test", optional_gateway.everything, fields, body)
    assert answer.status == 200
    assert list(left(answer)) == ["hourly", "webhooks.test:1"]


@TIERS
def test_a_backend_cannot_set_them_where_they_are_ours(optional_gateway: Gateway, body: bytes | None) -> None:
    optional_gateway.backend.answer = plain(fields=b'RateLimit: "mine";r=0;t=9\r\nRateLimit-Policy: "mine";q=1\r\n')
    answer = optional_gateway.ask("GET", CUSTOMERS, optional_gateway.everything, body=body)
    assert list(left(answer)) == ["hourly"]
    assert "mine" not in answer.one("ratelimit-policy")


@TIERS
def test_where_they_are_off_a_backends_own_pass(gateway: Gateway, body: bytes | None) -> None:
    answer = gateway.ask("GET", CUSTOMERS, gateway.everything, body=body)
    assert not answer.all("ratelimit") + answer.all("ratelimit-policy")
    gateway.backend.answer = plain(fields=b'RateLimit: "mine";r=0;t=9\r\n')
    assert gateway.ask("GET", CUSTOMERS, gateway.everything, body=body).one("ratelimit") == '"mine";r=0;t=9'
