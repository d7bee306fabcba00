"""Counting: what a worker adds up, in plain lists that are copied to shared memory once a second and when asked.

What every request counts is in the lists only until `publish`: a worker that is killed takes the last second of it
along. No usage event is lost with it; those are in the journal.
"""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.telemetry import metrics
from gateway.telemetry.counters import CounterFile

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.core.events import UsageEvent
    from gateway.telemetry.metrics import Metric

_Row = tuple[list[float], "memoryview[float]"]
"""Numbers as they are counted, and where they are shared."""

OTHER_METHOD: Final = "other"
NO_ROUTE: Final = "none"
CLIENT_GONE_STATUS: Final = 499
"""Counts for requests whose client went away unanswered."""
UNKNOWN_STATUS: Final = "unknown"
"""The class of a status that another proxy did not tell of."""


def _unanswered(event: UsageEvent) -> int:
    """Give what an event without a status counts as; 0 is not known, because another proxy answered."""
    return CLIENT_GONE_STATUS if event.mode == "proxy" else 0


def series_name(metric: Metric, values: tuple[str, ...]) -> str:
    """Name one series in a counter file: the metric and its label values, as JSON."""
    return json.dumps([metric.name, *values], separators=(",", ":"))


class Histogram:
    """Counts observations by bucket: the buckets, one for all above, then the sum."""

    __slots__ = ("_buckets", "_row", "_sum_at")

    def __init__(self, row: list[float], buckets: tuple[float, ...]) -> None:
        """Count in *row*, which has two numbers more than there are buckets."""
        self._row = row
        self._buckets = buckets
        self._sum_at = len(buckets) + 1

    def observe(self, value: float) -> None:
        """Add an observation."""
        row = self._row
        row[bisect_left(self._buckets, value)] += 1.0
        row[self._sum_at] += value


@dataclass(slots=True)
class _Meters:
    """The series that a request of one route, method, class of status and outcome counts in."""

    requests: list[float]
    bytes_in: list[float]
    bytes_out: list[float]
    overhead: Histogram
    upstream: Histogram | None


class Telemetry:
    """The numbers of one worker. Series are made when they are first counted, and remembered."""

    def __init__(self, path: Path) -> None:
        """Count in the file at *path*."""
        self._file = CounterFile(path)
        self._meters: dict[tuple[str, str, int, str], _Meters] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}
        self._rows: dict[tuple[str, tuple[str, ...]], _Row] = {}
        self._shared: dict[str, _Row] = {}

    def request(self, event: UsageEvent) -> None:
        """Count a request; one that its upstream answered also by its times."""
        key = (event.route, event.method, (event.status or _unanswered(event)) // 100, event.outcome)
        meters = self._meters.get(key)
        if meters is None:
            meters = self._make_meters(event)
            if event.method in metrics.METHODS:
                self._meters[key] = meters
        meters.requests[0] += 1.0
        meters.bytes_in[0] += event.bytes_in
        meters.bytes_out[0] += event.bytes_out
        upstream_us = event.upstream_us
        if upstream_us is not None and meters.upstream is not None:
            own_us = event.duration_us - upstream_us
            meters.overhead.observe(own_us / 1_000_000 if own_us > 0 else 0.0)
            meters.upstream.observe(upstream_us / 1_000_000)

    def _make_meters(self, event: UsageEvent) -> _Meters:
        # The client's own word for a method is not a label: there is no end of those.
        known = event.method if event.method in metrics.METHODS else OTHER_METHOD
        route, upstream, status = event.route, event.upstream, event.status or _unanswered(event)
        return _Meters(
            self.counter(
                metrics.REQUESTS, route, known, f"{status // 100}xx" if status else UNKNOWN_STATUS, event.outcome
            ),
            self.counter(metrics.REQUEST_BYTES, route),
            self.counter(metrics.RESPONSE_BYTES, route),
            self.histogram(metrics.OVERHEAD, route),
            None if upstream is None else self.histogram(metrics.UPSTREAM_SECONDS, upstream),
        )

    def histogram(self, metric: Metric, label: str = "") -> Histogram:
        """Give a histogram with one label, or without any."""
        histogram = self._histograms.get((metric.name, label))
        if histogram is None:
            row, _ = self._share(series_name(metric, (label,) if metric.labels else ()), len(metric.buckets) + 2)
            histogram = self._histograms[metric.name, label] = Histogram(row, metric.buckets)
        return histogram

    def counter(self, metric: Metric, *values: str) -> list[float]:
        """Give the one number of a series, to be added to in place."""
        return self._row(metric, values)[0]

    def add(self, metric: Metric, amount: float, *values: str) -> None:
        """Add to a counter, for all to see at once."""
        counted, shared = self._row(metric, values)
        counted[0] += amount
        shared[0] = counted[0]

    def set(self, metric: Metric, value: float, *values: str) -> None:
        """Set a gauge, or a counter that is counted elsewhere, for all to see at once."""
        counted, shared = self._row(metric, values)
        counted[0] = shared[0] = value

    def publish(self) -> None:
        """Show all workers what has been counted."""
        for row, shared in self._shared.values():
            shared[:] = memoryview(array("d", row))

    def forget_routes(self) -> None:
        """Look anew which series a request counts in: what its route is has changed."""
        self._meters.clear()

    def forget_gauges(self, prefix: str, value: str) -> None:
        """Let the gauges whose names begin with *prefix* say nothing of *value*, their first label, until set again."""
        for (metric, values), (row, shared) in self._rows.items():
            if metric in metrics.GAUGES and metric.startswith(prefix) and values[0] == value:
                row[0] = shared[0] = math.nan

    def close(self) -> None:
        """Let the file go; its counters go on counting for the sums, its gauges say nothing any more."""
        for (metric, _), (row, _) in self._rows.items():
            if metric in metrics.GAUGES:
                row[0] = math.nan
        self.publish()
        self._shared.clear()
        self._file.close()

    def _row(self, metric: Metric, values: tuple[str, ...]) -> _Row:
        key = (metric.name, values)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._share(series_name(metric, values), 1)
        return row

    def _share(self, name: str, count: int) -> _Row:
        """Make a row that goes on from what is shared under its name."""
        shared = self._file.row(name, count)
        row = self._shared[name] = ([float(number) for number in shared], shared)
        return row
