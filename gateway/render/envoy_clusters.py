"""Envoy's clusters: the upstreams with their targets, bounds, checks and ejection, and the gateway itself."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final

from gateway.core.upstreams import UNBOUNDED, Balance
from gateway.render.envoy_routes import ITSELF, cluster_name
from gateway.render.envoy_types import FILTERS, address, seconds, typed
from gateway.render.front import DECISION_CONNECT_S, NotRenderable, Place, patience
from gateway.render.yaml_text import Shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.snapshot import Snapshot
    from gateway.core.upstreams import Ejection, HealthCheck, Tls, UpstreamSettings, UpstreamTarget
    from gateway.render.front import Front

DECISIONS: Final = "gateway.decisions"
REPORTS: Final = "gateway.reports"
UNLIMITED: Final = 1_000_000_000
PROTOCOL: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
DECISION_RESOLVE_S: Final = 30.0


def clusters(front: Front, decisions: Place, exchanged: dict[str, Any], *, grpc: bool) -> Iterator[dict[str, Any]]:
    """Give all clusters; requests and answers of upstreams pass *exchanged*. Raises NotRenderable."""
    protocol: dict[str, Any] = {"http2_protocol_options": {}} if grpc else {"http_protocol_options": {}}
    yield _gateway(DECISIONS, decisions, protocol)
    if front.grpc is not None:
        yield _gateway(REPORTS, front.grpc, {"http2_protocol_options": {}})
    yield _gateway(ITSELF, front.gateway, {"http_protocol_options": {}})
    for upstream in front.snapshot.upstreams.values():
        yield _cluster(front.snapshot, upstream, exchanged)


def _gateway(name: str, place: Place, protocol: dict[str, Any]) -> dict[str, Any]:
    numeric = place.path is not None or _is_numeric(place.host)
    return {
        "name": name,
        **({"type": "STATIC"} if numeric else _by_name(DECISION_RESOLVE_S)),
        "connect_timeout": seconds(DECISION_CONNECT_S),
        "typed_extension_protocol_options": _protocol({"explicit_http_config": protocol}),
        "circuit_breakers": {"thresholds": [_bounds(UNLIMITED, UNLIMITED)]},
        "load_assignment": _assignment(name, [{"endpoint": {"address": address(place)}}]),
    }


def _cluster(snapshot: Snapshot, upstream: UpstreamSettings, exchanged: dict[str, Any]) -> dict[str, Any]:
    named = not all(target.path or _is_numeric(target.host) for target in upstream.targets)
    if named and any(target.path for target in upstream.targets):
        raise NotRenderable(f"upstream {upstream.name} has both a Unix socket and a name, which Envoy cannot mix")
    codec = typed(f"{FILTERS}.http.upstream_codec.v3.UpstreamCodec")
    filters = [exchanged, {"name": "envoy.filters.http.upstream_codec", "typed_config": codec}]
    most = UNLIMITED if upstream.concurrent_max == UNBOUNDED else int(upstream.concurrent_max)
    return {
        "name": cluster_name(upstream.name),
        **(_by_name(upstream.resolve_s) if named else {"type": "STATIC"}),
        "connect_timeout": seconds(patience(snapshot, upstream.name).connect_s),
        "lb_policy": "LEAST_REQUEST" if upstream.balance is Balance.LEAST_CONNECTIONS else "ROUND_ROBIN",
        "typed_extension_protocol_options": _protocol(
            {"explicit_http_config": {"http_protocol_options": {}}, "http_filters": Shared("exchanged", filters)}
        ),
        "circuit_breakers": {
            "thresholds": [
                _bounds(most, upstream.queue_max)
                | {
                    "retry_budget": {
                        "budget_percent": {"value": upstream.retries.ratio * 100},
                        "min_retry_concurrency": max(round(upstream.retries.floor_per_s), 1),
                    }
                }
            ]
        },
        "outlier_detection": _ejection(upstream.ejection),
        **({} if upstream.health is None else {"health_checks": [_check(upstream.health)]}),
        **_encryption(upstream),
        "load_assignment": _assignment(cluster_name(upstream.name), [_endpoint(one) for one in upstream.targets]),
    }


def _by_name(resolve_s: float) -> dict[str, Any]:
    kind = typed("clusters.dns.v3.DnsCluster", dns_refresh_rate=seconds(resolve_s), respect_dns_ttl=False)
    return {"cluster_type": {"name": "envoy.cluster.dns", "typed_config": kind}}


def _bounds(most: int, waiting: int) -> dict[str, Any]:
    return {"max_connections": most, "max_requests": most, "max_pending_requests": waiting}


def _protocol(options: dict[str, Any]) -> dict[str, Any]:
    return {PROTOCOL: {"@type": f"type.googleapis.com/{PROTOCOL}", **options}}


def _assignment(name: str, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _endpoint(target: UpstreamTarget) -> dict[str, Any]:
    place = Place(target.host, target.port, target.path)
    return {
        "endpoint": {"address": address(place), "hostname": target.authority},
        "load_balancing_weight": target.weight,
    }


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ejection(ejection: Ejection) -> dict[str, Any]:
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": ejection.consecutive_failures,
        "enforcing_consecutive_local_origin_failure": 100,
        "consecutive_5xx": ejection.consecutive_failures,
        "enforcing_consecutive_5xx": 100 if ejection.server_errors else 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "base_ejection_time": seconds(ejection.first_s),
        "max_ejection_time": seconds(ejection.longest_s),
        "max_ejection_percent": ejection.max_percent,
    }


def _check(health: HealthCheck) -> dict[str, Any]:
    statuses = [{"start": status, "end": status + 1} for status in sorted(health.expected_status)]
    return {
        "interval": seconds(health.interval_s),
        "timeout": seconds(health.timeout_s),
        "healthy_threshold": health.healthy_after,
        "unhealthy_threshold": health.unhealthy_after,
        "http_health_check": {"path": health.path, "expected_statuses": statuses},
    }


def _encryption(upstream: UpstreamSettings) -> dict[str, Any]:
    encrypted = {target.tls for target in upstream.targets}
    if True not in encrypted:
        return {}
    if len(encrypted) > 1:
        raise NotRenderable(f"upstream {upstream.name} has targets with and without TLS, which cannot be rendered yet")
    return {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed(
                "transport_sockets.tls.v3.UpstreamTlsContext",
                **_name(upstream),
                common_tls_context=_context(upstream.tls, _expected(upstream)),
            ),
        }
    }


def _name(upstream: UpstreamSettings) -> dict[str, Any]:
    name = upstream.tls.server_name or upstream.targets[0].host
    return {} if _is_numeric(name) else {"sni": name}


def _expected(upstream: UpstreamSettings) -> list[str]:
    """Give the names that a certificate may be for."""
    return [upstream.tls.server_name or target.host for target in upstream.targets]


def _context(tls: Tls, names: list[str]) -> dict[str, Any]:
    context: dict[str, Any] = {}
    if tls.certificate is not None:
        pair = {"certificate_chain": tls.certificate, "private_key": tls.key or tls.certificate}
        context["tls_certificates"] = [{part: {"filename": file} for part, file in pair.items()}]
    if tls.verify:
        trusted = {} if tls.ca is None else {"trusted_ca": {"filename": tls.ca}}
        system: dict[str, Any] = {"system_root_certs": {}} if tls.ca is None else {}
        kinds = [("IP_ADDRESS" if _is_numeric(name) else "DNS", name) for name in dict.fromkeys(names)]
        matchers = [{"san_type": kind, "matcher": {"exact": name}} for kind, name in kinds]
        context["validation_context"] = {**trusted, **system, "match_typed_subject_alt_names": matchers}
    return context
