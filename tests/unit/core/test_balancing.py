"""Requests are spread by weight, evenly, and away from those that are busy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.balancing import least_connections, round_robin, spread


@dataclass
class One:
    name: str
    weight: int = 1
    in_flight: int = 0


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_each_turn_gives_everybody_as_often_as_their_weight(weights: list[int]) -> None:
    assert Counter(spread(weights)) == Counter(dict(enumerate(weights)))


def test_a_heavy_one_does_not_get_all_of_its_requests_in_a_row() -> None:
    assert spread([5, 1, 1]) == [0, 0, 1, 0, 2, 0, 0]


def test_round_robin_goes_on_for_ever_in_the_proportion_of_the_weights() -> None:
    turn = round_robin([One("a", 3), One("b")])
    assert Counter(one.name for one in islice(turn, 400)) == {"a": 300, "b": 100}


def test_the_only_one_gets_everything() -> None:
    one = One("a", in_flight=100)
    assert list(islice(least_connections([one], Random(1).random), 3)) == [one] * 3


def test_of_two_the_less_busy_is_always_taken() -> None:
    turn = least_connections([One("a", in_flight=7), One("b", in_flight=6)], Random(1).random)
    assert {one.name for one in islice(turn, 1000)} == {"b"}


def test_what_is_busy_is_measured_by_weight() -> None:
    turn = least_connections([One("a", 4, in_flight=7), One("b", 1, in_flight=2)], Random(1).random)
    assert {one.name for one in islice(turn, 1000)} == {"a"}


def test_idle_ones_are_taken_by_weight() -> None:
    turn = least_connections([One("a", 3), One("b", 1)], Random(1).random)
    taken = Counter(one.name for one in islice(turn, 4000))
    assert 2800 < taken["a"] < 3200


@given(st.integers(2, 20), st.integers(0, 2**32))
def test_requests_that_never_end_are_spread_nearly_evenly(count: int, seed: int) -> None:
    everyone = [One(str(number)) for number in range(count)]
    for chosen in islice(least_connections(everyone, Random(seed).random), 50 * count):
        chosen.in_flight += 1
    busy = [one.in_flight for one in everyone]
    assert max(busy) - min(busy) <= 8
