"""The figures of upstreams: how their targets are doing, and what happened since they were last published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.rotation import STATES
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.adapters.http.upkeep import Counts
    from gateway.adapters.http.upstream import Upstream
    from gateway.telemetry.telemetry import Telemetry


def publish_upstream(name: str, upstream: Upstream, telemetry: Telemetry) -> None:
    """Copy the figures now."""
    telemetry.set(metrics.UPSTREAM_CONNECTIONS, upstream.idle_count, name, "idle")
    telemetry.set(metrics.UPSTREAM_CONNECTIONS, upstream.busy_count, name, "busy")
    telemetry.set(metrics.UPSTREAM_QUEUED, upstream.queued, name)
    telemetry.set(metrics.UPSTREAM_AWAY, upstream.is_away, name)
    for target, addresses in upstream.endpoints.by_target().items():
        for state in STATES:
            count = sum(one.state == state for one in addresses)
            telemetry.set(metrics.UPSTREAM_ADDRESSES, count, name, target, state)
        telemetry.set(metrics.UPSTREAM_IN_FLIGHT, sum(one.in_flight for one in addresses), name, target)


def publish_counts(counts: Counts, telemetry: Telemetry) -> None:
    """Take away what was counted; an upstream that is gone may still have had requests under way."""
    for (metric, labels), number in counts.items():
        telemetry.add(metric, number, *labels)
    counts.clear()
