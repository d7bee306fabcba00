"""What fails is passed over, what comes back is tried with one request, and nobody is left without a target for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.rotation import NEVER, STATES, Condition, Rotation
from gateway.core.upstreams import Ejection, HealthCheck, UpstreamTarget

RULES = Ejection(consecutive_failures=3, first_s=5, longest_s=60, max_percent=50, circuit_breaker=True)
WITHOUT_BREAKER = Ejection(consecutive_failures=3, first_s=5, longest_s=60, max_percent=50)
CHECKS = HealthCheck("/health", healthy_after=2, unhealthy_after=3)


def made(count: int) -> tuple[Rotation, list[Condition]]:
    return Rotation(RULES, probe_s=0.5), [Condition() for _ in range(count)]


def fail(rotation: Rotation, one: Condition, everyone: list[Condition], times: int = 3, now: float = 0.0) -> bool:
    return [rotation.failed(one, everyone, now) for _ in range(times)][-1]


def test_failures_that_are_not_in_a_row_eject_nobody() -> None:
    rotation, (a, b) = made(2)
    for _ in range(10):
        assert not fail(rotation, a, [a, b], 2)
        rotation.succeeded(a, 0)
    assert rotation.usable([a, b]) == [a, b]
    assert not a.watched


def test_enough_failures_in_a_row_eject() -> None:
    rotation, (a, b) = made(2)
    assert fail(rotation, a, [a, b])
    assert rotation.usable([a, b]) == [b]
    assert (a.state, b.state) == ("ejected", "serving")


def test_no_more_are_ejected_than_allowed() -> None:
    rotation, everyone = made(5)
    for one in everyone[:4]:
        fail(rotation, one, everyone)
    assert [one.ejected for one in everyone] == [True, True, False, False, False]
    assert everyone[2].state == "failing"
    assert rotation.usable(everyone) == everyone[2:]


def test_the_last_one_is_never_ejected() -> None:
    rotation = Rotation(Ejection(consecutive_failures=1, max_percent=100), 0.5)
    everyone = [Condition(), Condition()]
    assert rotation.failed(everyone[0], everyone, 0)
    assert not rotation.failed(everyone[1], everyone, 0)
    alone = Condition()
    assert not rotation.failed(alone, [alone], 0)


def test_an_ejected_one_is_tried_with_one_request_when_its_time_is_over() -> None:
    rotation, (a, b) = made(2)
    fail(rotation, a, [a, b])
    assert rotation.next_trial([a, b]) == 5
    assert rotation.trial([a, b], 4.9) is None
    assert rotation.trial([a, b], 5) is a
    assert rotation.trial([a, b], 5) is None
    assert rotation.next_trial([a, b]) == NEVER
    assert rotation.usable([a, b]) == [b]
    rotation.succeeded(a, 5.1)
    assert rotation.usable([a, b]) == [a, b]
    assert not a.watched


def test_a_trial_without_an_outcome_is_made_again() -> None:
    rotation, (a, b) = made(2)
    fail(rotation, a, [a, b])
    assert rotation.trial([a, b], 5) is a
    rotation.given_up(a)
    assert rotation.trial([a, b], 5) is a


def test_each_failed_trial_doubles_the_time_up_to_the_longest() -> None:
    rotation, (a, b) = made(2)
    fail(rotation, a, [a, b])
    waits, now = [a.due], a.due
    for _ in range(6):
        assert rotation.trial([a, b], now) is a
        assert rotation.failed(a, [a, b], now)
        waits.append(a.due - now)
        now = a.due
    assert waits == [5, 10, 20, 40, 60, 60, 60]


def test_failures_of_requests_that_were_under_way_do_not_lengthen_the_time() -> None:
    rotation, (a, b) = made(2)
    fail(rotation, a, [a, b])
    assert not fail(rotation, a, [a, b], 50, now=1)
    assert a.due == 5


def test_who_did_well_for_long_begins_anew() -> None:
    rotation, (a, b) = made(2)
    fail(rotation, a, [a, b])
    rotation.succeeded(a, 10)
    fail(rotation, a, [a, b], now=20)
    assert a.due == 30
    rotation.succeeded(a, 40)
    fail(rotation, a, [a, b], now=140)
    assert a.due == 145


def test_when_all_fail_nobody_gets_requests_but_one_at_a_time_on_trial() -> None:
    rotation, (a, b) = made(2)
    for one in (a, b):
        fail(rotation, one, [a, b])
    assert rotation.is_open([a, b])
    assert rotation.usable([a, b]) == []
    assert rotation.next_trial([a, b]) == NEVER
    assert rotation.trial([a, b], 0.4) is None
    first = rotation.trial([a, b], 0.5)
    assert rotation.trial([a, b], 2) is None
    assert first is not None
    rotation.failed(first, [a, b], 2)
    second = rotation.trial([a, b], 2)
    assert {first, second} == {a, b}
    assert second is not None
    rotation.succeeded(second, 2.1)
    assert rotation.usable([a, b])
    assert not rotation.is_open([a, b])


def test_of_one_address_a_failed_trial_is_repeated_soon() -> None:
    rotation, (a,) = made(1)
    fail(rotation, a, [a])
    for now in (0.5, 1.0, 1.5):
        assert rotation.trial([a], now) is a
        assert not rotation.failed(a, [a], now)
    assert a.state == "failing"


def test_what_checks_call_unhealthy_gets_nothing_until_they_call_it_healthy() -> None:
    rotation, (a, b) = made(2)
    assert [rotation.checked(a, well=well, rules=CHECKS, now=0) for well in (False, False, True, False, False)] == [
        False
    ] * 5
    assert rotation.checked(a, well=False, rules=CHECKS, now=0)
    assert rotation.usable([a, b]) == [b]
    assert (a.state, a.watched) == ("unhealthy", True)
    rotation.succeeded(a, 0)
    assert rotation.usable([a, b]) == [b]
    assert not rotation.checked(a, well=True, rules=CHECKS, now=0)
    assert rotation.checked(a, well=True, rules=CHECKS, now=0)
    assert rotation.usable([a, b]) == [a, b]
    assert not a.watched


def test_what_checks_call_unhealthy_is_not_tried_with_requests() -> None:
    rotation, (a, b) = made(2)
    for one in (a, b):
        fail(rotation, one, [a, b])
        for _ in range(3):
            rotation.checked(one, well=False, rules=CHECKS, now=0)
    assert rotation.is_open([a, b])
    assert rotation.trial([a, b], 100) is None


def test_nobody_means_that_there_is_nobody_to_send_to() -> None:
    rotation, _ = made(0)
    assert rotation.is_open([])
    assert rotation.trial([], 0) is None


EVENTS = st.tuples(
    st.integers(0, 3), st.sampled_from(["failed", "succeeded", "given_up", "well", "ill", "trial"]), st.floats(0, 10)
)


@given(st.integers(1, 4), st.lists(EVENTS, max_size=200))
def test_whatever_happens_somebody_is_used_unless_all_are_failing(
    count: int, events: list[tuple[int, str, float]]
) -> None:
    rotation, everyone = made(count)
    now = 0.0
    for index, event, pause in events:
        now += pause
        one = everyone[index % count]
        if event == "trial":
            rotation.trial(everyone, now)
        elif event in {"well", "ill"}:
            rotation.checked(one, well=event == "well", rules=CHECKS, now=now)
        elif event == "failed":
            rotation.failed(one, everyone, now)
        elif event == "succeeded":
            rotation.succeeded(one, now)
        else:
            rotation.given_up(one)
        usable = rotation.usable(everyone)
        assert bool(usable) == any(one.healthy and not one.failing for one in everyone)
        assert all(one.healthy for one in usable)
        assert sum(one.ejected for one in everyone) * 100 <= RULES.max_percent * count
        assert all(one.watched for one in everyone if one.failing or one.failures or not one.healthy)
        assert {one.state for one in everyone} <= set(STATES)


@pytest.mark.parametrize("failures", [1, 2])
def test_few_failures_are_trouble_but_no_more(failures: int) -> None:
    rotation, (a,) = made(1)
    fail(rotation, a, [a], failures)
    assert a.watched
    assert rotation.usable([a]) == [a]


def test_without_a_circuit_breaker_all_are_asked_while_all_fail() -> None:
    rotation, everyone = Rotation(WITHOUT_BREAKER, 0.5), [Condition(), Condition()]
    for one in everyone:
        fail(rotation, one, everyone)
    assert [one.state for one in everyone] == ["ejected", "failing"]
    assert rotation.all_fail(everyone)
    assert not rotation.is_open(everyone)
    assert rotation.usable(everyone) == everyone
    assert rotation.trial(everyone, 100) is None
    assert rotation.next_trial(everyone) == NEVER
    rotation.succeeded(everyone[1], 1)
    assert rotation.usable(everyone) == [everyone[1]]
    assert rotation.trial(everyone, 5) is everyone[0]


def test_without_a_circuit_breaker_what_checks_call_unhealthy_gets_nothing() -> None:
    rotation, everyone = Rotation(WITHOUT_BREAKER, 0.5), [Condition(), Condition()]
    for one in everyone:
        one.healthy = False
    assert rotation.is_open(everyone)
    assert rotation.usable(everyone) == []


def test_under_new_settings_an_address_begins_where_it_was() -> None:
    rotation = Rotation(Ejection(consecutive_failures=1, first_s=1), 0.5)
    before, other, after = Condition(), Condition(), Condition(watched=True)
    rotation.failed(before, [before, other], 0)
    assert rotation.trial([before, other], 2) is before
    after.inherit(before)
    # The request on trial is not the new one's.
    assert (after.state, after.due, after.watched, after.on_trial) == ("ejected", 1, True, False)
    assert rotation.trial([after, other], 2) is after


def test_a_target_is_the_same_place_whatever_its_weight() -> None:
    target = UpstreamTarget("127.0.0.1", 80, "127.0.0.1", weight=2)
    assert target.place == UpstreamTarget("127.0.0.1", 80, "other").place
    assert target.place != UpstreamTarget("127.0.0.1", 80, "127.0.0.1", tls=True).place


def test_with_checks_a_request_is_risked_only_on_what_a_check_has_found_well_since_it_failed() -> None:
    for breaker in (False, True):
        rules = HealthCheck("/", healthy_after=2, unhealthy_after=2)
        rotation = Rotation(Ejection(consecutive_failures=1, first_s=1, circuit_breaker=breaker), 0.5, checks=True)
        everyone = [Condition(), Condition()] if not breaker else [Condition()]
        one = everyone[0]
        rotation.checked(one, well=True, rules=rules, now=0)
        rotation.failed(one, everyone, 0)
        assert rotation.trial(everyone, 9) is None
        assert rotation.next_trial(everyone) == NEVER
        rotation.checked(one, well=False, rules=rules, now=9)
        assert rotation.trial(everyone, 9) is None
        rotation.checked(one, well=True, rules=rules, now=9)
        assert rotation.trial(everyone, 9) is one
        assert rotation.trial(everyone, 9) is None
        rotation.failed(one, everyone, 10)
        assert rotation.trial(everyone, 99) is None
