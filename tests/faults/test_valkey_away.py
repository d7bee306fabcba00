"""Valkey paused or killed: nobody gets an error for it, and the configured policy holds."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.demos import wait_until
from tests.faults.loads import Load
from tests.gateways import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.embedded.valkey import EmbeddedValkey
    from tests.gateways import Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

BUDGETS = "/api/public/budgets"


def pause(valkey: EmbeddedValkey) -> None:
    valkey.child.send(signal.SIGSTOP)


def kill(valkey: EmbeddedValkey) -> None:
    valkey.child.kill()
    run(valkey.child.ended(5))


def bring_back(valkey: EmbeddedValkey) -> None:
    if valkey.child.alive:
        valkey.child.send(signal.SIGCONT)
    else:
        run(valkey.start())


def limiter_is_up(gateway: Gateway) -> bool:
    return "\ngateway_limiter_up 1" in gateway.metrics()


@pytest.mark.parametrize("fault", [pause, kill])
def test_local_limits_hold_and_nobody_gets_an_error(
    start_gateway: Callable[..., Gateway],
    postgres_dsn: str,
    valkey: EmbeddedValkey,
    fault: Callable[[EmbeddedValkey], None],
) -> None:
    gateway = start_gateway(postgres_dsn, valkey.url)
    limited = gateway.make_key(rate_limit_per_hour=10)
    codes = [gateway.ask("GET", BUDGETS, limited).code for _ in range(4)]
    with Load(gateway, BUDGETS, gateway.everything) as load:
        assert wait_until(lambda: len(load.asked) > 20, 5)
        fault(valkey)
        assert wait_until(lambda: not limiter_is_up(gateway), 2)
        answers = [gateway.ask("GET", BUDGETS, limited) for _ in range(12)]
        codes += [answer.code for answer in answers]
        assert wait_until(lambda: len(load.asked) > 200, 5)
        assert gateway.health["code"] == 200
        assert gateway.health["status"] == "degraded"
        bring_back(valkey)
        assert wait_until(lambda: limiter_is_up(gateway), 4)
        back = time.monotonic()
        assert wait_until(lambda: len(load.since(back)) > 20, 5)
    assert load.codes == {"200"}
    assert load.slowest_s < 0.5
    # From the last known remainder, and not one more.
    assert codes == ["200"] * 10 + ["429 rate_limit_exceeded"] * 6
    assert answers[0].one("x-ratelimit-limit") == answers[-1].one("x-ratelimit-limit") == "10"
    assert gateway.health["status"] == "ready"


@pytest.mark.parametrize(("policy", "code"), [("open", "200"), ("closed", "503 service_unavailable")])
def test_the_policy_may_be_open_or_closed(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, valkey: EmbeddedValkey, policy: str, code: str
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["limits"]["on_error"] = policy

    gateway = start_gateway(postgres_dsn, valkey.url, change)
    key = gateway.make_key(rate_limit_per_hour=3)
    assert gateway.ask("GET", BUDGETS, key).one("x-ratelimit-remaining") == "2"
    pause(valkey)
    answers = [gateway.ask("GET", BUDGETS, key) for _ in range(8)]
    assert {answer.code for answer in answers} == {code}
    assert not answers[0].all("x-ratelimit-limit")
    if policy == "closed":
        assert int(answers[0].one("retry-after")) >= 1
    bring_back(valkey)
    assert wait_until(lambda: gateway.ask("HEAD", BUDGETS, key).all("x-ratelimit-limit") == ["3"], 4)
