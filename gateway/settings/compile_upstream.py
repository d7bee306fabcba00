"""Compiles what `gateway.yaml` says about an upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.upstreams import (
    UNBOUNDED,
    Ejection,
    HealthCheck,
    Retries,
    Timeouts,
    Tls,
    UpstreamSettings,
    UpstreamTarget,
)
from gateway.settings.fields import split_target

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.upstreams import (
        RouteTimeouts,
        Target,
        Upstream,
        UpstreamHealth,
        UpstreamTimeouts,
        UpstreamTls,
    )


def compile_upstream(name: str, upstream: Upstream) -> UpstreamSettings:
    """Compile *upstream*; total, because loading has refused what cannot be compiled."""
    ejection, retries = upstream.ejection, upstream.retries
    return UpstreamSettings(
        name=name,
        targets=tuple(_target(target) for target in upstream.targets),
        timeouts=compile_timeouts(upstream.timeouts),
        preserve_host=upstream.preserve_host,
        idle_connections_max=upstream.idle_connections_max,
        balance=upstream.balance,
        resolve_s=upstream.resolve_s,
        tls=_tls(upstream.tls),
        retries=Retries(retries.ratio, retries.floor_per_s),
        ejection=Ejection(
            consecutive_failures=ejection.consecutive_failures,
            server_errors=ejection.server_errors,
            first_s=ejection.first_s,
            longest_s=ejection.longest_s,
            max_percent=ejection.max_percent,
            circuit_breaker=ejection.circuit_breaker,
        ),
        probe_s=ejection.probe_s,
        health=None if upstream.health is None else _health(upstream.health),
        concurrent_max=UNBOUNDED if upstream.concurrent_max is None else upstream.concurrent_max,
        queue_max=upstream.queue_max,
        queue_s=upstream.queue_s,
        required=upstream.required,
    )


def compile_timeouts(general: UpstreamTimeouts, special: RouteTimeouts | None = None) -> Timeouts:
    """Compile *general*, with what *special* names in its place. Only for `total_s` is null something to name."""
    merged = general.model_dump()
    if special is not None:
        named = special.model_dump(exclude_unset=True)
        merged |= {name: value for name, value in named.items() if value is not None or name == "total_s"}
    if merged["total_s"] is None:
        merged["total_s"] = UNBOUNDED
    return Timeouts(**merged)


def _target(target: Target) -> UpstreamTarget:
    parts = split_target(target.url)
    return UpstreamTarget(parts.host, parts.port, parts.authority, parts.tls, parts.path, target.weight)


def _tls(tls: UpstreamTls) -> Tls:
    return Tls(
        ca=_text(tls.ca),
        certificate=_text(tls.certificate),
        key=_text(tls.key),
        server_name=tls.server_name,
        verify=tls.verify,
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _health(health: UpstreamHealth) -> HealthCheck:
    return HealthCheck(
        path=health.path,
        interval_s=health.interval_s,
        timeout_s=health.timeout_s,
        healthy_after=health.healthy_after,
        unhealthy_after=health.unhealthy_after,
        expected_status=frozenset(health.expected_status),
    )
