"""Readiness is about taking traffic: what can be done without does not take an instance out."""

from __future__ import annotations

from gateway.management.health import Health


def health(*away: str, required: bool = False) -> Health:
    upstreams = {
        name: {"status": "away" if name in away else "serving", "required": required, "targets": {}}
        for name in ("a", "b")
    }
    return Health(checks={}, was_reached=lambda: True, upstreams=lambda: upstreams)


def test_an_instance_with_all_its_upstreams_is_ready() -> None:
    assert health().ready
    assert health().report()["status"] == "ready"


def test_an_upstream_that_is_away_leaves_the_instance_ready_and_is_named() -> None:
    report = health("b").report()
    assert report["status"] == "degraded"
    assert report["reasons"] == {"upstreams": "no address can be used of b"}
    assert report["upstreams"]["b"]["status"] == "away"
    assert health("b").ready


def test_one_that_is_required_makes_the_instance_unready() -> None:
    assert not health("b", required=True).ready
    assert health("b", required=True).report()["status"] == "unready"
