"""Every metric is explained and shown, and what dashboards and alerts name exists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from deploy.dashboards import dashboard_problems, exported_series, rule_problems, untested_alerts
from gateway.telemetry.metrics import METRICS, Metric
from tests.house.tree import TOP

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARDS = sorted((TOP / "deploy" / "grafana" / "dashboards").glob("*.json"))
PROMETHEUS = TOP / "deploy" / "prometheus"
EXPORTED = exported_series(METRICS)


def unused(metrics: tuple[Metric, ...], texts: list[str]) -> list[str]:
    """The metrics that none of *texts* names."""
    return [metric.name for metric in metrics if not any(metric.name in text for text in texts)]


def test_there_is_a_dashboard() -> None:
    assert DASHBOARDS


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_shows_only_metrics_that_are_exported(path: Path) -> None:
    assert dashboard_problems(path.name, json.loads(path.read_text()), EXPORTED) == []


def test_alerts_are_about_metrics_that_are_exported_and_are_tested() -> None:
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    assert rule_problems(rules, EXPORTED) == []
    assert untested_alerts(rules, yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text())) == []


def test_every_metric_is_on_a_dashboard() -> None:
    assert unused(METRICS, [path.read_text() for path in DASHBOARDS]) == []


def test_a_metric_that_nobody_shows_is_found() -> None:
    metrics = (Metric("gateway_shown_total", "counter", "Shown."), Metric("gateway_hidden", "gauge", "Hidden."))
    assert unused(metrics, ["rate(gateway_shown_total[1m])"]) == ["gateway_hidden"]


def test_every_metric_says_what_it_is_in_a_sentence() -> None:
    assert [metric.name for metric in METRICS if not metric.help.endswith(".")] == []


def test_every_metric_says_what_it_counts_and_in_which_unit_by_its_name() -> None:
    endings = {"counter": ("_total",), "histogram": ("_seconds", "_bytes")}
    wrong = [metric.name for metric in METRICS if not metric.name.endswith(endings.get(metric.kind, ("",)))]
    assert wrong == []
