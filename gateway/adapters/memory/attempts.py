"""Login attempts as one worker knows them: what limits failures while Redis is away."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.core.attempts import AttemptLimits, Ending, Exceeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.attempts import Attempt

    Subject: TypeAlias = tuple[str, ...]

SUBJECTS_MAX: Final = 10_000


class MemoryLoginAttempts:
    """Counts attempts of at most *subjects_max* addresses and pairs; implements the LoginAttempts port.

    Beyond that the one whose last attempt is longest ago is forgotten.
    """

    def __init__(self, limits: AttemptLimits, clock_ms: Callable[[], int], subjects_max: int = SUBJECTS_MAX) -> None:
        """Start with no attempts; *clock_ms* gives milliseconds that never go back."""
        self._limits = limits
        self._clock_ms = clock_ms
        self._subjects_max = subjects_max
        self._until: OrderedDict[Subject, dict[str, int]] = OrderedDict()

    async def begin(self, attempt: Attempt) -> Exceeded | None:
        """Let *attempt* begin, unless a limit is used up."""
        maxima = dict(zip(_subjects(attempt), (self._limits.address_max, self._limits.pair_max), strict=True))
        waits = [Exceeded(most, self._wait_ms(subject, most)) for subject, most in maxima.items()]
        worst = max(waits, key=lambda exceeded: exceeded.retry_in_ms)
        if worst.retry_in_ms > 0:
            return worst
        self._keep(attempt, self._limits.lease_ms)
        return None

    async def end(self, attempt: Attempt, ending: Ending) -> None:
        """Note how *attempt* ended, whether it began here or not."""
        if ending is Ending.FAILED:
            self._keep(attempt, self._limits.window_ms)
            return
        address, pair = _subjects(attempt)
        for subject in (address, pair):
            self._until.get(subject, {}).pop(attempt.id, None)
        if ending is Ending.SUCCEEDED:
            self._until.pop(pair, None)

    def _wait_ms(self, subject: Subject, most: int) -> int:
        """Give the milliseconds until *subject* has less than *most* attempts, 0 for now."""
        now_ms = self._clock_ms()
        until = sorted(end for end in self._until.get(subject, {}).values() if end > now_ms)
        return until[len(until) - most] - now_ms if len(until) >= most else 0

    def _keep(self, attempt: Attempt, for_ms: int) -> None:
        now_ms = self._clock_ms()
        for subject in _subjects(attempt):
            kept = {key: end for key, end in self._until.get(subject, {}).items() if end > now_ms}
            self._until[subject] = {**kept, attempt.id: now_ms + for_ms}
            self._until.move_to_end(subject)
        while len(self._until) > self._subjects_max:
            self._until.popitem(last=False)


def _subjects(attempt: Attempt) -> tuple[Subject, Subject]:
    return (attempt.address,), (attempt.address, attempt.email_digest)
