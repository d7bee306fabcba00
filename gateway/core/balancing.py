"""Balancing: endless iterators over the addresses that get the next requests.

An iterator costs a request one step and no allocation. It is made anew whenever the set of addresses changes.
"""

from __future__ import annotations

from itertools import cycle, repeat
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Candidate(Protocol):
    """An address with its share of the requests, and how many it has at the moment."""

    @property
    def weight(self) -> int:
        """Its share, relative to the others."""

    @property
    def in_flight(self) -> int:
        """How many requests it has."""


C = TypeVar("C", bound=Candidate)


def spread(weights: Sequence[int]) -> list[int]:
    """Give the indexes of *weights*, each as often as its weight, with equal ones as far apart as can be.

    It is the smooth weighted round-robin of nginx: each turn all gain their weight, and the richest pays for everybody.
    """
    total = sum(weights)
    credit = [0] * len(weights)
    order: list[int] = []
    for _ in range(total):
        credit = [had + weight for had, weight in zip(credit, weights, strict=True)]
        richest = max(range(len(weights)), key=credit.__getitem__)
        credit[richest] -= total
        order.append(richest)
    return order


def round_robin(candidates: Sequence[C]) -> Iterator[C]:
    """Take each in turn, as often as its weight says."""
    return cycle([candidates[index] for index in spread([one.weight for one in candidates])])


def least_connections(candidates: Sequence[C], draw: Callable[[], float]) -> Iterator[C]:
    """Take the less busy, for its weight, of two that are drawn; *draw* gives numbers from 0 up to but not with 1.

    The power of two choices: nearly as even as looking at all of them, at a cost that does not grow with their number,
    and workers that know nothing of each other do not all run to the same one (Mitzenmacher 2001). The first is drawn
    by weight, so that idle ones are taken by weight too; of two addresses it is always the less busy one.
    """
    if len(candidates) == 1:
        return repeat(candidates[0])
    return _of_two(candidates, spread([one.weight for one in candidates]), draw)


def _of_two(candidates: Sequence[C], slots: Sequence[int], draw: Callable[[], float]) -> Iterator[C]:
    others, total = len(candidates) - 1, len(slots)
    while True:
        at = slots[int(draw() * total)]
        other = int(draw() * others)
        first, second = candidates[at], candidates[other + (other >= at)]
        yield second if second.in_flight * first.weight < first.in_flight * second.weight else first
