"""Envoy: a complete bootstrap that asks for each request at `ext_authz`, and sends what was decided on.

Envoy chooses nothing by the path: the way to the upstream and the target that is sent are fields of the decision,
which it cannot get from a client, for it takes those away first. So there is one reading of the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.render.envoy_clusters import DECISIONS, REPORTS, clusters
from gateway.render.envoy_fields import BODY_LENGTH, before_decision, exchanged, for_decision
from gateway.render.envoy_refusals import UNDECIDED, local_replies
from gateway.render.envoy_routes import BUFFER, BUFFERED_MAX, route_configuration, unbuffered
from gateway.render.envoy_types import FILTERS, address, seconds, typed
from gateway.render.front import DECISION_ANSWER_S, NotRenderable, Place, not_carried
from gateway.render.yaml_text import Shared, document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.snapshot import Snapshot
    from gateway.render.front import Front

AUTHORIZATION: Final = "envoy.filters.http.ext_authz"
EVENT_ID: Final = "x-gateway-event-id"
UNKNOWN: Final = {"match_if_key_not_found": False}
PIECE_BYTES: Final = 65536
LIMITS: Final = {"re2": {"max_program_size": {"error_level": 1_000_000, "warn_level": 1_000_000}}}
"""Patterns of paths and names of routes are ours, and may be long."""


def envoy_configuration(front: Front, *, grpc: bool = False) -> str:
    """Give the text of a whole bootstrap; `listen` of *front* is an address and a port.

    With *grpc* decisions are asked for by Envoy's own protocol. Raises NotRenderable.
    """
    snapshot = front.snapshot
    decisions = front.grpc if grpc else front.decisions
    if decisions is None:
        raise NotRenderable("--grpc needs sidecar.grpc in the settings, where the gateway is to listen for it")
    return document(
        {
            f"# Written by `gateway render envoy` from the settings of version {snapshot.version}.": None,
            "# Do not edit it: change gateway.yaml and write it again. Tested with Envoy 1.40.": None,
            **dict.fromkeys(f"# {line}" for line in not_carried(snapshot, "CORS", "WebSocket")),
            **dict.fromkeys(_unlimited(snapshot)),
            "layered_runtime": {"layers": [{"name": "gateway", "static_layer": LIMITS}]},
            "static_resources": {
                "listeners": [_listener(front, _asking(front.endpoint, grpc=grpc))],
                "clusters": list(clusters(front, decisions, exchanged(snapshot), grpc=grpc)),
            },
        }
    )


def _unlimited(snapshot: Snapshot) -> Iterator[str]:
    names = unbuffered(snapshot)
    if names:
        yield f"# NOT CARRIED: the limit of bodies without a declared length, of these routes: {', '.join(names)}."


def _listener(front: Front, asking: dict[str, Any]) -> dict[str, Any]:
    snapshot = front.snapshot
    host, _, port = front.listen.rpartition(":")
    if not (host and port.isdigit()):
        raise NotRenderable("--listen is not an address and a port; expected e.g. 0.0.0.0:10000")
    chains = []
    trusted = [_network(text) for text in snapshot.trusted_proxies.texts]
    if trusted:
        chains.append(
            {
                "# Trusted proxies, which say where a request came from.": None,
                "filter_chain_match": {"source_prefix_ranges": trusted},
                "filters": [_connection_manager(front, asking, trusted=True)],
            }
        )
    chains.append({"# Everybody else.": None, "filters": [_connection_manager(front, asking, trusted=False)]})
    return {
        "name": "clients",
        "address": address(Place(host.strip("[]"), int(port))),
        "# Bodies are passed on in pieces.": None,
        "per_connection_buffer_limit_bytes": PIECE_BYTES,
        "filter_chains": chains,
    }


def _network(text: str) -> dict[str, Any]:
    address, _, length = text.partition("/")
    return {"address_prefix": address, "prefix_len": int(length or (128 if ":" in address else 32))}


def _connection_manager(front: Front, asking: dict[str, Any], *, trusted: bool) -> dict[str, Any]:
    snapshot = front.snapshot
    connections, requests = snapshot.connection_limits, snapshot.request_limits
    config = typed(
        f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        **{
            "stat_prefix": "clients",
            "# The path is never changed: what is decided on is what came.": None,
            "normalize_path": False,
            "merge_slashes": False,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "# Who the client is: its address is added to X-Forwarded-For, which only a trusted proxy may begin.": None,
            "use_remote_address": True,
            "xff_num_trusted_hops": 1 if trusted else 0,
            "generate_request_id": False,
            "server_header_transformation": "PASS_THROUGH",
            "max_request_headers_kb": max(-(-requests.head_max_bytes // 1024), 1),
            "common_http_protocol_options": {
                "idle_timeout": seconds(connections.idle_s),
                "max_headers_count": requests.fields_max,
                "headers_with_underscores_action": "ALLOW",
            },
            "request_headers_timeout": seconds(connections.head_s),
            "stream_idle_timeout": seconds(requests.body_idle_s),
            "early_header_mutation_extensions": [before_decision(snapshot, trusted=trusted)],
            **_reporting(front),
            "http_filters": Shared("filters", _filters(asking)),
            "local_reply_config": Shared("refusals", local_replies()),
            "route_config": Shared("routes", route_configuration(snapshot)),
        },
    )
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _reporting(front: Front) -> dict[str, Any]:
    """Tell the gateway how requests ended that it admitted, where it takes such reports."""
    if front.grpc is None:
        return {}
    known = {"filter": AUTHORIZATION, "path": [{"key": EVENT_ID}]}
    tag = {"metadata_key": {"key": AUTHORIZATION, "path": [{"key": EVENT_ID}]}, "kind": {"request": {}}}
    config = typed(
        "access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": "gateway",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": REPORTS}},
            "custom_tags": [{"tag": "gateway_event_id", "metadata": tag}],
        },
    )
    decided = {"metadata_filter": {"matcher": {**known, "value": {"present_match": True}}, **UNKNOWN}}
    return {
        "# How requests ended that were admitted, for their usage events.": None,
        "access_log": [{"name": "envoy.access_loggers.http_grpc", "filter": decided, "typed_config": config}],
    }


def _filters(asking: dict[str, Any]) -> list[dict[str, Any]]:
    buffer = typed(f"{FILTERS}.http.buffer.v3.Buffer", max_request_bytes=BUFFERED_MAX)
    router = typed(f"{FILTERS}.http.router.v3.Router", suppress_envoy_headers=True)
    return [
        for_decision(),
        {"name": AUTHORIZATION, "typed_config": asking},
        {"name": BUFFER, "typed_config": buffer},
        {"name": "envoy.filters.http.router", "typed_config": router},
    ]


def _asking(endpoint: str, *, grpc: bool) -> dict[str, Any]:
    told = [_exactly(name) for name in ("authorization", "x-api-key", "x-forwarded-for", BODY_LENGTH)]
    return typed(
        f"{FILTERS}.http.ext_authz.v3.ExtAuthz",
        **{
            "transport_api_version": "V3",
            "# Without a decision nothing is admitted.": None,
            "failure_mode_allow": False,
            "status_on_error": {"code": UNDECIDED},
            "# The route is looked for again when it has been decided on.": None,
            "clear_route_cache": True,
            "allowed_headers": {"patterns": told},
            **(_by_grpc() if grpc else _by_http(endpoint)),
        },
    )


def _by_http(endpoint: str) -> dict[str, Any]:
    upstream = [{"prefix": "x-gateway-"}, _exactly("x-request-id")]
    client = [
        {"prefix": "x-ratelimit-"},
        *(_exactly(name) for name in ("x-request-id", "ratelimit", "ratelimit-policy")),
    ]
    return {
        "http_service": {
            "server_uri": {"uri": "http://gateway", "cluster": DECISIONS, "timeout": seconds(DECISION_ANSWER_S)},
            "path_prefix": f"{endpoint}/envoy",
            "authorization_response": {
                "allowed_upstream_headers": {"patterns": upstream},
                "allowed_client_headers_on_success": {"patterns": client},
                "dynamic_metadata_from_headers": {"patterns": [_exactly(EVENT_ID)]},
            },
        }
    }


def _by_grpc() -> dict[str, Any]:
    service = {"envoy_grpc": {"cluster_name": DECISIONS}, "timeout": seconds(DECISION_ANSWER_S)}
    return {"encode_raw_headers": True, "grpc_service": service}


def _exactly(name: str) -> dict[str, Any]:
    return {"exact": name}
