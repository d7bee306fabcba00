"""Every metric, declared once: name, kind, help, labels, and how the workers' numbers become one.

Labels are bounded: routes, upstreams and outcomes come from the configuration and from code, methods from a fixed list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LATENCY_BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. *kind* is counter, gauge or histogram; *merge* says how gauges of workers become one."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    merge: str = "sum"
    buckets: tuple[float, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, "counter", text, labels)


def _gauge(name: str, text: str, *labels: str, merge: str = "sum") -> Metric:
    return Metric(name, "gauge", text, labels, merge)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, "histogram", text, labels, buckets=LATENCY_BUCKETS)


REQUESTS: Final = _counter(
    "gateway_requests_total",
    "Requests answered, by route, method, class of status and outcome (admitted, or the error's code).",
    "route",
    "method",
    "status_class",
    "outcome",
)
OVERHEAD: Final = _histogram(
    "gateway_request_overhead_seconds", "Time of a proxied request that was not the upstream's.", "route"
)
UPSTREAM_SECONDS: Final = _histogram(
    "gateway_upstream_seconds", "Time from sending a request to the head of the upstream's answer.", "upstream"
)
REQUEST_BYTES: Final = _counter("gateway_request_body_bytes_total", "Bytes of request bodies received.", "route")
RESPONSE_BYTES: Final = _counter("gateway_response_body_bytes_total", "Bytes of answer bodies sent.", "route")
DENIALS: Final = _counter("gateway_denials_total", "Requests refused, by the error's code.", "reason")
LIMITER_CALLS: Final = _counter(
    "gateway_limiter_calls_total",
    "Limiter decisions: taken or throttled by Redis; when Redis failed: local, passed (open) or failed (closed).",
    "result",
)
LIMITER_SECONDS: Final = _histogram("gateway_limiter_seconds", "Time of one call to the limiter in Redis.")
LIMITER_UP: Final = _gauge("gateway_limiter_up", "1 while every worker reaches Redis.", merge="min")
CACHE_LOOKUPS: Final = _counter(
    "gateway_key_cache_lookups_total",
    "Key look-ups: hit, miss (read), stale (served while Postgres is away), negative, unavailable.",
    "result",
)
CACHE_ENTRIES: Final = _gauge("gateway_key_cache_entries", "Keys cached, summed over workers.")
KEY_CHANGES: Final = _counter("gateway_key_changes_total", "Key changes that were heard of, summed over workers.")
KEY_CHANGES_CONNECTED: Final = _gauge(
    "gateway_key_changes_connected", "1 while every worker listens for key changes.", merge="min"
)
UPSTREAM_CONNECTIONS: Final = _gauge(
    "gateway_upstream_connections", "Connections to an upstream, idle or busy.", "upstream", "state"
)
UPSTREAM_ERRORS: Final = _counter(
    "gateway_upstream_errors_total",
    "Requests that an upstream failed: connect, tls, timeout, protocol, closed; or not sent: away, busy, descriptors.",
    "upstream",
    "kind",
)
UPSTREAM_ADDRESSES: Final = _gauge(
    "gateway_upstream_addresses",
    "Addresses of a target by state, each counted by every worker: serving, failing, ejected, unhealthy.",
    "upstream",
    "target",
    "state",
)
UPSTREAM_AWAY: Final = _gauge(
    "gateway_upstream_away", "1 while, to some worker, no address of an upstream can be used.", "upstream", merge="max"
)
UPSTREAM_IN_FLIGHT: Final = _gauge("gateway_upstream_in_flight", "Requests at a target.", "upstream", "target")
UPSTREAM_QUEUED: Final = _gauge(
    "gateway_upstream_queued", "Requests that wait because an upstream has as many as it may have.", "upstream"
)
UPSTREAM_RETRIES: Final = _counter(
    "gateway_upstream_retries_total",
    "Requests that could be sent again: sent, or refused because the retry budget was used up.",
    "upstream",
    "result",
)
UPSTREAM_EJECTIONS: Final = _counter(
    "gateway_upstream_ejections_total", "Times that an address of a target was passed over.", "upstream", "target"
)
UPSTREAM_CONNECT_FAILURES: Final = _counter(
    "gateway_upstream_connect_failures_total",
    "Connections that were not made: refused, timeout, tls, other; passed_over for another address of the name.",
    "upstream",
    "target",
    "kind",
)
UPSTREAM_RESOLVE_FAILURES: Final = _counter(
    "gateway_upstream_resolve_failures_total", "Look-ups of a target's name that failed.", "upstream", "target"
)
EVENTS: Final = _counter(
    "gateway_usage_events_total", "Usage events, outcomes of them, and webhook events, written to the journal."
)
EVENTS_SHIPPED: Final = _counter(
    "gateway_usage_events_shipped_total", "Usage events, and what else is in the journal, brought to a sink.", "sink"
)
EVENTS_DROPPED: Final = _counter(
    "gateway_usage_events_dropped_total", "Usage events that a sink never gets: no space, or corrupt.", "sink"
)
JOURNAL_BYTES: Final = _gauge(
    "gateway_usage_journal_bytes",
    "Bytes of finished journals and a worker's own that are not in a sink yet, of the worker with most.",
    "sink",
    merge="max",
)
SINK_LAG: Final = _gauge(
    "gateway_usage_sink_lag_seconds",
    "Time since a sink had everything, of the worker where that was longest ago.",
    "sink",
    merge="max",
)
SHIP_FAILURES: Final = _counter("gateway_usage_ship_failures_total", "Attempts to reach a sink that failed.", "sink")
WEBHOOK_ATTEMPTS: Final = _counter(
    "gateway_webhook_attempts_total",
    "Attempts to deliver a webhook: delivered, failed (to be tried again), dead (given up).",
    "result",
)
WEBHOOKS_PENDING: Final = _gauge(
    "gateway_webhook_deliveries_pending", "Webhook deliveries of all instances that are still to be made.", merge="max"
)
WEBHOOKS_LATE: Final = _gauge(
    "gateway_webhook_late_seconds",
    "For how long the first webhook delivery has been due to a receiver that has not been failing.",
    merge="max",
)
WEBHOOKS_STOPPED: Final = _gauge(
    "gateway_webhooks_stopped", "Keys of all instances whose webhook is paused or disabled.", merge="max"
)
OUTCOME_REPORTS: Final = _counter(
    "gateway_outcome_reports_total",
    "Reports of proxies: accepted, malformed, late (a day after the request) or dropped (no room, or too many).",
    "result",
)
OUTCOMES_SETTLED: Final = _counter(
    "gateway_outcomes_settled_total",
    "Reported outcomes by what they did: completed an event, repeated what was known, or unknown (no such event).",
    "result",
)
POSTGRES_UP: Final = _gauge("gateway_postgres_up", "1 while every worker reaches Postgres.", merge="min")
READY: Final = _gauge("gateway_ready", "1 while every worker is ready.", merge="min")
CONNECTIONS: Final = _gauge("gateway_connections", "Client connections open.", "listener")
CONNECTIONS_ENDED: Final = _counter(
    "gateway_connections_ended_total",
    "Client connections cut: address or descriptors (too many of them), handshake or proxy_header (late or wrong), "
    "head (late), unread (an answer not taken).",
    "reason",
)
IN_FLIGHT: Final = _gauge("gateway_requests_in_flight", "Requests being served.")
TUNNELS: Final = _gauge("gateway_tunnels_open", "WebSockets open.")
TUNNELS_ENDED: Final = _counter(
    "gateway_tunnels_ended_total",
    "WebSockets ended, by what ended them: client, upstream, idle, access (the key may no longer), drain.",
    "reason",
)
TUNNEL_BYTES: Final = _counter(
    "gateway_tunnel_bytes_total", "Bytes through WebSockets, in from clients and out to them.", "route", "direction"
)
RESTARTS: Final = _counter("gateway_worker_restarts_total", "Workers started again after they ended by themselves.")
BUILD: Final = _gauge("gateway_build_info", "Always 1; the label says what runs.", "version", merge="max")
WORKERS: Final = _gauge("gateway_workers", "Workers running.")
CONFIG_VERSION: Final = _gauge(
    "gateway_config_version", "The version of the settings in force, a digest, as a number.", merge="max"
)
CONFIG_SINCE: Final = _gauge(
    "gateway_config_timestamp_seconds",
    "When the settings in force were read, of the worker with the oldest ones.",
    merge="min",
)
CONFIG_CHANGES: Final = _counter(
    "gateway_config_reload_total",
    "Attempts to take up changed settings, by action (reload, or restart of the workers) and result (done, failed).",
    "action",
    "result",
)
CONFIG_RELOADED: Final = _gauge("gateway_config_last_reload_successful", "0 while the last such attempt was refused.")
CERTIFICATE_EXPIRY: Final = _gauge(
    "gateway_certificate_expiry_timestamp_seconds",
    "When a certificate that is in use ends, in Unix seconds, by its file.",
    "certificate",
    merge="min",
)
CERTIFICATES_READ: Final = _gauge(
    "gateway_certificates_last_read_successful",
    "0 while a listener's certificates were changed to what cannot be used.",
    "listener",
    merge="min",
)

METRICS: Final = (
    REQUESTS,
    OVERHEAD,
    UPSTREAM_SECONDS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    DENIALS,
    LIMITER_CALLS,
    LIMITER_SECONDS,
    LIMITER_UP,
    CACHE_LOOKUPS,
    CACHE_ENTRIES,
    KEY_CHANGES,
    KEY_CHANGES_CONNECTED,
    UPSTREAM_CONNECTIONS,
    UPSTREAM_ERRORS,
    UPSTREAM_ADDRESSES,
    UPSTREAM_AWAY,
    UPSTREAM_IN_FLIGHT,
    UPSTREAM_QUEUED,
    UPSTREAM_RETRIES,
    UPSTREAM_EJECTIONS,
    UPSTREAM_CONNECT_FAILURES,
    UPSTREAM_RESOLVE_FAILURES,
    EVENTS,
    EVENTS_SHIPPED,
    EVENTS_DROPPED,
    JOURNAL_BYTES,
    SINK_LAG,
    SHIP_FAILURES,
    WEBHOOK_ATTEMPTS,
    WEBHOOKS_PENDING,
    WEBHOOKS_LATE,
    WEBHOOKS_STOPPED,
    OUTCOME_REPORTS,
    OUTCOMES_SETTLED,
    POSTGRES_UP,
    READY,
    CONNECTIONS,
    CONNECTIONS_ENDED,
    IN_FLIGHT,
    TUNNELS,
    TUNNELS_ENDED,
    TUNNEL_BYTES,
    RESTARTS,
    BUILD,
    WORKERS,
    CONFIG_VERSION,
    CONFIG_SINCE,
    CONFIG_CHANGES,
    CONFIG_RELOADED,
    CERTIFICATE_EXPIRY,
    CERTIFICATES_READ,
)

GAUGES: Final = frozenset(metric.name for metric in METRICS if metric.kind == "gauge")
