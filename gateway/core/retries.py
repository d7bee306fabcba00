"""The retry budget: retries are a bounded share of recent requests, so that they never double an outage."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.core.upstreams import Retries

WINDOW_S: Final = 10.0
SAMPLE_S: Final = 1.0


class RetryBudget:
    """Counts retries against requests over the last ten to eleven seconds. Nothing is counted for each request."""

    __slots__ = ("_rules", "_samples", "retried")

    def __init__(self, rules: Retries) -> None:
        """Begin with no request and no retry."""
        self._rules = rules
        self._samples: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)])
        self.retried = 0

    def sample(self, now: float, requests: int) -> None:
        """Note at *now* that there have been *requests* in all; at least once after the last of them."""
        samples = self._samples
        if now - samples[-1][0] < SAMPLE_S:
            return
        samples.append((now, requests, self.retried))
        while samples[1][0] <= now - WINDOW_S:
            samples.popleft()

    def take(self, now: float, requests: int) -> bool:
        """Say whether one more may be made, and count it if so; *requests* is how many there have been in all."""
        self.sample(now, requests)
        _, requests_before, retried_before = self._samples[0]
        allowed = self._rules.ratio * (requests - requests_before) + self._rules.floor_per_s * WINDOW_S
        if self.retried - retried_before + 1 > allowed:
            return False
        self.retried += 1
        return True
