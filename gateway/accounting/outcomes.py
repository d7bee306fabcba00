"""Outcomes: what proxies report of requests that were decided on here, brought into the journal.

Whose journal that is does not matter: the event may be another worker's or instance's, or not stored yet. Postgres
completes each event once, and what is reported again changes nothing, so a proxy may report as often as it likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from gateway.core.outcomes import (
    AHEAD_S,
    LATE_S,
    NUMBER_MAX,
    STATUS_MAX,
    STATUS_MIN,
    Outcome,
    began_at,
    encode,
    read_report,
)
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.accounting.moments import Moments
    from gateway.adapters.journal import Journal
    from gateway.telemetry.telemetry import Telemetry

Taken = Literal["accepted", "malformed", "late", "dropped"]
RESULTS: Final[tuple[Taken, ...]] = ("accepted", "malformed", "late", "dropped")
REPORTS_PER_S_MAX: Final = 20_000
"""Of one worker: more than it can decide on in that time."""


class Outcomes:
    """Takes reports; each is counted by what became of it."""

    def __init__(self, journal: Journal, telemetry: Telemetry, moments: Moments) -> None:
        """Write to *journal*."""
        self._journal = journal
        self._moments = moments
        self._counters = {result: telemetry.counter(metrics.OUTCOME_REPORTS, result) for result in RESULTS}
        self._second = 0
        self._in_second = 0

    def report(
        self,
        event_id: str,
        status: int,
        duration_us: int,
        bytes_in: int | None,
        bytes_out: int | None,
        upstream_us: int | None,
    ) -> Taken:
        """Record how the request of the usage event *event_id* ended, by the end of this loop turn, and say whether.

        *event_id* is what a decision calls X-Gateway-Event-Id. Times are in microseconds, bytes those of bodies; what
        is None is not known. It is `malformed` when no event can have that id or such numbers, `late` a day after the
        request, and `dropped` when the journal has no room or too much is reported at once; then it may come again.
        """
        numbers = [number for number in (duration_us, bytes_in, bytes_out, upstream_us) if number is not None]
        sound = STATUS_MIN <= status <= STATUS_MAX and min(numbers) >= 0 and max(numbers) <= NUMBER_MAX
        taken = self._judge(event_id) if sound else "malformed"
        if taken == "accepted":
            self._journal.append(encode(Outcome(event_id, status, duration_us, bytes_in, bytes_out, upstream_us)))
        self._counters[taken][0] += 1.0
        return taken

    def report_line(self, line: bytes) -> Taken:
        """Record what a line of JSON reports."""
        report = read_report(line)
        if report is None:
            self._counters["malformed"][0] += 1.0
            return "malformed"
        upstream_us = None if report.upstream_seconds is None else round(report.upstream_seconds * 1_000_000)
        duration_us = round(report.seconds * 1_000_000)
        return self.report(report.id, report.status, duration_us, report.bytes_in, report.bytes_out, upstream_us)

    def flush(self) -> None:
        """Write what was recorded now, for an answer that says so."""
        self._journal.flush()

    def _judge(self, event_id: str) -> Taken:
        now, began = self._moments.now(), began_at(event_id)
        if began is None or began > now + AHEAD_S:
            return "malformed"
        if began < now - LATE_S:
            return "late"
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        self._in_second += 1
        return "dropped" if self._in_second > REPORTS_PER_S_MAX or self._journal.full else "accepted"
