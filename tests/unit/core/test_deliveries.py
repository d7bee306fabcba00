"""Deliveries: when the next attempt is due, and what ends it."""

from __future__ import annotations

import pytest

from gateway.core.deliveries import DeliveryStatus, Judgement, RetrySchedule, judge
from gateway.core.webhooks import Attempt, Failure

SCHEDULE = RetrySchedule()
FAILED = Attempt(500, 3, Failure.STATUS)


def test_eight_attempts_are_made_within_a_day() -> None:
    waits = [SCHEDULE.wait_s(failed, 0) for failed in range(1, SCHEDULE.attempts_max)]
    assert waits == [15, 60, 240, 960, 3840, 15_360, 61_440]
    assert 22 * 3600 < sum(waits) < 24 * 3600
    assert sum(SCHEDULE.wait_s(failed, 1) for failed in range(1, 8)) < 26 * 3600


@pytest.mark.parametrize(("jitter", "wait_s"), [(-1, 13.5), (0, 15), (1, 16.5)])
def test_a_wait_is_a_tenth_more_or_less(jitter: float, wait_s: float) -> None:
    assert SCHEDULE.wait_s(1, jitter) == pytest.approx(wait_s)


def test_an_attempt_that_arrived_ends_the_delivery() -> None:
    assert judge(Attempt(204, 3, None), 7, SCHEDULE, 0) == Judgement(DeliveryStatus.DELIVERED)


@pytest.mark.parametrize("attempt", [FAILED, Attempt(None, 10_000, Failure.TIMEOUT), Attempt(302, 1, Failure.REDIRECT)])
def test_a_failure_is_tried_again_until_the_attempts_are_used_up(attempt: Attempt) -> None:
    assert judge(attempt, 0, SCHEDULE, 0) == Judgement(DeliveryStatus.PENDING, 15)
    assert judge(attempt, 6, SCHEDULE, 0) == Judgement(DeliveryStatus.PENDING, 61_440)
    assert judge(attempt, 7, SCHEDULE, 0) == Judgement(DeliveryStatus.DEAD)


def test_who_is_gone_is_not_asked_again() -> None:
    assert judge(Attempt(410, 3, Failure.STATUS), 0, SCHEDULE, 0) == Judgement(DeliveryStatus.DEAD)
