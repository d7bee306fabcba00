"""What deploy/check.py can say about dashboards and rules, on planted faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy.check import tool
from deploy.dashboards import (
    dashboard_problems,
    exported_series,
    expressions,
    panels,
    rule_problems,
    unknown_names,
    untested_alerts,
)
from gateway.telemetry.metrics import DENIALS, OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPORTED = exported_series([DENIALS, OVERHEAD])


def a_panel(**changes: object) -> dict[str, Any]:
    """A panel with nothing wrong, but for *changes*."""
    panel: dict[str, Any] = {
        "id": 1,
        "type": "timeseries",
        "title": "Denials",
        "description": "Requests refused.",
        "fieldConfig": {"defaults": {"unit": "reqps"}},
        "targets": [{"expr": 'rate(gateway_denials_total{instance=~"$instance"}[$__rate_interval])'}],
    }
    return {**panel, **changes}


def a_rule(**changes: object) -> dict[str, Any]:
    """An alert with nothing wrong, but for *changes*."""
    rule: dict[str, Any] = {
        "alert": "GatewayDenies",
        "expr": "gateway_denials_total > 0",
        "labels": {"severity": "warning"},
        "annotations": {"summary": "It denies", "runbook": "RUNBOOK.md#gatewaydenies"},
    }
    return {**rule, **changes}


def rules_of(*rules: Mapping[str, Any]) -> dict[str, Any]:
    """A rules file."""
    return {"groups": [{"name": "gateway", "rules": list(rules)}]}


def test_a_histogram_is_exported_as_buckets_count_and_sum_and_not_by_its_own_name() -> None:
    assert {
        "gateway_denials_total": {"instance", "job", "reason"},
        "gateway_request_overhead_seconds_bucket": {"instance", "job", "route", "le"},
        "gateway_request_overhead_seconds_count": {"instance", "job", "route"},
        "gateway_request_overhead_seconds_sum": {"instance", "job", "route"},
    } == EXPORTED


@pytest.mark.parametrize(
    "expression",
    ["sum by (code) (gateway_denials_total)", 'gateway_denials_total{code="x"}', 'gateway_denials_total{le!="1"}'],
)
def test_a_label_that_the_metric_does_not_have_is_named_with_its_place(expression: str) -> None:
    (problem,) = unknown_names("alert A", expression, EXPORTED)
    assert problem in {f"alert A: no metric here has the label {label}" for label in ("code", "le")}


def test_labels_that_the_metric_has_are_not_complained_about() -> None:
    expression = 'sum by (instance, reason) (rate(gateway_denials_total{instance=~"$instance", reason!="x"}[1m]))'
    assert unknown_names("alert A", expression, EXPORTED) == []


def test_a_metric_that_is_not_exported_is_named_with_its_place() -> None:
    (problem,) = unknown_names("panel 'Denials'", "rate(gateway_denials_totals[1m]) / gateway_denials_total", EXPORTED)
    assert "panel 'Denials'" in problem
    assert "gateway_denials_totals is not exported" in problem


def test_a_panel_without_fault_is_not_complained_about() -> None:
    assert dashboard_problems("x.json", {"panels": [a_panel()]}, EXPORTED) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"description": ""}, "has no description"),
        ({"fieldConfig": {"defaults": {}}}, "has no unit"),
        ({"targets": []}, "shows nothing"),
        ({"targets": [{"expr": "gateway_denials_total"}]}, "ignores the variable $instance"),
        ({"targets": [{"expr": 'gateway_gone{instance=~"$instance"}'}]}, "gateway_gone is not exported"),
    ],
)
def test_a_faulty_panel_is_complained_about(changes: dict[str, object], complaint: str) -> None:
    (problem,) = dashboard_problems("x.json", {"panels": [a_panel(**changes)]}, EXPORTED)
    assert "x.json: panel 'Denials'" in problem
    assert complaint in problem


def test_two_panels_with_one_id_are_complained_about() -> None:
    (problem,) = dashboard_problems("x.json", {"panels": [a_panel(), a_panel()]}, EXPORTED)
    assert problem == "x.json: two panels share an id"


def test_panels_inside_a_collapsed_row_are_found() -> None:
    dashboard = {"panels": [{"type": "row", "title": "Row", "panels": [a_panel()]}]}
    assert [panel["title"] for panel in panels(dashboard)] == ["Denials"]


def test_the_variables_of_grafana_are_filled_in() -> None:
    assert expressions({"panels": [a_panel()]}) == [("Denials", 'rate(gateway_denials_total{instance=~".*"}[1m])')]


def test_an_alert_without_fault_is_not_complained_about() -> None:
    assert rule_problems(rules_of(a_rule()), EXPORTED) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"expr": "gateway_gone > 0"}, "gateway_gone is not exported"),
        ({"labels": {}}, "severity"),
        ({"labels": {"severity": "bad"}}, "severity"),
        ({"annotations": {"summary": "It denies", "runbook": "RUNBOOK.md#other"}}, "runbook"),
        ({"annotations": {"runbook": "RUNBOOK.md#gatewaydenies"}}, "has no summary"),
    ],
)
def test_a_faulty_alert_is_complained_about(changes: dict[str, object], complaint: str) -> None:
    (problem,) = rule_problems(rules_of(a_rule(**changes)), EXPORTED)
    assert "alert GatewayDenies" in problem
    assert complaint in problem


def test_an_alert_has_to_be_tested_both_firing_and_silent() -> None:
    fires = {"alertname": "GatewayDenies", "exp_alerts": [{"exp_labels": {}}]}
    silent = {"alertname": "GatewayDenies", "exp_alerts": []}
    rules = rules_of(a_rule())
    assert untested_alerts(rules, {"tests": [{"alert_rule_test": [fires, silent]}]}) == []
    assert untested_alerts(rules, {"tests": [{"alert_rule_test": [fires]}]}) == [
        "alert GatewayDenies: no test in which it is silent"
    ]
    assert untested_alerts(rules, {"tests": [{"alert_rule_test": [silent]}]}) == [
        "alert GatewayDenies: no test in which it fires"
    ]


def test_a_missing_tool_is_reported_with_where_it_comes_from() -> None:
    with pytest.raises(FileNotFoundError, match=r"no-such-linter is missing: pip install -r requirements-dev\.txt"):
        tool("no-such-linter")
