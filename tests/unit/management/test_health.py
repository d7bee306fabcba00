"""Readiness is about taking traffic: what can be done without does not take an instance out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.management.health import Health

if TYPE_CHECKING:
    from collections.abc import Sequence


def health(*lacking: str, away: Sequence[str] = ()) -> Health:
    def upstreams() -> dict[str, dict[str, Any]]:
        return {name: {"status": "away" if name in away else "serving", "targets": {}} for name in ("a", "b")}

    return Health(checks={}, was_reached=lambda: True, upstreams=upstreams, lacking=lambda: list(lacking))


def test_an_instance_with_all_its_upstreams_is_ready() -> None:
    assert health().ready
    assert health().report()["status"] == "ready"


def test_an_upstream_that_is_away_leaves_the_instance_ready_and_is_named() -> None:
    report = health(away=["b"]).report()
    assert report["status"] == "degraded"
    assert report["reasons"] == {"upstreams": "no address can be used of b"}
    assert report["upstreams"]["b"]["status"] == "away"
    assert health(away=["b"]).ready


def test_one_that_is_required_makes_the_instance_unready() -> None:
    assert not health("b", away=["b"]).ready
    assert health("b", away=["b"]).report()["status"] == "unready"
