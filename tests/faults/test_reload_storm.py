"""Settings that change and workers that are replaced, all the time and under load: nobody loses a request over it.

`make reload-storm` does this 100 and 20 times, `make test` 10 and 2 times. Two settings take turns, A and B, which
differ in the scope, the limit and the upstream of one route. Every answer has to be all A's or all B's, and of the one
that was in force: what clients saw, with their clocks, is held against when each change began and was confirmed.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.backends import plain
from tests.demos import wait_until
from tests.faults.loads import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.backends import Backend
    from tests.faults.loads import Asked
    from tests.gateways import Gateway

BUDGETS: Final = "/api/public/budgets"
WORKERS: Final = 2
LIMITS: Final = {"A": 300_000, "B": 400_000}
SCOPES: Final = {"A": "READ_BUDGETS", "B": "READ_CUSTOMERS"}
SERVED: Final = {name: (200, str(LIMITS[name]), name) for name in LIMITS}
REFUSED: Final = (403, None, SCOPES["B"])
ASKED_BETWEEN: Final = 30


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """More changes may take longer."""
    reloads: int = metafunc.config.getoption("reloads")
    restarts: int = metafunc.config.getoption("restarts")
    limit = pytest.mark.timeout(120 + 6 * reloads + 60 * restarts)
    metafunc.parametrize(("reloads", "restarts"), [pytest.param(reloads, restarts, marks=limit)])


@dataclass(frozen=True)
class Change:
    """Settings that came into force between two moments."""

    name: str
    began: float
    confirmed: float


def settings_of(name: str, urls: dict[str, str]) -> Callable[[dict[str, Any]], None]:
    """Edit settings into A or B."""

    def change(document: dict[str, Any]) -> None:
        document["upstreams"]["swapped"] = {"targets": [urls[name]]}
        (route,) = [route for route in document["routes"] if route["name"] == "budgets.read"]
        route |= {"scope": SCOPES[name], "upstream": "swapped"}
        route["limits"] = [{"requests": LIMITS[name], "per": "hour"}]

    return change


def seen(asked: Asked) -> tuple[int, str | None, str]:
    """What an answer says of the settings that it was made with: status, limit, and the upstream or the scope."""
    answer = asked.answer
    assert answer is not None, asked
    limit = (answer.all("x-ratelimit-limit") or [None])[0]
    told = answer.json["details"]["requiredScope"] if answer.status == 403 else answer.json["by"]
    return answer.status, limit, told


def wrong(asked: list[Asked], changes: list[Change], expected: dict[str, tuple[int, str | None, str]]) -> list[Any]:
    """Those answers that no settings gave which were in force while their request was under way."""
    found = []
    for one in asked:
        ended = one.began + one.took
        # In force: what was confirmed last before the request began, and what began to change before it ended.
        names = {change.name for change in changes if one.began <= change.confirmed and change.began <= ended}
        names |= {[change.name for change in changes if change.confirmed <= one.began][-1]}
        if seen(one) not in {expected[name] for name in names}:
            found.append((one.began, seen(one), names))
    return found


def replace_all(gateway: Gateway) -> None:
    before = set(gateway.workers)
    outcome = gateway.order("restart")
    assert not outcome.problems
    assert wait_until(lambda: not before & set(gateway.workers) and len(gateway.workers) == WORKERS, 5)


def test_changes_under_load_lose_no_request_and_mix_no_settings(
    start_gateway: Callable[..., Gateway],
    backend: Backend,
    postgres_dsn: str,
    redis_url: str,
    reloads: int,
    restarts: int,
) -> None:
    urls = {"B": backend.url}

    def first(document: dict[str, Any]) -> None:
        urls["A"] = document["upstreams"]["budgets"]["targets"][0]
        settings_of("A", urls)(document)

    gateway = start_gateway(postgres_dsn, redis_url, first, "--workers", str(WORKERS))
    gateway.backend.answer, backend.answer = plain(b'{"by":"A"}'), plain(b'{"by":"B"}')
    assert wait_until(lambda: len(gateway.workers) == WORKERS and gateway.output.count('"serving"') == WORKERS, 10)
    both, narrow = gateway.key_for("READ_BUDGETS", "READ_CUSTOMERS"), gateway.readonly
    changes = [Change("A", time.monotonic(), time.monotonic())]
    restart_at = {(number + 1) * reloads // (restarts + 1) for number in range(restarts)}
    left = restarts
    with ExitStack() as stack:
        loads = {
            (key, fresh): stack.enter_context(Load(gateway, BUDGETS, key, 1 if fresh else 2, fresh=fresh))
            for key in (both, narrow)
            for fresh in (False, True)
        }
        for number in range(reloads):
            name = "BA"[number % 2]
            gateway.configure(settings_of(name, urls))
            began = time.monotonic()
            outcome = gateway.order("reload")
            changes.append(Change(name, began, time.monotonic()))
            assert not outcome.problems
            marks = {load: len(load.asked) for load in loads.values()}
            assert wait_until(
                lambda marks=marks: all(len(load.asked) > marks[load] + ASKED_BETWEEN // 3 for load in marks), 20
            )
            if number in restart_at and left:
                replace_all(gateway)
                left -= 1
        for _ in range(left):
            replace_all(gateway)
    asked = {key: [one for (of, _), load in loads.items() if of == key for one in load.asked] for key in (both, narrow)}
    lost = [one for some in asked.values() for one in some if one.code == "lost"]
    print(f"{sum(map(len, asked.values()))} requests, {reloads} reloads, {restarts} restarts, {len(lost)} lost")
    assert lost == []
    assert wrong(asked[both], changes, SERVED) == []
    assert wrong(asked[narrow], changes, {"A": SERVED["A"], "B": REFUSED}) == []
    assert not backend.failures
    assert gateway.end() == 0
