"""What must be true of dashboards and rules, as far as it can be told without Grafana and Prometheus.

Each function gives problems as sentences; none means that all is well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.telemetry.metrics import Metric

_OURS: Final = re.compile(r"\bgateway_\w+")
_GROUPED: Final = re.compile(r"\b(?:by|on|without) \(([^)]*)\)")
_MATCHED: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_HISTOGRAM_SUFFIXES: Final = ("_bucket", "_count", "_sum")
_EVERYWHERE: Final = frozenset({"instance", "job"})
_VARIABLES: Final = (("$__rate_interval", "1m"), ("$__interval", "1m"), ("$__range", "1h"), ("$instance", ".*"))


def exported_series(metrics: Iterable[Metric]) -> dict[str, frozenset[str]]:
    """Name the series that *metrics* become, each with its labels: a histogram has three, one of them with `le`."""
    series: dict[str, frozenset[str]] = {}
    for metric in metrics:
        labels = _EVERYWHERE | set(metric.labels)
        for suffix in _HISTOGRAM_SUFFIXES if metric.kind == "histogram" else ("",):
            series[metric.name + suffix] = labels | {"le"} if suffix == "_bucket" else labels
    return series


def unknown_names(where: str, expression: str, exported: Mapping[str, frozenset[str]]) -> list[str]:
    """Say which metrics of ours *expression* names that are not *exported*, and which labels none of them has."""
    named = set(_OURS.findall(expression))
    unknown = sorted(named - set(exported))
    labels = {label.strip() for group in _GROUPED.findall(expression) for label in group.split(",")}
    labels |= set(_MATCHED.findall(expression))
    known = _EVERYWHERE.union(*(exported.get(name, ()) for name in named))
    return [
        f"{where}: {name} is not exported; expected a metric of gateway/telemetry/metrics.py" for name in unknown
    ] + [f"{where}: no metric here has the label {label}" for label in sorted(labels - known) if not unknown]


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give the panels that show something, those in rows as well."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panels(panel)
        else:
            yield panel


def expressions(dashboard: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List (title of the panel, PromQL), with Grafana's variables filled in."""
    found = [(panel["title"], target["expr"]) for panel in panels(dashboard) for target in panel["targets"]]
    for variable, value in _VARIABLES:
        found = [(title, expression.replace(variable, value)) for title, expression in found]
    return found


def dashboard_problems(name: str, dashboard: Mapping[str, Any], exported: Mapping[str, frozenset[str]]) -> list[str]:
    """Check that every panel says what it shows, in which unit, of the chosen instances, from metrics that exist."""
    problems: list[str] = []
    for panel in panels(dashboard):
        where = f"{name}: panel {panel['title']!r}"
        if not panel.get("description"):
            problems.append(f"{where} has no description")
        if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
            problems.append(f"{where} has no unit")
        if not panel.get("targets"):
            problems.append(f"{where} shows nothing")
        for target in panel.get("targets", ()):
            problems += unknown_names(where, target["expr"], exported)
            if "$instance" not in target["expr"]:
                problems.append(f"{where} ignores the variable $instance")
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        problems.append(f"{name}: two panels share an id")
    return problems


def rule_problems(rules: Mapping[str, Any], exported: Mapping[str, frozenset[str]]) -> list[str]:
    """Check that every alert is about metrics that exist, and says how bad it is, what is wrong and what to read."""
    problems: list[str] = []
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        where = f"alert {rule['alert']}"
        problems += unknown_names(where, rule["expr"], exported)
        if rule.get("labels", {}).get("severity") not in {"warning", "critical"}:
            problems.append(f"{where}: severity is not warning or critical")
        expected = f"RUNBOOK.md#{rule['alert'].lower()}"
        if rule.get("annotations", {}).get("runbook") != expected:
            problems.append(f"{where}: annotation runbook is not {expected}")
        if not rule.get("annotations", {}).get("summary"):
            problems.append(f"{where} has no summary")
    return problems


def untested_alerts(rules: Mapping[str, Any], tests: Mapping[str, Any]) -> list[str]:
    """Check that the rule tests make every alert fire once at least, and keep it silent once at least."""
    fired: set[str] = set()
    silent: set[str] = set()
    for case in (case for test in tests["tests"] for case in test["alert_rule_test"]):
        (fired if case["exp_alerts"] else silent).add(case["alertname"])
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    return [f"alert {name}: no test in which it fires" for name in alerts if name not in fired] + [
        f"alert {name}: no test in which it is silent" for name in alerts if name not in silent
    ]
