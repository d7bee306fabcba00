"""The runbook has a heading for every refusal, fault and alert, and for nothing that is gone."""

from __future__ import annotations

import ast
import dataclasses
import re
from functools import cache
from typing import Any, get_args

import pytest
import yaml

from gateway.core.bucket import Limit, Standing, Taken
from gateway.core.decision import Denial
from gateway.core.denials import refuse
from tests.house.tree import TOP, headings

ALERTS = TOP / "deploy" / "prometheus" / "alerts.yml"
RUNBOOK = (TOP / "deploy" / "RUNBOOK.md").read_text()
FAULT_PLACES = ("gateway/ports.py", "gateway/adapters")
FAULT_ROOTS = {"Fault", "UpstreamFault", "JournalError", "SecretUnreadable"}
"""The exceptions that a fault is, or is a kind of; other exceptions of adapters refuse a wish."""
_TAKEN = Taken(admitted=False, now_ms=0, standings=(Standing(Limit("hourly", 5, 3_600_000), 0, 1, 1),))
SAMPLES: dict[str, Any] = {
    "reason": "two readings",
    "allowed": ("GET",),
    "prefix": "bk_live_0000",
    "expired_at": 0.0,
    "address": "192.0.2.1",
    "required": "READ",
    "in_api_key": True,
    "granted": (),
    "taken": _TAKEN,
    "limit": 1,
    "upstream": "budgets",
}
"""A value for every field that a denial has, by name."""


def denial_codes() -> set[str]:
    """The codes of all denials of the data plane."""
    denials = [
        kind(**{field.name: SAMPLES[field.name] for field in dataclasses.fields(kind)}) for kind in get_args(Denial)
    ]
    return {refuse(denial).code for denial in denials}


def refusal_codes(source: str) -> set[str]:
    """The codes that a module gives to `Refusal(status, code, ...)` itself."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    codes = [
        ast.literal_eval(call.args[1])
        for call in calls
        if ast.unparse(call.func) == "Refusal" and len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
    ]
    return set(codes)


def fault_names(sources: list[str], roots: set[str]) -> set[str]:
    """The exceptions among *roots* and below them, those left out that only group others."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    }
    assert not roots - set(bases), f"{roots - set(bases)} is gone"
    faults = set(roots)
    while grown := {name for name, parents in bases.items() if parents & faults} - faults:
        faults |= grown
    return faults - set().union(*bases.values())


def alert_names() -> set[str]:
    """The alerts of deploy/prometheus/alerts.yml."""
    rules = yaml.safe_load(ALERTS.read_text())
    return {rule["alert"] for group in rules["groups"] for rule in group["rules"]}


def sources(*places: str) -> list[str]:
    """The Python sources at *places*, directories with all that is below them."""
    paths = [
        path for place in places for path in ((TOP / place).rglob("*.py") if (TOP / place).is_dir() else [TOP / place])
    ]
    return [path.read_text() for path in paths]


@cache
def expected_headings() -> dict[str, set[str]]:
    """What the runbook must have, by kind."""
    own = set().union(*(refusal_codes(source) for source in sources("gateway")))
    return {
        "refusals": denial_codes() | own,
        "faults": fault_names(sources(*FAULT_PLACES), FAULT_ROOTS),
        "alerts": alert_names(),
    }


@pytest.mark.parametrize("kind", ["refusals", "faults", "alerts"])
def test_the_runbook_has_a_heading_for_each(kind: str) -> None:
    assert sorted(expected_headings()[kind] - headings(RUNBOOK)) == []


def test_the_runbook_has_no_heading_for_what_is_gone() -> None:
    assert sorted(headings(RUNBOOK) - set().union(*expected_headings().values())) == []


def test_every_part_of_the_runbook_says_the_cause_and_what_to_do() -> None:
    parts = re.split(r"^###+ ", RUNBOOK, flags=re.MULTILINE)[1:]
    lacking = [
        part.splitlines()[0] for part in parts for word in ("**Cause:**", "**Check:**", "**Do:**") if word not in part
    ]
    assert lacking == []


def test_codes_of_refusals_and_names_of_faults_are_found_in_source() -> None:
    assert refusal_codes('Refusal(409, "conflict", "x")\nRefusal(status, code, "x")\nOther(1, "no")') == {"conflict"}
    source = (
        "class Group(Exception): ...\nclass Down(Group): ...\nclass Alone(Exception): ...\nclass Wish(Exception): ..."
    )
    assert fault_names([source], {"Group", "Alone"}) == {"Down", "Alone"}
