"""Exposition: the numbers of all workers as one page in the Prometheus format."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from gateway.telemetry.counters import read_all
from gateway.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from prometheus_client.core import Metric as Family

    from gateway.telemetry.metrics import Metric

_MERGES: Mapping[str, Callable[[list[float]], float]] = {"sum": sum, "min": min, "max": max}


class WorkersCollector(Collector):
    """Reads every worker's counter file at each scrape and adds them up."""

    def __init__(self, directory: Path) -> None:
        """Collect from the files in *directory*."""
        self._directory = directory

    def collect(self) -> Iterator[Family]:
        """Give every declared metric, also those that have not been counted yet."""
        series: dict[str, dict[tuple[str, ...], list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
        for rows in read_all(self._directory):
            for name, numbers in rows.items():
                metric, *values = json.loads(name)
                series[metric][tuple(values)].append(numbers)
        for declared in METRICS:
            yield _family(declared, series[declared.name])


def _family(metric: Metric, series: dict[tuple[str, ...], list[tuple[float, ...]]]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for values, rows in series.items():
            totals = [sum(column) for column in zip(*rows, strict=True)]
            buckets: list[tuple[str, float]] = []
            running = 0.0
            for bound, count in zip((*metric.buckets, float("inf")), totals, strict=False):
                running += count
                buckets.append(("+Inf" if bound == float("inf") else repr(bound), running))
            histogram.add_metric(values, buckets, totals[-1])
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    if not metric.labels and not series:
        series = {(): [(0.0,)]}
    for values, rows in series.items():
        # Not a number is a gauge of a worker that has ended.
        if numbers := [row[0] for row in rows if not math.isnan(row[0])]:
            family.add_metric(values, _MERGES[metric.merge](numbers))
    return family


def exposition(directory: Path) -> bytes:
    """Write the page (text format 0.0.4)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WorkersCollector(directory))
    return generate_latest(registry)
