"""Counting: what a worker adds up, in plain rows of shared memory, a few tens of nanoseconds a number."""

from __future__ import annotations

import json
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from gateway.telemetry import metrics
from gateway.telemetry.counters import CounterFile

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.telemetry.metrics import Metric

OTHER_METHOD: Final = "other"
NO_ROUTE: Final = "none"


def series_name(metric: Metric, values: tuple[str, ...]) -> str:
    """Name one series in a counter file: the metric and its label values, as JSON."""
    return json.dumps([metric.name, *values], separators=(",", ":"))


class Histogram:
    """Counts observations by bucket: the buckets, one for all above, then the sum."""

    __slots__ = ("_buckets", "_row", "_sum_at")

    def __init__(self, row: memoryview[float], buckets: tuple[float, ...]) -> None:
        """Count in *row*, which has two numbers more than there are buckets."""
        self._row = row
        self._buckets = buckets
        self._sum_at = len(buckets) + 1

    def observe(self, value: float) -> None:
        """Add an observation."""
        self._row[bisect_left(self._buckets, value)] += 1.0
        self._row[self._sum_at] += value


class Telemetry:
    """The numbers of one worker. Series are made when they are first counted, and remembered."""

    def __init__(self, path: Path) -> None:
        """Count in the file at *path*."""
        self._file = CounterFile(path)
        self._requests: dict[tuple[str, str, int, str], memoryview[float]] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}
        self._rows: dict[tuple[str, tuple[str, ...]], memoryview[float]] = {}

    def request(self, route: str, method: str, status: int, outcome: str) -> None:
        """Count an answered request."""
        key = (route, method, status // 100, outcome)
        row = self._requests.get(key)
        if row is None:
            known = method if method in metrics.METHODS else OTHER_METHOD
            values = (route, known, f"{status // 100}xx", outcome)
            row = self._requests[key] = self._file.row(series_name(metrics.REQUESTS, values), 1)
            if known is OTHER_METHOD:
                # Not remembered under the client's own word for it: there is no end of those.
                del self._requests[key]
        row[0] += 1.0

    def observe(self, metric: Metric, label: str, seconds: float) -> None:
        """Add an observation to a histogram with one label (or "" for one without)."""
        histogram = self._histograms.get((metric.name, label))
        if histogram is None:
            name = series_name(metric, (label,) if metric.labels else ())
            row = self._file.row(name, len(metric.buckets) + 2)
            histogram = self._histograms[metric.name, label] = Histogram(row, metric.buckets)
        histogram.observe(seconds)

    def add(self, metric: Metric, amount: float, *values: str) -> None:
        """Add to a counter."""
        self._row(metric, values)[0] += amount

    def set(self, metric: Metric, value: float, *values: str) -> None:
        """Set a gauge, or a counter that is counted elsewhere."""
        self._row(metric, values)[0] = value

    def _row(self, metric: Metric, values: tuple[str, ...]) -> memoryview[float]:
        key = (metric.name, values)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._file.row(series_name(metric, values), 1)
        return row

    def close(self) -> None:
        """Let the file go."""
        self._file.close()
