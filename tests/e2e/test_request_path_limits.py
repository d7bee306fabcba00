"""Rate limits through the whole gateway: exact, told in headers, and never at the cost of somebody else."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.demos import wait_until
from tests.gateway_settings import FAILURES_MAX
from tests.wire import fresh_address

if TYPE_CHECKING:
    from tests.gateways import Gateway

BUDGETS = "/api/public/budgets"
WEBHOOKS = "/api/public/webhooks/test"
RATE_FIELDS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-window")


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window"])
def test_five_an_hour_are_exactly_five_for_ten_at_once(gateway: Gateway, algorithm: str) -> None:
    key = gateway.make_key(rate_limit_per_hour=5, algorithm=algorithm)
    with ThreadPoolExecutor(10) as pool:
        codes = list(pool.map(lambda _: gateway.ask("GET", BUDGETS, key).code, range(40)))
    assert sorted(codes) == ["200"] * 5 + ["429 rate_limit_exceeded"] * 35
    assert len(gateway.backend.requests) == 5


def test_every_field_of_an_answer_and_of_a_refusal(gateway: Gateway) -> None:
    key = gateway.make_key(rate_limit_per_hour=3)
    began = time.time()
    for remaining in (2, 1, 0):
        answer = gateway.ask("GET", BUDGETS, key)
        limit, left, reset, window = (int(answer.one(name)) for name in RATE_FIELDS)
        assert (limit, left, window) == (3, remaining, 3600)
        # Full again when every token that was taken has come back, one in 1,200 s.
        assert reset == pytest.approx(began + (3 - remaining) * 1200, abs=3)
    refused = gateway.ask("GET", BUDGETS, key)
    assert refused.status == 429
    limit, left, reset, window = (int(refused.one(name)) for name in RATE_FIELDS)
    assert (limit, left, window) == (3, 0, 3600)
    wait_s = int(refused.one("retry-after"))
    assert wait_s == pytest.approx(1200, abs=3)
    body = refused.json
    assert body["error"] == "rate_limit_exceeded"
    assert body["message"] == f"Rate limit exceeded. Try again in {wait_s} seconds"
    assert body["details"].keys() == {"limit", "remaining", "resetAt"}
    assert (body["details"]["limit"], body["details"]["remaining"]) == (3, 0)
    assert body["details"]["resetAt"].startswith(time.strftime("%Y-%m-%dT%H:", time.gmtime(reset)))


def test_a_sliding_window_gives_nothing_back_early(gateway: Gateway) -> None:
    key = gateway.make_key(rate_limit_per_hour=3600, algorithm="sliding_window")
    left = [int(gateway.ask("GET", BUDGETS, key).one("x-ratelimit-remaining")) for _ in range(5)]
    assert left == [3599, 3598, 3597, 3596, 3595]


def test_a_token_bucket_gives_back_as_time_passes(gateway: Gateway) -> None:
    key = gateway.make_key(rate_limit_per_hour=36_000)
    left = [int(gateway.ask("GET", BUDGETS, key).one("x-ratelimit-remaining")) for _ in range(20)]
    taken = time.monotonic()
    wait_until(lambda: time.monotonic() > taken + 1, 2)
    gained = int(gateway.ask("GET", BUDGETS, key).one("x-ratelimit-remaining")) - left[-1]
    # Ten a second, less the one that was asked with; no more than a rested bucket holds.
    assert 8 <= gained <= 19


def test_what_is_refused_costs_nothing(gateway: Gateway) -> None:
    source = fresh_address()
    key = gateway.make_key("READ_BUDGETS", rate_limit_per_hour=2, allowed_ips=[source])
    for _ in range(3):
        assert gateway.ask("POST", BUDGETS, key, source=source).status == 403
        assert gateway.ask("GET", "/nowhere", key, source=source).status == 404
        assert gateway.ask("GET", f"{BUDGETS}/..", key, source=source).status == 400
        assert gateway.ask("GET", BUDGETS, key).status == 403
    assert gateway.ask("GET", BUDGETS, key, source=source).one("x-ratelimit-remaining") == "1"


def test_a_routes_own_limit_comes_on_top_and_takes_all_or_nothing(gateway: Gateway) -> None:
    key = gateway.make_key(rate_limit_per_hour=100)
    event = b'{"event":"anything.at.all","data":{}}'
    answers = [gateway.ask("POST", WEBHOOKS, key, ["Content-Type: application/json"], event) for _ in range(12)]
    assert [answer.status for answer in answers] == [200] * 10 + [429] * 2
    assert answers[0].one("x-ratelimit-limit") == "10"
    assert (answers[-1].one("x-ratelimit-window"), answers[-1].one("x-ratelimit-remaining")) == ("60", "0")
    # The two that were refused took nothing from the hourly bucket.
    hourly = gateway.ask("GET", BUDGETS, key)
    assert (hourly.one("x-ratelimit-limit"), hourly.one("x-ratelimit-remaining")) == ("100", "89")


def test_a_limit_belongs_to_the_key_whatever_else_differs(gateway: Gateway) -> None:
    key = gateway.make_key(rate_limit_per_hour=4)
    calls = [
        ("GET", BUDGETS),
        ("HEAD", "/v1/api/public/customers"),
        ("POST", "/api/public/products"),
        ("GET", f"{BUDGETS}/1?x"),
    ]
    assert [gateway.ask(method, path, key).status for method, path in calls] == [200] * 4
    assert {gateway.ask(method, path, key).status for method, path in calls} == {429}
    assert gateway.ask("GET", BUDGETS, gateway.make_key()).status == 200


def test_a_higher_limit_is_in_force_at_once(gateway: Gateway) -> None:
    key = gateway.make_key(rate_limit_per_hour=1)
    assert gateway.ask("GET", BUDGETS, key).status == 200
    refused = gateway.ask("GET", BUDGETS, key)
    assert refused.status == 429
    gateway.execute("UPDATE api_keys SET rate_limit_per_hour = 36000 WHERE rate_limit_per_hour = 1")
    assert wait_until(lambda: gateway.ask("GET", BUDGETS, key).status == 200, 2)


def test_failed_authentications_have_a_bucket_that_no_valid_key_is_refused_by(gateway: Gateway) -> None:
    source = fresh_address()
    junk = "bk_live_0123456789abcdef0123456789abcdef"
    codes = [gateway.ask("GET", BUDGETS, junk, source=source).code for _ in range(FAILURES_MAX + 5)]
    assert codes[:FAILURES_MAX] == ["401 invalid_api_key"] * FAILURES_MAX
    assert "429 rate_limit_exceeded" in codes[FAILURES_MAX:]
    assert gateway.ask("GET", BUDGETS, gateway.make_key(), source=source).status == 200
    assert gateway.ask("GET", BUDGETS, source=source).code == "401 unauthorized"
    assert gateway.ask("GET", BUDGETS, junk).code == "401 invalid_api_key"
