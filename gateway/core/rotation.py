"""Rotation: which addresses of an upstream get requests, judged by how they answer.

An address that fails several times in a row is *failing*. It is *ejected*, for longer each time, unless too many are;
when its time is over it gets one request on trial, and comes back with its success. When all are failing, all get
requests again, since there is nobody better; with a circuit breaker the rotation is open instead: nothing is sent but
one request on trial at a time. Active checks, where there are some, overrule all of it: what they call unhealthy gets
nothing, and what failed is tried with a request only after a check has found it well again, because a trial may cost a
client as long as it takes to time out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.upstreams import Ejection, HealthCheck

NEVER: Final = float("inf")
STATES: Final = ("serving", "failing", "ejected", "unhealthy")


class Condition:
    """How one address is doing. While it is not *watched*, nothing is known against it, and answers need no look."""

    __slots__ = (
        "due",
        "ejected",
        "ejections",
        "failing",
        "failures",
        "found_well",
        "healthy",
        "on_trial",
        "recovered",
        "streak",
        "watched",
    )

    def __init__(self, *, watched: bool = False) -> None:
        """Begin in good standing."""
        self.failures = 0
        self.failing = False
        self.ejected = False
        self.ejections = 0
        self.due = NEVER
        self.recovered = -NEVER
        self.on_trial = False
        self.healthy = True
        self.streak = 0
        self.found_well = False
        self.watched = watched

    def inherit(self, before: Condition) -> None:
        """Begin where *before* is, which the same address had under settings that are no longer in force."""
        self.failures, self.failing, self.recovered = before.failures, before.failing, before.recovered
        self.ejected, self.ejections, self.due = before.ejected, before.ejections, before.due
        self.healthy, self.streak, self.found_well = before.healthy, before.streak, before.found_well
        self.watched = self.watched or before.watched

    @property
    def state(self) -> str:
        """One of STATES; what is failing may get requests all the same, because too many others do as well."""
        if not self.healthy:
            return "unhealthy"
        if self.ejected:
            return "ejected"
        return "failing" if self.failing else "serving"


C = TypeVar("C", bound=Condition)


class Rotation:
    """Judges addresses by *rules*. All times are seconds on one clock that never goes back."""

    __slots__ = ("_checks", "_probe_due", "_probe_s", "_rules", "_turn")

    def __init__(self, rules: Ejection, probe_s: float, *, checks: bool = False) -> None:
        """While all fail, let one request through every *probe_s*. Active *checks* come before any trial."""
        self._rules = rules
        self._checks = checks
        self._probe_s = probe_s
        self._probe_due = -NEVER
        self._turn = 0

    @staticmethod
    def all_fail(everyone: Sequence[Condition]) -> bool:
        """Say whether nobody answers as it should."""
        return all(one.failing or not one.healthy for one in everyone)

    def is_open(self, everyone: Sequence[Condition]) -> bool:
        """Say whether there is nobody to send requests to."""
        if self._rules.circuit_breaker:
            return self.all_fail(everyone)
        return not any(one.healthy for one in everyone)

    def usable(self, everyone: Sequence[C]) -> list[C]:
        """List those that get requests: none while the rotation is open."""
        if self.is_open(everyone):
            return []
        return [one for one in everyone if one.healthy and (not one.ejected or self.all_fail(everyone))]

    def failed(self, one: Condition, everyone: Sequence[Condition], now: float) -> bool:
        """Count a failure of *one*, and say whether that ejected it."""
        was_open = self.is_open(everyone)
        on_trial, one.on_trial = one.on_trial, False
        one.watched = True
        one.found_well = False
        one.failures += 1
        if one.failures < self._rules.consecutive_failures and not on_trial:
            return False
        one.failing = True
        if self.is_open(everyone) and not was_open:
            self._probe_due = now + self._probe_s
        if (one.ejected and not on_trial) or not self._may_eject(one, everyone):
            return False
        if now - one.recovered > self._rules.longest_s:
            one.ejections = 0
        one.ejected = True
        one.due = now + min(self._rules.first_s * 2.0 ** min(one.ejections, 32), self._rules.longest_s)
        one.ejections += 1
        one.recovered = NEVER
        return True

    def succeeded(self, one: Condition, now: float) -> None:
        """Take *one* back: it has answered."""
        if one.failing:
            one.recovered = now
        one.failures = 0
        one.failing = one.ejected = one.on_trial = False
        one.due = NEVER
        one.watched = not one.healthy or self._rules.server_errors

    @staticmethod
    def given_up(one: Condition) -> None:
        """End a trial without an outcome: the client went away."""
        one.on_trial = False

    def trial(self, everyone: Sequence[C], now: float) -> C | None:
        """Give the one that the next request should be tried on, if there is one whose time has come."""
        willing = [one for one in everyone if one.failing and self._may_be_tried(one)]
        if self.is_open(everyone):
            if not willing or now < self._probe_due or any(one.on_trial for one in everyone):
                return None
            self._probe_due = now + self._probe_s
            self._turn += 1
            chosen = willing[self._turn % len(willing)]
        else:
            due = [one for one in willing if one.ejected and one.due <= now]
            if not due or self.all_fail(everyone):
                return None
            chosen = due[0]
        chosen.on_trial = chosen.watched = True
        return chosen

    def next_trial(self, everyone: Sequence[Condition]) -> float:
        """Give when somebody's time has come, NEVER if nobody waits for it. While open, whoever asks is told."""
        if self.all_fail(everyone):
            return NEVER
        return min((one.due for one in everyone if one.ejected and self._may_be_tried(one)), default=NEVER)

    def checked(self, one: Condition, *, well: bool, rules: HealthCheck, now: float) -> bool:
        """Count an active check of *one*, and say whether that changed what it is taken for."""
        if (one.streak > 0) != well:
            one.streak = 0
        one.streak += 1 if well else -1
        one.found_well = well
        if one.healthy and -one.streak >= rules.unhealthy_after:
            one.healthy, one.watched = False, True
            return True
        if not one.healthy and one.streak >= rules.healthy_after:
            one.healthy = True
            self.succeeded(one, now)
            return True
        return False

    def _may_be_tried(self, one: Condition) -> bool:
        return one.healthy and not one.on_trial and (one.found_well or not self._checks)

    def _may_eject(self, one: Condition, everyone: Sequence[Condition]) -> bool:
        out = sum(other.ejected for other in everyone if other is not one) + 1
        return out < len(everyone) and out * 100 <= self._rules.max_percent * len(everyone)
