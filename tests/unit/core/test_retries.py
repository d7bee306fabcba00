"""Retries are a share of the requests, and a few a second: an outage is never doubled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.retries import WINDOW_S, RetryBudget
from gateway.core.upstreams import Retries

RULES = Retries(ratio=0.2, floor_per_s=3)


def taken(budget: RetryBudget, now: float, requests: int, tries: int) -> int:
    return sum(budget.take(now, requests) for _ in range(tries))


def test_without_requests_the_floor_is_allowed() -> None:
    assert taken(RetryBudget(RULES), 1000.0, 0, 100) == 30


def test_a_fifth_of_the_recent_requests_is_allowed_besides() -> None:
    assert taken(RetryBudget(RULES), 1000.0, 1000, 1000) == 230


def test_a_budget_of_nothing_allows_nothing() -> None:
    assert taken(RetryBudget(Retries(0, 0)), 1000.0, 1000, 10) == 0


def test_what_was_used_up_comes_back_with_time() -> None:
    budget = RetryBudget(RULES)
    assert taken(budget, 1000.0, 1000, 1000) == 230
    for second in range(1, 9):
        budget.sample(1000.0 + second, 1000)
    assert taken(budget, 1000.0 + WINDOW_S - 1, 1000, 10) == 0
    assert taken(budget, 1000.0 + WINDOW_S + 1, 1000, 100) == 30


@given(st.lists(st.tuples(st.floats(0.01, 2), st.integers(0, 200), st.integers(0, 300)), min_size=1, max_size=80))
def test_in_any_stretch_of_time_no_more_are_allowed_than_the_rules_say(
    steps: list[tuple[float, int, int]],
) -> None:
    budget, now, requests = RetryBudget(RULES), 1000.0, 0
    history: list[tuple[float, int, int]] = []
    for pause, more, tries in steps:
        now += pause
        requests += more
        budget.sample(now, requests)
        history.append((now, more, taken(budget, now, requests, tries)))
    # A sample is taken once a second, so the window is up to a second longer, at either end.
    for start, _, _ in history:
        within = [step for step in history if start < step[0] <= start + WINDOW_S]
        before = [step for step in history if start - WINDOW_S - 2 <= step[0] <= start + WINDOW_S]
        allowed = RULES.ratio * sum(step[1] for step in before) + RULES.floor_per_s * (WINDOW_S + 1)
        assert sum(step[2] for step in within) <= allowed
