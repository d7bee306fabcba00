"""The figures of one upstream: how its targets are doing, and what happened since they were last published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.rotation import STATES
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.adapters.http.upstream import Upstream
    from gateway.telemetry.telemetry import Telemetry


def publish_upstream(name: str, upstream: Upstream, telemetry: Telemetry) -> None:
    """Copy the figures now, and take away what was counted."""
    telemetry.set(metrics.UPSTREAM_CONNECTIONS, upstream.idle_count, name, "idle")
    telemetry.set(metrics.UPSTREAM_CONNECTIONS, upstream.busy_count, name, "busy")
    telemetry.set(metrics.UPSTREAM_QUEUED, upstream.queued, name)
    telemetry.set(metrics.UPSTREAM_AWAY, upstream.is_away, name)
    for target, addresses in upstream.endpoints.by_target().items():
        for state in STATES:
            count = sum(one.state == state for one in addresses)
            telemetry.set(metrics.UPSTREAM_ADDRESSES, count, name, target, state)
        telemetry.set(metrics.UPSTREAM_IN_FLIGHT, sum(one.in_flight for one in addresses), name, target)
    for (metric, labels), number in upstream.counts.items():
        telemetry.add(metric, number, *labels)
    upstream.counts.clear()
